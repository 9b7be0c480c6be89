"""Observe a sweep, and hand notes on it to the targets."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.journal import Event
from orchestrator.notify import messages
from orchestrator.notify.delivery import Courier
from orchestrator.notify.messages import Note
from orchestrator.spec import Notification
from orchestrator.state import Best, SweepState

CLOSE_SECONDS = 9.0
"""How long the end of a sweep waits for what is still to be delivered, at most."""


class Notifier:
    """An observer of one sweep. It never raises, and never waits but in `close`."""

    def __init__(self, targets: Sequence[Notification], name: str) -> None:
        self.name = name
        self._couriers = [Courier(target) for target in targets]
        self._lowest = math.inf
        self._state: SweepState | None = None
        self._told_end = False

    def __call__(self, state: SweepState, event: Event) -> None:
        """Take an event of the sweep, and queue the notifications that it causes."""
        if not self._couriers:
            return
        try:
            self._see(state, event)
        except Exception as error:  # a fault of ours is no reason to end somebody's sweep
            print(f"notify: no more notes are sent: {type(error).__name__}: {error}", file=sys.stderr)
            self._couriers = []

    def tell(self, note: Note) -> None:
        """Hand a note to all who want to hear of its occasion."""
        for courier in self._couriers:
            courier.put(note)

    def raced(self, state: SweepState, confirmation: Mapping[str, Any] | None) -> None:
        """Finals are over, for now: their state, and what they came to if they have come to their end."""
        if confirmation is not None:
            self.tell(messages.confirmed(self.name, state, confirmation))
        else:
            self.tell(messages.paused(f"{self.name} (finals)", state))

    def broke(self, state: SweepState, error: Exception) -> None:
        """The finals of a sweep, whose state this is, have ended by an error."""
        self.tell(messages.failed(f"{self.name} (finals)", state, f"{type(error).__name__}: {error}"))

    def close(self, reason: str = "") -> None:
        """The process is done with the sweep; where its end is not on record, for ``reason``. Waits 9 s at most."""
        if self._state is not None and not self._told_end:
            self.tell(messages.failed(self.name, self._state, reason or "its end could not be written down"))
        until = time.monotonic() + CLOSE_SECONDS
        for courier in self._couriers:
            courier.close(until)
        self._couriers = []

    def _see(self, state: SweepState, event: Event) -> None:
        if event.type == "sweep.launched":
            self._state, self._told_end = state, False
            self._lowest = self._lowest_of(state)
        elif event.type == "segment.reported":
            self._see_report(state, event)
        elif event.type in ("sweep.paused", "sweep.completed"):
            self._told_end = True
            self.tell((messages.paused if event.type == "sweep.paused" else messages.finished)(self.name, state))

    def _see_report(self, state: SweepState, event: Event) -> None:
        trial, epoch = state.trials[event["trial"]], event["epoch"]
        value = state.objective.value(trial.reports[epoch].metrics)
        if -math.inf < (loss := state.objective.loss(value)) < self._lowest:
            self._lowest = loss
            self.tell(messages.new_best(self.name, state, trial, Best(epoch, value)))

    def _lowest_of(self, state: SweepState) -> float:
        """Of the trials before this launch."""
        objective = state.objective
        best = (objective.best(trial) for trial in state.trials.values() if trial.status != "failed")
        return min((objective.loss(found.value) for found in best if found), default=math.inf)
