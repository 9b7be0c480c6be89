"""The figures of a sweep as methods: ``results.plot.learning_curves()``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.errors import UsageError
from orchestrator.rundir import RunDirectory
from orchestrator.state import SweepState

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from orchestrator.results.figures import Figure
    from orchestrator.results.figures.figure import Theme


class Plot:
    """Plotly figures of a sweep, as in its report; Jupyter displays them.

    Each method raises UsageError if the sweep has no data for the figure. Text in the figures is escaped.

    Example:
        >>> import orchestrator
        >>> plot = orchestrator.load_results("quickstart").plot
        >>> plot.learning_curves().write_html("curves.html")
        >>> dark = plot.dark.history()
    """

    def __init__(self, run: RunDirectory, state: SweepState, theme: Theme = "light") -> None:
        self._run, self._state, self._theme = run, state, theme

    @property
    def dark(self) -> Plot:
        """The same figures on a dark background: ``results.plot.dark.history()``."""
        return Plot(self._run, self._state, "dark")

    def learning_curves(self) -> go.Figure:
        """Draw the objective by progress: a line a trial, early stops marked, the winner emphasised."""
        return self._named("learning_curves", "no trial has reported yet")

    def history(self) -> go.Figure:
        """Draw the value of each trial in the order suggested, and the best so far."""
        return self._named("history", "no trial has a value yet")

    def parallel(self) -> go.Figure:
        """Draw parallel coordinates over the parameters, coloured by the objective."""
        return self._named("parallel", "it needs two trials with a value, and a parameter that varies")

    def importance(self) -> go.Figure:
        """Draw how well each parameter separates the best trials from the rest (Optuna's PED-ANOVA)."""
        return self._named("importance", "it needs ten trials with different values, and a parameter that varies")

    def slices(self) -> go.Figure:
        """Draw the objective against each parameter."""
        return self._named("slices", "it needs two trials with a value, and a parameter that varies")

    def contour(self, x: str | None = None, y: str | None = None) -> go.Figure:
        """Draw a smooth surface over two parameters, by default the two most important.

        Raises:
            UsageError: If a name is not that of a parameter that varies, or too few trials have both.
        """
        from orchestrator.results.figures.contour import contour

        figure = contour(self._run, self._state, x, y)
        return self._themed(figure, "it needs ten trials with a value and two parameters that vary")

    def rungs(self) -> go.Figure:
        """Draw how many trials reached each rung, and their fate there."""
        return self._named("rungs", "the scheduler has compared no trials")

    def timeline(self) -> go.Figure:
        """Draw which slot ran which segment when, and the share of idle time."""
        return self._named("timeline", "no trial has run yet")

    def front(self) -> go.Figure:
        """Draw the Pareto front of a sweep with several objectives."""
        return self._named("front", "there is one objective, or no trial has a value in all")

    def finals(self) -> go.Figure:
        """Draw the confirmed means of the finalists with their intervals."""
        return self._named("finals", "no finals were held; run sweep confirm")

    def _named(self, name: str, reason: str) -> go.Figure:
        from orchestrator.results.figures import FIGURES

        return self._themed(FIGURES[name](self._run, self._state), reason)

    def _themed(self, figure: Figure | None, reason: str) -> go.Figure:
        from orchestrator.results.figures import template

        if figure is None:
            raise UsageError(
                f"the figure cannot be drawn: {reason}", hint=f"show the progress: sweep status {self._run.name}"
            )
        return figure.plot.update_layout(template=template(self._theme))
