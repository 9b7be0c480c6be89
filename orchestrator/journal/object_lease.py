"""The lease where there are no files to link: numbered claims as objects, each made only if it is new.

The rules are those of `orchestrator.journal.lease`, with two differences. A holder beats by writing its own claim anew,
so a claim is never removed: one that came back could not be told from one that was never lost. And nothing can be
read off a time of change, so a claim counts as silent once its content has stayed the same for 20 s on the taker's
own clock. A woken holder finds the next claim, and at the latest the record it wants to write: its number is gone.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from dataclasses import asdict, replace
from typing import Any

from orchestrator.errors import JournalError, RunHeldError
from orchestrator.journal import lease as leases
from orchestrator.journal.lease import Holder
from orchestrator.journal.stores import ObjectStore, create_object
from orchestrator.journal.writer import Journal


class ObjectLease:
    """A claim that this process holds. ``proven`` is False where the holder before may still be alive."""

    def __init__(self, claims: Claims, mine: Holder, proven: bool) -> None:
        self.epoch = mine.epoch
        self.proven = proven
        self._claims, self._mine = claims, mine
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._thread.start()

    @property
    def held(self) -> bool:
        """Whether nobody has taken it. Asked before and after every write."""
        return not self._claims.exists(self.epoch + 1)

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
                self._claims.write(self._mine, beats)


class Claims:
    """The objects ``<url>/lease/000001`` and so on."""

    def __init__(self, url: str, **options: Any) -> None:
        import fsspec

        self.url = url.rstrip("/")
        self._system, root = fsspec.core.url_to_fs(self.url, **options)
        self._root = f"{root}/lease"

    def current(self) -> Holder | None:
        """The highest claim; None where there is none."""
        content = self.content()
        if content is None:
            return None
        number, text = content
        try:
            fields = json.loads(text)
            fields.pop("beats", None)
            return Holder(**fields)
        except (ValueError, TypeError):  # not ours, or damaged: it counts as held by somebody unknown
            return Holder(number, "an unknown host", 0, "", "", "")

    def content(self) -> tuple[int, bytes] | None:
        """Number and bytes of the highest claim: what changes with every beat."""
        self._system.invalidate_cache(self._root)
        try:
            names = [name.rsplit("/", 1)[-1] for name in self._system.ls(self._root, detail=False)]
        except FileNotFoundError:
            return None
        number = max((int(name) for name in names if name.isdecimal()), default=0)
        return (number, self._system.cat_file(self._name(number))) if number else None

    def exists(self, number: int) -> bool:
        self._system.invalidate_cache(self._root)
        return bool(self._system.exists(self._name(number)))

    def create(self, holder: Holder) -> bool:
        """Make the claim; False where another has that number."""
        try:
            create_object(self._system, self._name(holder.epoch), _text(holder, 0))
        except FileExistsError:
            return False
        return True

    def write(self, holder: Holder, beats: int = 0) -> None:
        """Write the claim anew; it is the holder's own, so nobody else writes it."""
        self._system.pipe_file(self._name(holder.epoch), _text(holder, beats))

    def _name(self, number: int) -> str:
        return f"{self._root}/{number:06d}"


def acquire(url: str, *, after: int = 0, **options: Any) -> ObjectLease:
    """Take the lease of the journal at ``url``, with a number above ``after``.

    Raises RunHeldError where its holder lives. Waits, up to 20 s, where only silence can tell that it is dead.
    """
    claims = Claims(url, **options)
    while True:
        holder = claims.current()
        proven = holder is None or holder.gone
        if holder is not None and not proven:
            _wait_until_silent(claims, holder)
        mine = Holder.this_process(max(after, holder.epoch if holder else 0) + 1)
        if claims.create(mine):
            return ObjectLease(claims, mine, proven)


def create(url: str, **options: Any) -> Journal:
    """A new journal below ``url``. Raises RunHeldError where one is there already or another process is making it."""
    right = acquire(url, **options)
    store = ObjectStore(url, **options)
    if not store.empty():
        right.release()
        raise RunHeldError(f"the run exists already: {url}")
    return Journal.over(store, right)


def open(url: str, **options: Any) -> Journal:
    """Take over an existing journal. Raises RunHeldError while another holds it, JournalError where it is damaged."""
    right = acquire(url, **options)
    try:
        return Journal.over(ObjectStore(url, **options), right)
    except (JournalError, OSError):
        right.release()
        raise


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


def _text(holder: Holder, beats: int) -> bytes:
    return json.dumps({**asdict(holder), "beats": beats}).encode()
