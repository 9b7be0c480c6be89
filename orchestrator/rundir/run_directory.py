"""A run directory in a folder that every process of the run shares; the one place that knows its file names."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import time
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from orchestrator.durable_files import is_shared_folder, make_folder, part_of, sync, write_durably
from orchestrator.errors import UsageError
from orchestrator.rundir.folder_access import restrict
from orchestrator.rundir.live_progress import LIMIT
from orchestrator.rundir.removal import is_checkpoint, is_checkpoint_or_part, linked_folder, remove_unfollowed
from orchestrator.rundir.run_data import data_folder
from orchestrator.rundir.trial_logs import WARNINGS, LogFile

LIVE = "live.json"


@dataclass(frozen=True)
class RunDirectory:
    """The folder ``<runs>/<name>/``. Names cannot leave the folder of runs.

    Files are read and written below ``root``. After writing a file for other processes, call `publish`; before reading
    one of theirs, call `fetch`. Here both do nothing, because the folder is shared. In object storage
    (`orchestrator.rundir.object_store_run`) ``root`` is this machine's own copy.
    """

    root: Path

    @property
    def name(self) -> str:
        """The run's name."""
        return self.root.name

    @property
    def where(self) -> str:
        """Its path or URL, for messages and for other processes that open it."""
        return str(self.root)

    @property
    def url(self) -> str:
        """Its URL in object storage; empty for a folder."""
        return ""

    @property
    def runs(self) -> Path | str:
        """The folder or URL of the runs to which it belongs."""
        return self.root.parent

    def child_run(self, name: str) -> RunDirectory:
        """Return the run directory of that name inside this one."""
        return RunDirectory(self.root / name)

    @property
    def parent_run(self) -> RunDirectory:
        """The run directory that contains this one, if there is one."""
        return RunDirectory(self.root.parent)

    @property
    def journal(self) -> Path | str:
        """Where the journal is, as `orchestrator.journal` takes it."""
        return self.root / "journal.jsonl"

    @property
    def spec(self) -> Path:
        """The spec as launched."""
        return self.root / "spec.yaml"

    @property
    def diff(self) -> Path:
        """The uncommitted changes when the sweep was launched; absent if there were none."""
        return self.root / "uncommitted.diff"

    @property
    def report(self) -> Path:
        """The page that `sweep report` writes by default."""
        return self.root / "report.html"

    @property
    def labels(self) -> Path:
        """Tags and note of the run; see `orchestrator.rundir.labels`."""
        return self.root / "labels.json"

    @property
    def ray(self) -> Path:
        """Ray Tune's own files, which may be deleted at any time."""
        return self.root / ".ray"

    @property
    def requests(self) -> Path:
        """The folder of other processes' requests to the driver; not part of the sweep's state."""
        return self.root / "requests"

    def stop_request(self, trial: int | None = None) -> Path:
        """Return the file that requests a clean stop of the sweep, or of one trial."""
        return self.requests / ("stop" if trial is None else f"stop-{trial}")

    def later_stop_request(self, *, drain: bool, at: int | None) -> Path:
        """Return the file that requests a stop at a time in Unix seconds, or after the running trials' next reports."""
        kind = "drain" if drain else "stop"
        return self.requests / (kind if at is None else f"{kind}-at-{at}")

    @property
    def driver_log(self) -> Path:
        """What a detached driver prints."""
        return self.root / "driver.log"

    def promote_request(self, trial: int) -> Path:
        """Return the file that requests the promotion of a trial that was set aside."""
        return self.requests / f"promote-{trial}"

    def trial(self, number: int) -> Path:
        """Return the folder of one trial."""
        return self.root / "trials" / f"{number:04d}"

    def stop_notice(self, number: int) -> Path:
        """Return the file in which the driver tells a running segment of that trial to end at its next batch."""
        return self.trial(number) / "stop"

    def tell_to_stop(self, trial: int, segment: int) -> None:
        """Tell a running segment to end at its next batch. Raises OSError."""
        self.write(self.stop_notice(trial), str(segment).encode())

    def live(self, number: int) -> Path:
        """Return the file that says how far a running trial is between two reports; see `live_progress`."""
        return self.trial(number) / LIVE

    def read_small(self, path: Path, limit: int) -> bytes:
        """Return the content of a small file; nothing if it is longer, a link or absent. Raises OSError."""
        return read_unfollowed(path, limit)

    def read_live(self, numbers: Iterable[int]) -> dict[int, bytes]:
        """Return the content of `live` for each of these trials that has such a file; never raises OSError."""
        return {number: content for number in numbers if (content := read_unfollowed(self.live(number), LIMIT))}

    def remove_live(self, numbers: Iterable[int]) -> None:
        """Remove these trials' files, and a part of one that a crash has left. Never raises OSError."""
        for number in numbers:
            for path in (self.live(number), part_of(self.live(number))):
                with contextlib.suppress(OSError):
                    remove_unfollowed(self.root, path.relative_to(self.root).as_posix())

    def log_files(self, trials: Iterable[int]) -> list[LogFile]:
        """Return the logs of what these trials have printed, in order; a folder that cannot be read has none."""
        return sorted(
            log
            for number in trials
            for name in self._names(f"trials/{number:04d}/logs")
            if (log := LogFile.of(number, name))
        )

    def warning_files(self) -> list[str]:
        """Return the files with what trials have warned of, in order."""
        return sorted(f"{WARNINGS}/{name}" for name in self._names(WARNINGS) if name.endswith(".jsonl"))

    def read_text(self, relative: str, limit: int) -> str:
        """Return the text of a plain file of at most so many bytes; empty if it is longer, or cannot be read."""
        try:
            return read_unfollowed(self.resolve(relative), limit).decode(errors="replace")
        except (OSError, UsageError):
            return ""

    def _names(self, folder: str) -> list[str]:
        """Return the names in a folder; none if it cannot be read, or leads out of the run directory."""
        try:
            return [path.name for path in self.resolve(folder).iterdir()]
        except (OSError, UsageError):
            return []

    def _link_hint(self, relative: str) -> str:
        """Return what to link instead, if a folder on the way is a link; empty without one."""
        above = [*reversed(PurePosixPath(relative).parents)]
        link = next((each for each in above if each.name and (self.root / each).is_symlink()), None)
        if link is None or ".." in above[-1].parts:
            return ""
        return f"{link} is a link: move it back, and link the run directory, or each trial's folder of checkpoints"

    def resolve(self, relative: str) -> Path:
        """Return the absolute path of one that the journal names.

        A trial's folder of checkpoints may be a link to another disk; no other link may lead out of the run directory.

        Raises:
            UsageError: It leaves the run directory.
        """
        path = Path(os.path.realpath(self.root / relative))
        linked = linked_folder(self.root, relative) if is_checkpoint(relative) else None
        if not any(path.is_relative_to(folder) for folder in (os.path.realpath(self.root), linked) if folder):
            raise UsageError(
                f"the journal names {relative!r}, which is outside {self.root}", hint=self._link_hint(relative)
            )
        return path

    def outside(self, roots: Iterable[str]) -> list[str]:
        """Return the import roots that are in no run directory, this one or another: nothing there is code."""
        own = self.root.resolve()
        return [root for root in roots if not Path(root).resolve().is_relative_to(own) and not data_folder(root)]

    def restrict(self, *, share: bool) -> str:
        """Close the directory to other users, or share it with its group; return a notice if one is due.

        Raises:
            OSError: It cannot be read.
        """
        return restrict(self.root, share=share)

    def exists(self) -> bool:
        """Return whether a sweep was started here: its journal is not empty."""
        journal = self.root / "journal.jsonl"
        return journal.exists() and journal.stat().st_size > 0

    @property
    def created_at(self) -> float:
        """When it was launched, in Unix seconds: a launch writes its spec once, after the first record."""
        for path in (self.spec, self.root / "journal.jsonl"):
            with contextlib.suppress(OSError):
                status = path.stat()
                return status.st_mtime if path == self.spec else status.st_ctime
        return time.time()  # it is being started

    def write(self, path: Path, content: bytes) -> None:
        """Write a file durably and publish it. Raises OSError."""
        write_durably(path, content)
        self.publish(path)

    def publish(self, path: Path) -> None:
        """Make the file, or all files of the folder, visible to other machines. Raises OSError."""

    def fetch(self, relative: str) -> Path:
        """Return the local path of a file after copying its published content, if any. Raises as `resolve`; OSError."""
        return self.resolve(relative)

    def fetch_all(self, folder: str) -> None:
        """Fetch all files of a folder. Raises as `fetch`."""

    def locate(self, relative: str) -> str | None:
        """Return the file's path or URL for display; None if it is known not to exist. Raises as `resolve`."""
        path = self.resolve(relative)
        return str(path) if path.exists() else None

    def size(self, relative: str) -> int | None:
        """Return a file's size in bytes; None if there is no such file. Raises as `resolve`; OSError."""
        try:
            return self.resolve(relative).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def remove(self, relative: str) -> None:
        """Remove a file if it exists. If it is a link, the link is removed and not what it leads to.

        Raises:
            UsageError: It leaves the run directory.
            OSError: It cannot be removed, or a folder on the way is a link.
        """
        remove_unfollowed(self.root, relative)

    def is_linked(self, relative: str) -> bool:
        """Return whether a checkpoint is elsewhere: its trial's folder of checkpoints is a link."""
        return linked_folder(self.root, relative) is not None

    def checkpoints(self) -> Iterator[str]:
        """Yield the paths of all existing checkpoints, recorded or not, as the journal would name them.

        Parts of checkpoints that were being written are included; links, and files of other names, are not.
        """
        for path in self.root.glob("trials/*/checkpoints/*"):
            relative = path.relative_to(self.root).as_posix()
            if is_checkpoint_or_part(relative) and not path.is_symlink():
                yield relative

    def file_sizes(self) -> Iterator[tuple[str, int]]:
        """Yield each file below the run directory and the bytes it takes on the disk; no link is followed.

        A file of several names counts once.
        """
        seen: set[tuple[int, int]] = set()
        for folder, _, names in os.walk(self.root):
            for name in names:
                with contextlib.suppress(OSError):
                    status = os.lstat(path := os.path.join(folder, name))  # noqa: PTH118 (half the time of a Path)
                    if (status.st_dev, status.st_ino) not in seen:
                        seen.add((status.st_dev, status.st_ino))
                        yield os.path.relpath(path, self.root), status.st_blocks * 512

    def changed(self, path: Path) -> int:
        """Return a number that differs after each change of the file; 0 if there is no such file."""
        try:
            return path.stat().st_mtime_ns
        except OSError:
            return 0

    def probe(self, size: int) -> None:
        """Check that ``size`` bytes can be written now. Raises OSError if not."""
        probe = self.root / ".probe"
        try:
            with probe.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, size)
                file.write(b"x")
                os.fsync(file.fileno())
        finally:
            with contextlib.suppress(OSError):
                probe.unlink()

    def rename(self, name: str) -> RunDirectory:
        """Give the run directory another name beside this one, and return it there. No process may write the run.

        Raises:
            UsageError: It is a link, or in object storage, where nothing can be renamed.
            FileExistsError: There is something of that name.
            OSError: It cannot be renamed.
        """
        self._require_folder()
        target = self.root.with_name(name)
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, "exists already", str(target))
        self.root.rename(target)
        sync(target.parent)
        return RunDirectory(target)

    def remove_all(self) -> None:
        """Remove the run directory, at once for every reader. A link in it is removed, not what it leads to.

        Raises:
            UsageError: It is itself a link.
            OSError: It cannot be removed; the rest has a name that no run has.
        """
        self._require_folder()
        leaving = self.root.with_name(f".{self.root.name}.removed-{os.urandom(4).hex()}")
        self.root.rename(leaving)
        sync(leaving.parent)
        shutil.rmtree(leaving)

    def _require_folder(self) -> None:
        if self.root.is_symlink():
            raise UsageError(f"{self.root} is a link, which is not followed", hint=f"name {self.root.resolve()}")

    def add_request(self, request: Path) -> None:
        """Create a request for the driver. Raises UsageError if the folder of requests is a link."""
        if self.requests.is_symlink():
            raise UsageError(f"{self.requests} is a link, which is not followed", hint="remove the link")
        make_folder(request.parent, 0o700)
        request.touch()

    def pending_requests(self) -> set[str]:
        """Return the names of the pending requests; none if their folder is a link. Raises OSError.

        Only a file of this user, of root or of the run directory's owner (a file server may show root as nobody)
        counts: in a folder that others may write they cannot steer the sweep. In a shared run directory, the group may.
        """
        if self.requests.is_symlink():
            return set()
        try:
            owners = None if self._is_shared() else {os.geteuid(), 0, self.root.stat().st_uid}
            return {path.name for path in self.requests.iterdir() if _is_file_of(path, owners)}
        except FileNotFoundError:
            return set()

    def _is_shared(self) -> bool:
        """Return whether nobody but the owner and the group can write requests."""
        folders = (self.root, self.requests)
        return all(is_shared_folder(folder) and not folder.stat().st_mode & 0o002 for folder in folders)

    def remove_request(self, request: Path) -> None:
        """Remove a request that is done or cannot be done; its author sees that it is gone."""
        request.unlink(missing_ok=True)

    def clear_requests(self, keep: Container[str] = ()) -> None:
        """Remove the requests that were meant for an earlier driver, but those to keep."""
        for name in (name for name in self.pending_requests() if name not in keep):
            self.remove_request(self.requests / name)
        with contextlib.suppress(OSError):
            self.requests.rmdir()


def read_unfollowed(path: Path, limit: int) -> bytes:
    """Return the content of a small plain file; nothing if it is longer, a link, another kind of file, or absent."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        status = os.fstat(descriptor)
        return os.read(descriptor, limit) if stat.S_ISREG(status.st_mode) and status.st_size <= limit else b""
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def _is_file_of(path: Path, owners: set[int] | None) -> bool:
    """Return whether a path is a plain file of one of the owners, or of anybody."""
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and (owners is None or status.st_uid in owners)
