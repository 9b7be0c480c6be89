"""Observe a sweep, and queue notes for the targets."""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from orchestrator.errors import describe
from orchestrator.journal import Event
from orchestrator.notify import messages
from orchestrator.notify.delivery import DeliveryThread
from orchestrator.notify.messages import Note
from orchestrator.notify.sweep_health import SweepHealth
from orchestrator.rundir import RunDirectory
from orchestrator.secrets import masked
from orchestrator.spec import Notification
from orchestrator.state import Best, SweepState

HEALTH_SECONDS = 30.0
"""Time between two looks at the sweep's health."""
CLOSE_SECONDS = 9.0
"""Maximum time that the end of a sweep waits for deliveries."""


class Notifier:
    """An observer of one sweep. It never raises, and waits only in `close`."""

    def __init__(
        self,
        targets: Sequence[Notification],
        name: str,
        run: RunDirectory | None = None,
        until_trials_end: Callable[[SweepState], float | None] = lambda state: None,
    ) -> None:
        self.name = name
        self._health = SweepHealth(run, until_trials_end=until_trials_end) if run and targets else None
        self._ended = threading.Event()
        self._deliveries = [DeliveryThread(target) for target in targets]
        self._watching = False
        self._lowest = math.inf
        self._state: SweepState | None = None
        self._end_reported = False

    def __call__(self, state: SweepState, event: Event) -> None:
        """Queue the notes that an event of the sweep causes."""
        if not self._deliveries:
            return
        try:
            self._observe(state, event)
            self._observe_health(state, event)
        except Exception as error:  # a fault here must not end the sweep
            print(masked(f"notify: no more notes are sent: {describe(error)}"), file=sys.stderr)
            self._deliveries = []

    def notify(self, note: Note) -> None:
        """Queue a note for every target that asks for its occasion."""
        for delivery in self._deliveries:
            delivery.put(note)

    def finals_ended(self, state: SweepState, confirmation: Mapping[str, Any] | None) -> None:
        """Report that finals ended, with their result ``confirmation``, or paused (None). ``state`` is the finals'."""
        if confirmation is not None:
            self.notify(messages.confirmed(self.name, state, confirmation))
        else:
            self.notify(messages.paused(f"{self.name} (finals)", state))

    def finals_failed(self, state: SweepState, error: Exception) -> None:
        """Report that finals failed. ``state`` is the sweep's."""
        self.notify(messages.failed(f"{self.name} (finals)", state, describe(error)))

    def close(self, reason: str = "") -> None:
        """Deliver what is queued, within `CLOSE_SECONDS`. If no end is on record, report a failure for ``reason``."""
        if self._state is not None and not self._end_reported:
            self.notify(messages.failed(self.name, self._state, reason or "its end could not be recorded"))
        self._ended.set()
        deadline = time.monotonic() + CLOSE_SECONDS
        for delivery in self._deliveries:
            delivery.close(deadline)
        self._deliveries = []

    def _observe(self, state: SweepState, event: Event) -> None:
        if event.type == "sweep.launched":
            self._state, self._end_reported = state, False
            self._lowest = self._lowest_loss(state)
        elif event.type == "segment.reported":
            self._observe_report(state, event)
        elif event.type in ("sweep.paused", "sweep.completed"):
            self._end_reported = True
            self.notify((messages.paused if event.type == "sweep.paused" else messages.finished)(self.name, state))

    def _observe_health(self, state: SweepState, event: Event) -> None:
        if self._health is None:
            return
        self._health.observe(state, event)
        if event.type == "sweep.launched" and not self._watching:
            self._watching = True
            threading.Thread(target=self._watch, args=(self._health,), name="sweep-health", daemon=True).start()

    def _watch(self, health: SweepHealth) -> None:
        """Queue the notices on the sweep's health until it ends; a fault here ends the notices, not the sweep."""
        while not self._ended.wait(HEALTH_SECONDS):
            try:
                live = health.run.read_live(list(self._state.running)) if self._state else {}
                for due in health.notes(repr(sorted(live.items())).encode()):
                    self.notify(due)
            except RuntimeError:  # the sweep's thread has changed the set meanwhile
                continue
            except Exception as error:
                print(masked(f"notify: no more notices on the sweep's health: {describe(error)}"), file=sys.stderr)
                return

    def _observe_report(self, state: SweepState, event: Event) -> None:
        trial, progress = state.trials[event["trial"]], event.progress
        value = state.objective.value(trial.reports[progress].metrics)
        if -math.inf < (loss := state.objective.loss(value)) < self._lowest:
            self._lowest = loss
            self.notify(messages.new_best(self.name, state, trial, Best(progress, value)))

    def _lowest_loss(self, state: SweepState) -> float:
        """Return the lowest loss of the trials before this launch."""
        objective = state.objective
        bests = (objective.best(trial) for trial in state.trials.values() if trial.status != "failed")
        return min((objective.loss(best.value) for best in bests if best), default=math.inf)
