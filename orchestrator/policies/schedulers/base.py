"""What every scheduler is: after each report a trial goes on, stops or is set aside; who is promoted."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Any, Literal

from orchestrator.journal import Event
from orchestrator.state import Objective


@dataclass(frozen=True)
class Verdict:
    """What becomes of a trial, and why: the rule's name and the numbers that were compared.

    ``stop`` ends it; ``set_aside`` keeps it, with its checkpoint, for a promotion that may come; ``promote`` is that.
    A promotion may come with another trial's checkpoint (``donor``: its number and epoch), and then with ``params``.
    """

    rule: str
    why: Mapping[str, Any] = field(default_factory=dict)
    action: Literal["stop", "set_aside", "promote"] = "stop"
    donor: tuple[int, int] | None = None
    params: dict[str, Any] | None = None


class Scheduler(ABC):
    """Judges reports. Sees every event in order; ``judge`` speaks of a report that ``observe`` has seen."""

    name: str

    def __init__(self, objective: Objective) -> None:
        self._objective = objective
        self._last: dict[int, float] = {}
        self._best: dict[int, float] = {}
        self._aside: set[int] = set()

    def observe(self, event: Event) -> None:
        """Take note of what happened. Losses are the objective with its sign turned so that lower is better."""
        if event.type == "segment.reported":
            trial, value = event["trial"], float(event["metrics"].get(self._objective.metric, math.nan))
            self._last[trial] = value
            if math.isfinite(value):
                self._best[trial] = min(self._objective.loss(value), self._best.get(trial, math.inf))
            self._reported(trial, event["epoch"])
        elif event.type == "trial.set_aside":
            self._aside.add(event["trial"])
            self._was_set_aside(event["trial"], event["epoch"])
        elif event.type in ("trial.promoted", "trial.stopped"):
            self._aside.discard(event["trial"])
        elif event.type == "sweep.extended" and "trainer" in event["changed"]:
            self._extended(event["changed"]["trainer"]["max_epochs"])

    def judge(self, trial: int, epoch: int) -> Verdict | None:
        """None to go on. A value that is not finite stops a trial at once, whatever the scheduler."""
        value = self._last[trial]
        if not math.isfinite(value):
            return Verdict("not_finite", {"metric": self._objective.metric, "value": str(value)})
        return self._judge(trial, epoch)

    def promote(self, *, last: bool) -> tuple[int, Verdict] | None:
        """The trial set aside that is to go on, or to end, now, and why; None where there is none.

        ``last`` says that no other trial runs or will come: whoever is to see the end has to go on now.
        """
        return None

    @property
    def lends(self) -> Set[tuple[int, int]]:
        """Checkpoints, by trial and epoch, from which other trials may yet go on."""
        return frozenset()

    def dismiss(self, trial: int) -> Verdict:
        """Why a trial that was set aside does not go on, once the sweep is at its end."""
        return Verdict(self.name, {})

    def _reported(self, trial: int, epoch: int) -> None:
        """A report came in."""
        return

    def _was_set_aside(self, trial: int, epoch: int) -> None:
        """A trial waits for its promotion."""
        return

    def _extended(self, max_epochs: int) -> None:
        """From now on trials are trained for so many epochs."""
        return

    @abstractmethod
    def _judge(self, trial: int, epoch: int) -> Verdict | None: ...


class FIFO(Scheduler):
    """Every trial runs to its end."""

    name = "fifo"

    def _judge(self, trial: int, epoch: int) -> Verdict | None:
        return None
