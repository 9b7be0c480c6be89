"""A plotly figure that a notebook also keeps as an image, which is shown where nothing interactive is."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import plotly.graph_objects as go

PNG = "image/png"


class PicturedFigure(go.Figure):  # type: ignore[misc]
    """A figure with an image beside its interactive form in the output of a cell: on GitHub, and in a printed notebook.

    Args:
        figure: the figure.
        draw: returns the image as PNG when a cell shows the figure; None if it cannot be drawn.
    """

    def __init__(self, figure: go.Figure, draw: Callable[[], bytes | None]) -> None:
        super().__init__(figure)
        self._draw = draw

    def _repr_mimebundle_(self, *args: Any, **options: Any) -> dict[str, Any]:
        """Return the forms in which a notebook keeps the figure."""
        bundle: dict[str, Any] = super()._repr_mimebundle_(*args, **options)
        picture = self._draw() if bundle and PNG not in bundle else None
        return bundle if picture is None else {**bundle, PNG: base64.b64encode(picture).decode()}

    def _ipython_display_(self) -> None:
        """Show the figure in a cell, which asks for this before the forms above."""
        from IPython.display import display

        bundle = self._repr_mimebundle_()
        if bundle:
            display(bundle, raw=True)  # type: ignore[no-untyped-call]
        else:  # shown in a window of the browser, or nowhere
            super()._ipython_display_()
