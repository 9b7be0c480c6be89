"""The figures of a sweep as methods: ``results.plot.learning_curves()``."""

from __future__ import annotations

import difflib
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from orchestrator.errors import UsageError
from orchestrator.rundir import RunDirectory
from orchestrator.state import SweepState

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from orchestrator.results.figures import Figure
    from orchestrator.results.figures.figure import Theme


_NAMES = (
    "learning_curves", "history", "importance", "parallel", "slices", "contour", "rungs", "timeline", "front", "finals",
)  # fmt: skip


class Plot:
    """Plotly figures of a sweep, as in its report; Jupyter displays them.

    With matplotlib installed, a notebook also keeps an image of curves, history, importance, rungs and timeline. It is
    shown where nothing interactive is, as on GitHub.

    Each method raises UsageError if the sweep has no data for the figure. Text in the figures is escaped.

    Example:
        >>> import orchestrator
        >>> plot = orchestrator.load_results("quickstart").plot
        >>> plot.learning_curves().write_html("curves.html")
        >>> dark = plot.dark.history()
    """

    def __init__(self, run: RunDirectory, state: SweepState, theme: Theme = "light") -> None:
        self._run, self._state, self._theme = run, state, theme

    def __getattr__(self, name: str) -> NoReturn:
        """Raise AttributeError with the names of the figures."""
        near = difflib.get_close_matches(name, _NAMES, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise AttributeError(f"there is no figure {name!r}; {hint}figures: {', '.join(_NAMES)}")

    def __repr__(self) -> str:
        """Return the run and the names of the figures."""
        return f"<figures of {self._run.name!r}: {', '.join(_NAMES)}>"

    def __dir__(self) -> list[str]:
        return [*_NAMES, "dark"]

    @property
    def dark(self) -> Plot:
        """The same figures on a dark background: ``results.plot.dark.history()``."""
        return Plot(self._run, self._state, "dark")

    def learning_curves(self) -> go.Figure:
        """Draw the objective by progress: a line a trial, early stops marked, the winner emphasised."""
        return self._named("learning_curves")

    def history(self) -> go.Figure:
        """Draw the value of each trial in the order suggested, and the best so far."""
        return self._named("history")

    def parallel(self) -> go.Figure:
        """Draw parallel coordinates over the parameters, coloured by the objective."""
        return self._named("parallel")

    def importance(self) -> go.Figure:
        """Draw how well each parameter separates the best trials from the rest (Optuna's PED-ANOVA)."""
        return self._named("importance")

    def slices(self) -> go.Figure:
        """Draw the objective against each parameter."""
        return self._named("slices")

    def contour(self, x: str | None = None, y: str | None = None) -> go.Figure:
        """Draw a smooth surface over two parameters, by default the two most important.

        Raises:
            UsageError: If a name is not that of a parameter that varies, or too few trials have both.
        """
        from orchestrator.results.figures.contour import contour

        return self._themed("contour", contour(self._run, self._state, x, y))

    def rungs(self) -> go.Figure:
        """Draw how many trials reached each rung, and their fate there."""
        return self._named("rungs")

    def timeline(self) -> go.Figure:
        """Draw which slot ran which segment when, and the share of idle time."""
        return self._named("timeline")

    def front(self) -> go.Figure:
        """Draw the Pareto front of a sweep with several objectives."""
        return self._named("front")

    def finals(self) -> go.Figure:
        """Draw the confirmed means of the finalists with their intervals."""
        return self._named("finals")

    def _named(self, name: str) -> go.Figure:
        from orchestrator.results.figures import FIGURES

        return self._themed(name, FIGURES[name](self._run, self._state))

    def _themed(self, name: str, figure: Figure | None) -> go.Figure:
        from orchestrator.results.figures import NEEDS, template

        if figure is None:
            raise UsageError(
                f"the figure cannot be drawn yet: it needs {NEEDS[name]}",
                hint=f"show the progress: sweep status {self._run.name}",
            )
        from orchestrator.results.pictured_figure import PicturedFigure
        from orchestrator.results.poster import picture

        shown = PicturedFigure(figure.plot, partial(picture, name, self._run, self._state))
        return shown.update_layout(template=template(self._theme))
