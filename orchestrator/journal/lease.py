"""The lease: the right to write to a journal, held by the highest numbered claim in a folder next to the journal.

A claim is created with its content in one atomic step (a hard link, which is atomic on NFS too), so only one of two
processes gets a number. The holder touches its claim every two seconds as a heartbeat. Another process takes the
lease at once if the holder has released it or is provably dead (same machine, process gone), else after 20 s without a
heartbeat, measured on its own monotonic clock. The holder may only be suspended then: before its next append it finds a
higher claim, or its own removed or replaced, and the append is refused (Gray & Cheriton 1989; fencing as in Chubby's
sequencers, Burrows 2006).

No number is given to a second process while the first may still write. The highest claim therefore stays when a launch
is refused, except where its process was the first here: then no other process has a number, and all files are removed.
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

from orchestrator.durable_files import fresh_status, is_shared_folder, make_folder, temporary_name
from orchestrator.errors import RunHeldError

BEAT_SECONDS = 2.0
SILENT_SECONDS = 20.0
_FRESH_SECONDS = 3 * BEAT_SECONDS
_discarded: dict[Path, int] = {}  # the numbers of this process whose files were removed; it uses none of them again


@dataclass(frozen=True)
class Holder:
    """A process, identified among all processes of all machines.

    Attributes:
        epoch: The number of its claim.
        host: The machine's name, for display.
        pid: Its process number, which is valid in one boot of one machine and one PID namespace.
        boot: The machine's boot id; empty if the system does not tell.
        space: The PID namespace.
        started: When the process started, in ticks since boot.
        released: Whether it has released the lease.
    """

    epoch: int
    host: str
    pid: int
    boot: str
    space: str
    started: str
    released: bool = False

    @classmethod
    def this_process(cls, epoch: int) -> Holder:
        """Return the current process as the holder of claim ``epoch``."""
        boot, space = _machine()
        return cls(epoch, socket.gethostname(), os.getpid(), boot, space, _start_of(os.getpid()))

    def __str__(self) -> str:
        return f"{self.host}, process {self.pid}"

    @property
    def is_gone(self) -> bool:
        """Whether it has released the lease or is certainly dead; never certain for a process of another machine."""
        return self.released or (self.is_local and _start_of(self.pid) != self.started)

    @property
    def is_local(self) -> bool:
        """Whether it belongs to this machine's current boot and PID namespace."""
        return bool(self.boot) and (self.boot, self.space) == _machine()


class Lease:
    """A claim of this process. ``proven`` is False if the previous holder may still be alive.

    ``first`` says that no other process has had a claim in the folder.
    """

    def __init__(self, folder: Path, holder: Holder, *, proven: bool, first: bool) -> None:
        self.epoch = holder.epoch
        self.proven = proven
        self._folder, self._holder, self._first = folder, holder, first
        self._content = _content(holder)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._thread.start()

    @property
    def held(self) -> bool:
        """Whether no other process has taken the lease. Checked before and after every write.

        The claim is opened and read, not only looked up: on NFS only an open asks the server.
        """
        try:
            content = self._path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return False
        return content == self._content and not _claim(self._folder, self.epoch + 1).exists()

    def require(self) -> None:
        """Raise RunHeldError if another process has taken over."""
        if self.held:
            return
        name = self._folder.parent.name
        if not self._folder.is_dir():
            raise RunHeldError(
                f"the lease of the run {name!r} is gone: {self._folder} was removed or renamed while this process "
                "wrote the run; nothing more is written here",
                hint="if the folder was moved, resume the run under its new name",
            )
        raise RunHeldError(
            f"{current(self._folder) or 'another process'} has taken over the run, because this process sent no "
            "heartbeat for too long; nothing more is written here",
            hint=f"show its status: sweep status {name}",
        )

    def release(self) -> None:
        """Release the lease, so that the next process need not wait."""
        self._stop()
        with contextlib.suppress(OSError):
            if self.held:
                _write(self._folder, replace(self._holder, released=True)).replace(self._path)

    def discard(self) -> None:
        """Release the lease and remove its files, unless another process may still act on an earlier claim."""
        if not self._first:
            self.release()
            return
        self._stop()
        _discarded[self._folder.resolve()] = self.epoch
        with contextlib.suppress(OSError):
            if self.held:
                self._path.unlink()
                self._folder.rmdir()

    @property
    def _path(self) -> Path:
        return _claim(self._folder, self.epoch)

    def _stop(self) -> None:
        self._done.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._done.wait(BEAT_SECONDS):
            with contextlib.suppress(OSError):
                os.utime(self._path)


def current(folder: Path) -> Holder | None:
    """Return the holder of the highest claim; None if there is no claim."""
    for number in sorted(_numbers(folder), reverse=True):
        with contextlib.suppress(FileNotFoundError):
            try:
                return Holder(**json.loads(_claim(folder, number).read_bytes()))
            except (ValueError, TypeError):  # a foreign or damaged file counts as held by an unknown process
                return Holder(number, "an unknown host", 0, "", "", "")
    return None


def seems_alive(holder: Holder, silent: float) -> bool:
    """Return whether a holder that has not released may be alive after ``silent`` seconds without a heartbeat.

    On another machine it may for a minute.
    """
    return holder.is_local or silent < 3 * SILENT_SECONDS


def is_held(folder: Path) -> Holder | None:
    """Return the holder that seems alive now; None if there is none. See `seems_alive`."""
    holder = current(folder)
    if holder is None or holder.is_gone:
        return None
    with contextlib.suppress(FileNotFoundError):
        silent = time.time() - fresh_status(_claim(folder, holder.epoch)).st_mtime
        return holder if seems_alive(holder, silent) else None
    return None


def acquire(folder: Path, *, after: int = 0) -> Lease:
    """Take the lease with a number above ``after``, the number of the journal's last record; 0 if there is none.

    The previous holder is proven to be dead only if it wrote that record. Else it may have taken the lease from one
    that is suspended in a write, and have died before it put another file in the journal's place.

    Waits up to 20 s if only missing heartbeats can show that the previous holder is dead.

    Raises:
        RunHeldError: Its holder is alive.
    """
    while True:
        make_folder(folder, 0o700)  # the holder may have discarded it meanwhile
        previous = current(folder)
        if previous is not None and not previous.is_gone:
            _wait_until_silent(folder, previous)
            proven = False
        else:
            proven = (previous.epoch if previous else 0) == after
        used = max(after, previous.epoch if previous else 0, _discarded.get(folder.resolve(), 0))
        holder = Holder.this_process(used + 1)
        if not _link(folder, holder):
            continue
        numbers = sorted(_numbers(folder))
        if numbers[-1:] > [holder.epoch]:  # suspended before the link: the number was used, and its claim removed
            _claim(folder, holder.epoch).unlink(missing_ok=True)
            continue
        # In this order: a holder that still finds its own claim finds the next one, too.
        for number in numbers:
            if number < holder.epoch:
                _claim(folder, number).unlink(missing_ok=True)
        return Lease(folder, holder, proven=proven, first=not (previous or after))


def _wait_until_silent(folder: Path, holder: Holder) -> None:
    """Return once the claim has had no heartbeat for `SILENT_SECONDS`. Raises RunHeldError at a heartbeat."""
    claim = _claim(folder, holder.epoch)
    last_beat = _last_beat(claim)
    if holder.is_local and 0 <= time.time() - last_beat < _FRESH_SECONDS:  # negative if the clock was set back
        raise _held_error(folder, holder)
    until = time.monotonic() + SILENT_SECONDS
    while time.monotonic() < until:
        if holder.is_gone or _last_beat(claim) != last_beat:
            now = current(folder)
            if now is None or now.is_gone or now.epoch != holder.epoch:
                return
            raise _held_error(folder, holder)
        time.sleep(0.2)


def _held_error(folder: Path, holder: Holder) -> RunHeldError:
    name = folder.parent.name
    return RunHeldError(
        f"the run {name!r} is held by {holder}",
        hint=f"show its status: sweep status {name}; stop it: sweep stop {name}",
    )


def _last_beat(claim: Path) -> float:
    try:
        return fresh_status(claim).st_mtime
    except FileNotFoundError:
        return 0.0


def _link(folder: Path, holder: Holder) -> bool:
    """Create the claim; return False if another process has its number."""
    try:
        temporary = _write(folder, holder)
    except FileNotFoundError:  # another process has discarded the folder
        return False
    try:
        os.link(temporary, _claim(folder, holder.epoch))
    except FileExistsError:  # also the answer to a request that a client of NFS repeats after a lost answer
        return fresh_status(temporary).st_nlink == 2
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _write(folder: Path, holder: Holder) -> Path:
    path = temporary_name(folder / f"{holder.epoch}")
    try:
        path.write_bytes(_content(holder))
        if is_shared_folder(folder):
            path.chmod(0o660)
    except BaseException:  # a full disk, for example; the name is used once, so nobody else would remove it
        path.unlink(missing_ok=True)
        raise
    return path


def _content(holder: Holder) -> bytes:
    return json.dumps(asdict(holder)).encode()


def _numbers(folder: Path) -> list[int]:
    """Return the numbers of all claims, in any order."""
    try:
        return [int(path.name) for path in folder.iterdir() if path.name.isdecimal()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _claim(folder: Path, epoch: int) -> Path:
    return folder / f"{epoch:06d}"


def _machine() -> tuple[str, str]:
    """Return this machine's boot id and this process's PID namespace; empty if the system does not tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return boot, os.readlink("/proc/self/ns/pid")  # noqa: PTH115
    except OSError:
        return "", ""


def _start_of(pid: int) -> str:
    """Return when a process started, in ticks since boot; empty if there is no such process, or it has ended.

    A process that was killed is a zombie as soon as its first thread has ended; another may still wait for the disk.
    """
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    threads, started = rest[16], rest[18]
    return "" if state == "X" or (state == "Z" and int(threads) <= 1) else started
