"""Deliver notes to one target in a thread, so that the sweep never waits."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections import deque

from orchestrator.notify.messages import Note
from orchestrator.notify.target import UndeliveredError, deliver, title
from orchestrator.secrets import masked
from orchestrator.spec import Notification

NEW_BEST_SECONDS = 60.0
"""Minimum time between two notes on a new best. Of those in between, only the last is delivered."""
_QUEUE = 16


class DeliveryThread:
    """Delivers notes to one target. Failures are printed on stderr, once for each change of the reason."""

    def __init__(self, target: Notification) -> None:
        self.target = target
        self._notes: deque[Note] = deque(maxlen=_QUEUE)
        self._best: Note | None = None
        self._best_sent = float("-inf")
        self._current: Note | None = None
        self._closing = False
        self._canceled = threading.Event()
        self._last_reason = ""
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="notify", daemon=True)
        self._thread.start()

    def put(self, note: Note) -> None:
        """Queue a note, if the target asks for its occasion."""
        if note.occasion not in self.target.on:
            return
        with self._changed:
            if note.occasion == "new_best":
                self._best = note
            else:
                self._notes.append(note)
            self._changed.notify()

    def close(self, until: float) -> None:
        """Deliver what is queued, until a time of the monotonic clock; then print what was not delivered."""
        with self._changed:
            self._closing, self._best = True, None  # the note on the end names the winner
            self._changed.notify()
        self._thread.join(max(0.0, until - time.monotonic()))
        if self._thread.is_alive():
            with self._changed:
                undelivered = [note.occasion for note in (self._current, *self._notes) if note]
                self._notes.clear()
            self._warn(", ".join(undelivered), "the time was up")
            self._canceled.set()

    def _work(self) -> None:
        while (note := self._next()) is not None:
            self._current = note
            try:
                deliver(self.target, note, self._canceled)
                self._last_reason = ""
            except UndeliveredError as error:
                self._warn(note.occasion, str(error))
            except Exception as error:  # a fault of one notifier or note must not prevent later notes
                self._warn(note.occasion, type(error).__name__)
            self._current = None

    def _next(self) -> Note | None:
        """Wait for a note and return it; None at the end."""
        with self._changed:
            while not self._notes:
                if self._closing:
                    return None
                wait = None if self._best is None else self._best_sent + NEW_BEST_SECONDS - time.monotonic()
                if self._best is not None and wait is not None and wait <= 0:
                    note, self._best, self._best_sent = self._best, None, time.monotonic()
                    return note
                self._changed.wait(wait)
            return self._notes.popleft()

    def _warn(self, occasions: str, reason: str) -> None:
        if reason != self._last_reason and not self._canceled.is_set():
            self._last_reason = reason
            with contextlib.suppress(OSError, ValueError):  # the terminal may be gone
                print(masked(f"notify: no delivery to {title(self.target)} ({occasions}): {reason}"), file=sys.stderr)
