"""The lease in object storage: numbered claims as objects, each created only if its name is new.

The rules are those of `orchestrator.journal.lease`, with three differences:

1. A heartbeat rewrites the holder's claim, so a claim is never removed: a rewritten one would look as if it was never
   lost. A holder whose claim somebody has removed or replaced does not write it again.
2. Modification times prove nothing, so a claim counts as silent once its content has stayed the same for 20 s on the
   taker's own clock.
3. A check costs a request, so a holder skips the check for 15 s after the start of a heartbeat that arrived: no other
   process can take the lease for 20 s. After a longer suspension it checks, finds the next claim, and writes nothing.
   If it writes all the same, the number of its record is taken.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
import uuid
from dataclasses import asdict, replace

from orchestrator.errors import ObjectStoreError, RunHeldError
from orchestrator.journal import lease as leases
from orchestrator.journal.lease import Holder
from orchestrator.object_storage import Objects

_SURE = 0.75  # the share of `SILENT_SECONDS` for which a holder need not check


class ObjectLease:
    """A claim of this process. ``proven`` is False if the previous holder may still be alive."""

    def __init__(self, claims: Claims, holder: Holder, proven: bool, since: float) -> None:
        self.epoch = holder.epoch
        self.proven = proven
        self._claims, self._holder = claims, holder
        self._sure_until = since + _SURE * leases.SILENT_SECONDS
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._thread.start()

    @property
    def held(self) -> bool:
        """Whether no other process has taken the lease. Checked before and after every write."""
        if _now() < self._sure_until:
            return True
        return self._claims.is_own(self._holder) and not self._claims.exists(self.epoch + 1)

    def require(self) -> None:
        """Raise RunHeldError if another process has taken over."""
        if not self.held:
            raise RunHeldError(
                f"{self._claims.current() or 'another process'} has taken over {self._claims.url}, because this "
                "process sent no heartbeat for too long; nothing more is written here"
            )

    def release(self) -> None:
        """Release the lease, so that the next process need not wait."""
        self._done.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            if self._claims.is_own(self._holder):
                self._claims.write(replace(self._holder, released=True))

    def discard(self) -> None:
        """Release the lease. The claim stays, because no number is ever used twice."""
        self.release()

    def _beat(self) -> None:
        beats = 0
        while not self._done.wait(leases.BEAT_SECONDS):
            beats += 1
            with contextlib.suppress(OSError):
                began = _now()
                if not self._claims.is_own(self._holder) or self._claims.exists(self.epoch + 1):
                    self._sure_until = 0.0
                    return
                self._claims.write(self._holder, beats)
                if self._claims.exists(self.epoch + 1):
                    self._sure_until = 0.0
                    return
                self._sure_until = began + _SURE * leases.SILENT_SECONDS


class Claims:
    """The objects ``lease/000001`` and so on."""

    def __init__(self, objects: Objects) -> None:
        self.url = objects.url
        self._objects = objects

    def current(self) -> Holder | None:
        """Return the holder of the highest claim; None if there is no claim."""
        content = self.content()
        return _holder(*content) if content else None

    def content(self) -> tuple[int, bytes] | None:
        """Return number and bytes of the highest claim, which change with every heartbeat."""
        highest = self._highest()
        return (highest[0], self._objects.get(_name(highest[0]))) if highest else None

    def holder(self) -> Holder | None:
        """Return the holder that seems alive now; None if there is none. See `lease.seems_alive`."""
        highest = self._highest()
        if not highest:
            return None
        number, last_beat = highest
        holder = _holder(number, self._objects.get(_name(number)))
        return holder if not holder.is_gone and leases.seems_alive(holder, time.time() - last_beat) else None

    def exists(self, number: int) -> bool:
        """Return whether there is a claim of that number."""
        return self._objects.size(_name(number)) is not None

    def is_own(self, holder: Holder) -> bool:
        """Return whether the claim of that number is this holder's: it was neither removed nor replaced."""
        try:
            return _holder(holder.epoch, self._objects.get(_name(holder.epoch))) == holder
        except FileNotFoundError:
            return False

    def create(self, holder: Holder) -> bool:
        """Create the claim; return False if another process has its number."""
        name, text = _name(holder.epoch), _text(holder, uuid.uuid4().hex)
        try:
            self._objects.create(name, text)
        except FileExistsError:
            return self._objects.get(name) == text  # if so, it is this one: only the response was lost
        except ObjectStoreError:
            if self._objects.size(name) is None:
                raise
            return self._objects.get(name) == text
        return True

    def write(self, holder: Holder, beat: int = 0) -> None:
        """Rewrite the claim; only its holder does so."""
        self._objects.put(_name(holder.epoch), _text(holder, beat))

    def _highest(self) -> tuple[int, float] | None:
        """Return the highest claim's number, and its last heartbeat in Unix seconds on the store's clock."""
        claims = [
            (item.name.rpartition("/")[2], item.changed.timestamp()) for item in self._objects.list_objects("lease")
        ]
        return max(((int(name), changed) for name, changed in claims if name.isdecimal()), default=None)


def acquire(objects: Objects, *, after: int = 0) -> ObjectLease:
    """Take the lease of the journal in ``objects``, with a number above ``after``.

    Waits up to 20 s if only missing heartbeats can show that the previous holder is dead.

    Raises:
        RunHeldError: Its holder is alive.
    """
    claims = Claims(objects)
    while True:
        previous = claims.current()
        proven = previous is None or previous.is_gone
        if previous is not None and not proven:
            _wait_until_silent(claims, previous)
        holder = Holder.this_process(max(after, previous.epoch if previous else 0) + 1)
        began = _now()
        if claims.create(holder):
            return ObjectLease(claims, holder, proven, began)


def _wait_until_silent(claims: Claims, holder: Holder) -> None:
    """Return once the claim has not changed for `SILENT_SECONDS`. Raises RunHeldError at a heartbeat."""
    before = claims.content()
    until = time.monotonic() + leases.SILENT_SECONDS
    while time.monotonic() < until:
        time.sleep(min(0.5, leases.BEAT_SECONDS / 4))
        if claims.content() == before:
            continue
        now = claims.current()
        if now is None or now.is_gone:
            return
        raise RunHeldError(f"the run at {claims.url} is held by {now}")


def _name(number: int) -> str:
    return f"lease/{number:06d}"


def _holder(number: int, text: bytes) -> Holder:
    try:
        return Holder(**json.loads(text)["holder"])
    except (ValueError, TypeError, KeyError):  # a foreign or damaged object counts as held by an unknown process
        return Holder(number, "an unknown host", 0, "", "", "")


def _text(holder: Holder, mark: str | int) -> bytes:
    return json.dumps({"holder": asdict(holder), "mark": mark}).encode()


def _now() -> float:
    """Return seconds on a clock that also runs while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
