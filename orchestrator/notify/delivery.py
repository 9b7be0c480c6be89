"""Deliver notes to one target, in a thread of its own, so that the sweep never waits."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections import deque

from orchestrator.notify.messages import Note
from orchestrator.notify.targets import UndeliveredError, tell, title
from orchestrator.spec import Notification

NEW_BEST_SECONDS = 60.0
"""At least this long between two notes on a new best; of those in between the last is delivered."""
_QUEUE = 16


class Courier:
    """To one target. What cannot be delivered is said on stderr, once for each reason in a row."""

    def __init__(self, target: Notification) -> None:
        self.target = target
        self._notes: deque[Note] = deque(maxlen=_QUEUE)
        self._best: Note | None = None
        self._best_told = float("-inf")
        self._carried: Note | None = None
        self._closing = False
        self._given_up = threading.Event()
        self._said = ""
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="notify", daemon=True)
        self._thread.start()

    def put(self, note: Note) -> None:
        """Hand a note over."""
        if note.occasion not in self.target.on:
            return
        with self._changed:
            if note.occasion == "new_best":
                self._best = note
            else:
                self._notes.append(note)
            self._changed.notify()

    def close(self, until: float) -> None:
        """Let it deliver what it has, up to that time of the monotonic clock; then say what it could not."""
        with self._changed:
            self._closing, self._best = True, None  # who hears of the end hears of the winner
            self._changed.notify()
        self._thread.join(max(0.0, until - time.monotonic()))
        if self._thread.is_alive():
            with self._changed:
                left = [note.occasion for note in (self._carried, *self._notes) if note]
                self._notes.clear()
            self._say(", ".join(left), "no time was left")
            self._given_up.set()

    def _work(self) -> None:
        while (note := self._next()) is not None:
            self._carried = note
            try:
                tell(self.target, note, self._given_up)
                self._said = ""
            except UndeliveredError as error:
                self._say(note.occasion, str(error))
            except Exception as error:  # whatever it is, it is not to end what there is still to tell
                self._say(note.occasion, type(error).__name__)
            self._carried = None

    def _next(self) -> Note | None:
        """The next note, once there is one; None at the end."""
        with self._changed:
            while not self._notes:
                if self._closing:
                    return None
                wait = None if self._best is None else self._best_told + NEW_BEST_SECONDS - time.monotonic()
                if self._best is not None and wait is not None and wait <= 0:
                    note, self._best, self._best_told = self._best, None, time.monotonic()
                    return note
                self._changed.wait(wait)
            return self._notes.popleft()

    def _say(self, what: str, reason: str) -> None:
        if reason != self._said and not self._given_up.is_set():
            self._said = reason
            with contextlib.suppress(OSError, ValueError):  # the terminal may be gone
                print(f"notify: {title(self.target)} was not told ({what}): {reason}", file=sys.stderr)
