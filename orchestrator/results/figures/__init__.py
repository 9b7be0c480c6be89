"""The figures of a sweep, for the report, notebooks and Python.

Each is a function of a run and its state, and returns None if the sweep has no data for it.
"""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.results.figures.contour import contour
from orchestrator.results.figures.curves import learning_curves
from orchestrator.results.figures.figure import CONFIG, Figure, template
from orchestrator.results.figures.finalists import finals
from orchestrator.results.figures.history import history
from orchestrator.results.figures.importance import importance
from orchestrator.results.figures.parallel import parallel
from orchestrator.results.figures.pareto_front import front
from orchestrator.results.figures.reliability import reliability
from orchestrator.results.figures.rungs import rungs
from orchestrator.results.figures.slices import slices
from orchestrator.results.figures.timeline import timeline
from orchestrator.rundir import RunDirectory
from orchestrator.state import SweepState

FIGURES: dict[str, Callable[[RunDirectory, SweepState], Figure | None]] = {
    "finals": finals,
    "learning_curves": learning_curves,
    "history": history,
    "front": front,
    "importance": importance,
    "parallel": parallel,
    "slices": slices,
    "contour": contour,
    "rungs": rungs,
    "reliability": reliability,
    "timeline": timeline,
}
"""The figures, in the order of a report."""

NEEDS = {
    "finals": "finals, which sweep confirm holds",
    "learning_curves": "a trial that has reported",
    "history": "a trial with a value",
    "front": "several objectives, and a trial with a value in all",
    "importance": "ten trials with different values, and a parameter that varies",
    "parallel": "two trials with a value, and a parameter that varies",
    "slices": "two trials with a value, and a parameter that varies",
    "contour": "ten trials with a value, and two parameters that vary",
    "rungs": "a scheduler that has compared trials",
    "timeline": "a trial that has run",
}
"""What each figure needs."""

__all__ = ["CONFIG", "FIGURES", "NEEDS", "Figure", "template"]
