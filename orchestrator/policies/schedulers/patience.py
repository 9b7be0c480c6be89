"""Patience: stop a trial that no longer improves."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from orchestrator.errors import Problem
from orchestrator.policies.scheduler import Scheduler, Verdict, place_text
from orchestrator.progress import EPOCHS, noun, span, whole
from orchestrator.safe_text import show
from orchestrator.spec import SchedulerOptions, SweepSpec
from orchestrator.spec.progress_section import Span, end_of


class Patience(SchedulerOptions):
    """Stops a trial that no longer improves, whatever the others do.

    Example:
        ```python
        scheduler = orchestrator.Patience(patience=5, min_delta=0.001)
        ```
    """

    name: Literal["patience"] = "patience"
    renamed: ClassVar[dict[str, str]] = {"epochs": "patience"}
    patience: Span = Field(
        default=None,
        description="Progress without improvement after which it ends: a number in the unit of progress, or text such "
        "as 500 steps. By default 5 epochs, or a tenth of the training in other units.",
        examples=[5],
    )
    min_delta: float = Field(
        default=0.0, ge=0, description="How much better than before counts as an improvement.", examples=[0.001]
    )


class PatienceScheduler(Scheduler[Patience]):
    """Stop a trial that has not improved, by more than ``min_delta``, for ``patience``. Compares no trials."""

    exact = True

    def __init__(self, options: Patience, spec: SweepSpec) -> None:
        super().__init__(options, spec)
        self._patience = _patience(options, spec)
        self._improved: dict[int, tuple[float, float]] = {}  # trial -> loss and progress of its last improvement

    @classmethod
    def problems(cls, options: Patience, spec: SweepSpec) -> Iterator[Problem]:
        """Yield what keeps the patience from having a default."""
        unit = spec.progress.unit
        if options.patience is None and unit != EPOCHS and spec.horizon is None:
            yield Problem(f"scheduler patience needs its patience in {unit}: the end of a trial is not known",
                          f"give scheduler.patience, or {end_of(unit)}", ("scheduler",))  # fmt: skip

    @classmethod
    def explain_stop(cls, why: Mapping[str, Any]) -> str:
        """Say when the trial last improved."""
        return (
            f"{show(why['value'])} at {place_text(why, 'since')} was its last improvement, "
            f"and {_allowed(why)} without one are allowed"
        )

    def on_report(self, trial: int, progress: float) -> None:
        """Take note of an improvement."""
        loss = self.objective.loss(self.last[trial])
        if math.isfinite(loss) and loss < self._improved.get(trial, (math.inf, 0))[0] - self.options.min_delta:
            self._improved[trial] = loss, progress

    def judge_report(self, trial: int, progress: float) -> Verdict | None:
        """Stop a trial whose last improvement is too long ago."""
        loss, since = self._improved[trial]
        if progress - since < self._patience or self.is_at_end(progress):
            return None
        # The unit names the allowance, since journals of earlier versions call it epochs.
        numbers = {"rung": progress, "value": self.value(loss), "since": since, noun(self.unit): self._patience}
        return Verdict(self.name, numbers)


def _patience(options: Patience, spec: SweepSpec) -> float:
    if options.patience is not None:
        return whole(options.patience)
    return 5 if spec.progress.unit == EPOCHS else whole((spec.horizon or 0) / 10)


def _allowed(why: Mapping[str, Any]) -> str:
    unit = why.get("unit", EPOCHS)
    return span(why[noun(unit)], unit)
