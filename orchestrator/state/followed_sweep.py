"""A sweep's state, kept up to date with a journal that is still being written."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from orchestrator.errors import JournalVersionError
from orchestrator.journal import Event, Follower, Place, store_at
from orchestrator.secrets import masked_values
from orchestrator.state.sweep_state import SweepState


@dataclass
class Changes:
    """What the events of one refresh changed.

    Attributes:
        events: How many events were read.
        trials: The trials that an event names.
        sweep: Whether an event concerns the sweep as a whole, so that any trial that has not ended may have changed.
        restarted: Whether the state was computed again from the journal's first record.
    """

    events: int = 0
    trials: set[int] = field(default_factory=set)
    sweep: bool = False
    restarted: bool = False

    def add(self, event: Event) -> None:
        """Count one event."""
        self.events += 1
        self.restarted = self.restarted or event.seq == 0
        if "trial" in event.fields:
            self.trials.add(event["trial"])
        elif event.type == "checkpoints.removed":
            self.trials.update(number for number, _ in event["removed"])
            self.trials.update(event.fields.get("interim", ()))
        else:
            self.sweep = True


class FollowedSweep:
    """A `SweepState` that follows a journal. It only reads, and each event is applied once.

    Attributes:
        state: The state after the events read so far; replaced, not emptied, if the journal was rewritten.
        changes: What the last refresh changed.
        lease: The lease of the last event read.
    """

    def __init__(self, place: Place, *, mask: bool = False) -> None:
        """Follow the journal at ``place``; ``mask``: secrets of this process are no part of the state."""
        self.state = SweepState()
        self.changes = Changes()
        self.lease = 0
        self._follower = Follower(store_at(place))
        self._refused: JournalVersionError | None = None
        self._mask = mask

    def refresh(self) -> Changes:
        """Apply the events that are new since the last refresh.

        Raises:
            JournalError: The journal is damaged. The events before the damage have been applied.
            JournalVersionError: A newer version wrote the journal; every later refresh raises it again.
            OSError: The journal is gone or cannot be read.
        """
        if self._refused is not None:
            raise self._refused
        state, self.changes = self.state, Changes()
        try:
            for event in self._follower.events():
                if self._mask:
                    event = replace(event, fields=masked_values(event.fields))
                if event.seq == 0:
                    state = SweepState()
                state.apply(event)
                self.changes.add(event)
                self.lease = event.lease
        except JournalVersionError as error:
            self._refused = error
            raise
        finally:
            if self.changes.events:
                self.state = state
        return self.changes

    def restart(self) -> Changes:
        """Compute the state again from the journal's first record. Raises as `refresh`."""
        self._refused = None
        self._follower.rewind()
        return self.refresh()
