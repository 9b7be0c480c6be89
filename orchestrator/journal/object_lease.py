"""The lease where there are no files to link: numbered claims as objects, each made only if it is new.

The rules are those of `orchestrator.journal.lease`, with three differences. A holder beats by writing its own claim
anew, so a claim is never removed: one that came back could not be told from one that was never lost. Nothing can be
read off a time of change, so a claim counts as silent once its content has stayed the same for 20 s on the taker's own
clock. And since a look costs a request, a holder takes itself for the holder without one for 15 s after a beat of its
own began that arrived: for 20 s nobody can have taken it. Whoever was suspended for longer looks, finds the next claim,
and writes nothing; at the latest it finds the record that it wants to write: its number is gone.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
import uuid
from dataclasses import asdict, replace

from orchestrator.errors import RunHeldError
from orchestrator.journal import lease as leases
from orchestrator.journal.lease import Holder
from orchestrator.object_storage import Objects

_SURE = 0.75  # of the silence that lets others take it


class ObjectLease:
    """A claim that this process holds. ``proven`` is False where the holder before may still be alive."""

    def __init__(self, claims: Claims, mine: Holder, proven: bool, since: float) -> None:
        self.epoch = mine.epoch
        self.proven = proven
        self._claims, self._mine = claims, mine
        self._sure = since + _SURE * leases.SILENT_SECONDS
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._thread.start()

    @property
    def held(self) -> bool:
        """Whether nobody has taken it. Asked before and after every write."""
        return _now() < self._sure or not self._claims.exists(self.epoch + 1)

    def require(self) -> None:
        """Raises RunHeldError where another process has taken over."""
        if not self.held:
            raise RunHeldError(
                f"this process was out of reach for so long that {self._claims.current() or 'another'} has taken over "
                f"{self._claims.url}; nothing more is written here"
            )

    def release(self) -> None:
        """Let go, so that the next one need not wait."""
        self._done.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            self._claims.write(replace(self._mine, released=True))

    def discard(self) -> None:
        """Let go. The claim stays, for no number is ever used twice."""
        self.release()

    def _beat(self) -> None:
        beats = 0
        while not self._done.wait(leases.BEAT_SECONDS):
            beats += 1
            with contextlib.suppress(OSError):
                began = _now()
                self._claims.write(self._mine, beats)
                if self._claims.exists(self.epoch + 1):
                    self._sure = 0.0
                    return
                self._sure = began + _SURE * leases.SILENT_SECONDS


class Claims:
    """The objects ``lease/000001`` and so on."""

    def __init__(self, objects: Objects) -> None:
        self.url = objects.url
        self._objects = objects

    def current(self) -> Holder | None:
        """The highest claim; None where there is none."""
        content = self.content()
        return _holder(*content) if content else None

    def content(self) -> tuple[int, bytes] | None:
        """Number and bytes of the highest claim: what changes with every beat."""
        found = self._highest()
        return (found[0], self._objects.get(_name(found[0]))) if found else None

    def holder(self) -> Holder | None:
        """Who holds it now, as far as a look can tell: on another machine, who has beaten in the last minute."""
        found = self._highest()
        if not found:
            return None
        number, beaten = found
        holder = _holder(number, self._objects.get(_name(number)))
        return holder if not holder.gone and leases.seems_alive(holder, time.time() - beaten) else None

    def exists(self, number: int) -> bool:
        return self._objects.size(_name(number)) is not None

    def create(self, holder: Holder) -> bool:
        """Make the claim; False where another has that number."""
        text = _text(holder, uuid.uuid4().hex)
        try:
            self._objects.create(_name(holder.epoch), text)
        except FileExistsError:
            return self._objects.get(_name(holder.epoch)) == text  # then it is our own, of which the answer was lost
        return True

    def write(self, holder: Holder, beat: int = 0) -> None:
        """Write the claim anew; it is the holder's own, so nobody else writes it."""
        self._objects.put(_name(holder.epoch), _text(holder, beat))

    def _highest(self) -> tuple[int, float] | None:
        """Its number, and when it last beat, in Unix seconds by the store's clock."""
        found = [(one.name.rpartition("/")[2], one.changed.timestamp()) for one in self._objects.find("lease")]
        return max(((int(name), changed) for name, changed in found if name.isdecimal()), default=None)


def acquire(objects: Objects, *, after: int = 0) -> ObjectLease:
    """Take the lease of the journal there, with a number above ``after``.

    Raises RunHeldError where its holder lives. Waits, up to 20 s, where only silence can tell that it is dead.
    """
    claims = Claims(objects)
    while True:
        holder = claims.current()
        proven = holder is None or holder.gone
        if holder is not None and not proven:
            _wait_until_silent(claims, holder)
        mine = Holder.this_process(max(after, holder.epoch if holder else 0) + 1)
        began = _now()
        if claims.create(mine):
            return ObjectLease(claims, mine, proven, began)


def _wait_until_silent(claims: Claims, holder: Holder) -> None:
    """Return once the claim has not changed for long. Raises RunHeldError at its first sign of life."""
    seen = claims.content()
    until = time.monotonic() + leases.SILENT_SECONDS
    while time.monotonic() < until:
        time.sleep(min(0.5, leases.BEAT_SECONDS / 4))
        if claims.content() == seen:
            continue
        now = claims.current()
        if now is None or now.gone:
            return
        raise RunHeldError(f"the run at {claims.url} is held by {now}")


def _name(number: int) -> str:
    return f"lease/{number:06d}"


def _holder(number: int, text: bytes) -> Holder:
    try:
        return Holder(**json.loads(text)["holder"])
    except (ValueError, TypeError, KeyError):  # not ours, or damaged: it counts as held by somebody unknown
        return Holder(number, "an unknown host", 0, "", "", "")


def _text(holder: Holder, mark: str | int) -> bytes:
    return json.dumps({"holder": asdict(holder), "mark": mark}).encode()


def _now() -> float:
    """Seconds on a clock that goes on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
