"""Who may write: numbered claims in a folder beside the journal, of which the highest holds.

A claim is made with its content in one atomic step (a hard link, which NFS keeps atomic too), so of two that want
the same number one gets it. A holder beats by touching its claim every two seconds. Whoever wants the lease takes it
at once where the holder has let go or is provably dead (same machine, process gone), and where the claim has not beaten
for 20 s on the taker's own clock. The holder may only be asleep then: it finds a higher claim, or its own gone, at its
next append, which is refused (Gray & Cheriton 1989; fencing as in Chubby's sequencers, Burrows 2006).
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from orchestrator.errors import RunHeldError

BEAT_SECONDS = 2.0
SILENT_SECONDS = 20.0
_FRESH_SECONDS = 3 * BEAT_SECONDS


@dataclass(frozen=True)
class Holder:
    """A process as it can be told from every other: ``boot`` and ``space`` say on which machine its number counts."""

    epoch: int
    host: str
    pid: int
    boot: str
    space: str
    started: str
    released: bool = False

    @classmethod
    def this_process(cls, epoch: int) -> Holder:
        boot, space = _machine()
        return cls(epoch, socket.gethostname(), os.getpid(), boot, space, _start_of(os.getpid()))

    def __str__(self) -> str:
        return f"{self.host}, process {self.pid}"

    @property
    def gone(self) -> bool:
        """Whether it has let go or is certainly dead. On another machine nothing is certain."""
        return self.released or (self.here and _start_of(self.pid) != self.started)

    @property
    def here(self) -> bool:
        """Whether it runs, or ran, on this machine since it was started."""
        return bool(self.boot) and (self.boot, self.space) == _machine()


class Lease:
    """A claim that this process holds. ``proven`` is False where the holder before may still be alive."""

    def __init__(self, folder: Path, mine: Holder, proven: bool) -> None:
        self.epoch = mine.epoch
        self.proven = proven
        self._folder, self._mine = folder, mine
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._thread.start()

    @property
    def held(self) -> bool:
        """Whether nobody has taken it. Asked before and after every write."""
        return self._path.exists() and not _claim(self._folder, self.epoch + 1).exists()

    def require(self) -> None:
        """Raises RunHeldError where another process has taken over."""
        if not self.held:
            taker = current(self._folder)
            raise RunHeldError(
                f"this process was out of reach for so long that {taker or 'another'} has taken over the run; "
                "nothing more is written here",
                hint=f"look at it: sweep status {self._folder.parent.name}",
            )

    def release(self) -> None:
        """Let go, so that the next one need not wait."""
        self._done.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            if self.held:
                _write(self._folder, replace(self._mine, released=True)).replace(self._path)

    def discard(self) -> None:
        """Let go and leave no trace."""
        self._done.set()
        self._thread.join()
        self._path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._folder.rmdir()

    @property
    def _path(self) -> Path:
        return _claim(self._folder, self.epoch)

    def _beat(self) -> None:
        while not self._done.wait(BEAT_SECONDS):
            with contextlib.suppress(OSError):
                os.utime(self._path)


def current(folder: Path) -> Holder | None:
    """The highest claim; None where there is none."""
    for path in sorted(_claims(folder), reverse=True):
        with contextlib.suppress(FileNotFoundError):
            try:
                return Holder(**json.loads(path.read_bytes()))
            except (ValueError, TypeError):  # not ours, or damaged: it counts as held by somebody unknown
                return Holder(int(path.name), "an unknown host", 0, "", "", "")
    return None


def seems_alive(holder: Holder, silent: float) -> bool:
    """Whether one that has not let go and was silent for so many seconds may live: on another machine, for a minute."""
    return holder.here or silent < 3 * SILENT_SECONDS


def is_held(folder: Path) -> Holder | None:
    """Who holds it now, as far as a look can tell: on another machine, who has beaten in the last minute."""
    holder = current(folder)
    if holder is None or holder.gone:
        return None
    with contextlib.suppress(FileNotFoundError):
        silent = time.time() - _claim(folder, holder.epoch).stat().st_mtime
        return holder if seems_alive(holder, silent) else None
    return None


def acquire(folder: Path, *, after: int = 0) -> Lease:
    """Take the lease with a number above ``after``. Raises RunHeldError where its holder lives.

    Waits, up to 20 s, only where that cannot be known at once.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    while True:
        holder = current(folder)
        proven = holder is None or holder.gone
        if holder is not None and not proven:
            _wait_until_silent(folder, holder)
        mine = Holder.this_process(max(after, holder.epoch if holder else 0) + 1)
        if _link(folder, mine):
            for path in _claims(folder):
                if int(path.name) < mine.epoch:
                    path.unlink(missing_ok=True)
            return Lease(folder, mine, proven)


def _wait_until_silent(folder: Path, holder: Holder) -> None:
    """Return once the claim has not beaten for long. Raises RunHeldError at its first sign of life."""
    claim = _claim(folder, holder.epoch)
    seen = _beaten(claim)
    if holder.here and time.time() - seen < _FRESH_SECONDS:
        raise _held(folder, holder)
    until = time.monotonic() + SILENT_SECONDS
    while time.monotonic() < until:
        if holder.gone or _beaten(claim) != seen:
            now = current(folder)
            if now is None or now.gone or now.epoch != holder.epoch:
                return
            raise _held(folder, holder)
        time.sleep(0.2)


def _held(folder: Path, holder: Holder) -> RunHeldError:
    name = folder.parent.name
    return RunHeldError(
        f"the run {name!r} is held by {holder}", hint=f"look at it: sweep status {name}; end it: sweep stop {name}"
    )


def _beaten(claim: Path) -> float:
    try:
        return claim.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _link(folder: Path, mine: Holder) -> bool:
    """Make the claim; False where another has that number."""
    temporary = _write(folder, mine)
    try:
        os.link(temporary, _claim(folder, mine.epoch))
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _write(folder: Path, holder: Holder) -> Path:
    path = folder / f".{holder.epoch}.{holder.host}.{holder.pid}.{threading.get_ident()}"
    path.write_text(json.dumps(asdict(holder)))
    return path


def _claims(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*") if path.name.isdecimal()]


def _claim(folder: Path, epoch: int) -> Path:
    return folder / f"{epoch:06d}"


def _machine() -> tuple[str, str]:
    """This boot of this machine, and the space in which process numbers count; empty where the system does not say."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return boot, os.readlink("/proc/self/ns/pid")  # noqa: PTH115
    except OSError:
        return "", ""


def _start_of(pid: int) -> str:
    """When a process was started, in the system's own ticks; empty where there is no such process, or it has ended."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state in "ZX" else rest[18]
