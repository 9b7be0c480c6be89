"""A sweep's figures by name, for notebooks and Python: ``results.plot.learning_curves()``."""

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
    """Plotly figures of a sweep, as they stand in its report. They display in Jupyter by themselves.

    Each raises UsageError where the sweep has nothing to show for it. Text in them is escaped.
    """

    def __init__(self, run: RunDirectory, state: SweepState, theme: Theme = "light") -> None:
        self._run, self._state, self._theme = run, state, theme

    @property
    def dark(self) -> Plot:
        """The same figures on a dark background: ``results.plot.dark.history()``."""
        return Plot(self._run, self._state, "dark")

    def learning_curves(self) -> go.Figure:
        """The objective by epoch, a line a trial, early stops marked, the winner emphasised."""
        return self._named("learning_curves", "no trial has reported an epoch yet")

    def history(self) -> go.Figure:
        """What each trial came to in the order suggested, and the best so far."""
        return self._named("history", "no trial has a value yet")

    def parallel(self) -> go.Figure:
        """Parallel coordinates over the parameters, coloured by the objective."""
        return self._named("parallel", "it takes two trials with a value, and a parameter that varies")

    def importance(self) -> go.Figure:
        """Which parameters tell the best trials from the rest (Optuna's PED-ANOVA)."""
        return self._named("importance", "it takes ten trials with values that differ, and a parameter that varies")

    def slices(self) -> go.Figure:
        """The objective against each parameter by itself."""
        return self._named("slices", "it takes two trials with a value, and a parameter that varies")

    def contour(self, x: str | None = None, y: str | None = None) -> go.Figure:
        """A smooth surface over two parameters; by default the two most important."""
        from orchestrator.results.figures.contour import contour

        found = contour(self._run, self._state, x, y)
        return self._shown(found, "it takes ten trials with a value that have two parameters that vary")

    def rungs(self) -> go.Figure:
        """How many trials came to each rung, and what became of them there."""
        return self._named("rungs", "the scheduler has compared no trials")

    def timeline(self) -> go.Figure:
        """Which slot ran what when, and how much of their time was idle."""
        return self._named("timeline", "nothing has run yet")

    def front(self) -> go.Figure:
        """The Pareto front, where there are several objectives."""
        return self._named("front", "there is one objective, or no trial has a value in all")

    def finals(self) -> go.Figure:
        """Confirmed means of the finalists with their intervals."""
        return self._named("finals", "no finals were held: sweep confirm")

    def _named(self, name: str, without: str) -> go.Figure:
        from orchestrator.results.figures import FIGURES

        return self._shown(FIGURES[name](self._run, self._state), without)

    def _shown(self, found: Figure | None, without: str) -> go.Figure:
        from orchestrator.results.figures import template

        if found is None:
            raise UsageError(
                f"there is nothing to draw: {without}", hint=f"see where it is: sweep status {self._run.name}"
            )
        return found.plot.update_layout(template=template(self._theme))
