"""A run directory in object storage. Files that a process reads or writes are copied to a folder of its machine."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.durable_files import make_folder
from orchestrator.errors import UsageError
from orchestrator.object_storage import Listed, objects
from orchestrator.rundir.live_progress import LIMIT
from orchestrator.rundir.removal import is_checkpoint
from orchestrator.rundir.run_data import cache_of_runs
from orchestrator.rundir.run_directory import RunDirectory
from orchestrator.rundir.trial_logs import WARNINGS, LogFile

_FRESH_SECONDS = 1.0
_FIRST_RECORD = "journal/records/000000000000.jsonl"


@dataclass(frozen=True)
class RunInObjects(RunDirectory):
    """The run ``s3://bucket/runs/<name>``. ``root`` is a folder in the user's cache; delete it only if nothing runs.

    The journal is the objects below ``journal/``. Other files have the same names as in a folder, except for the
    trials' signs of life: these are in one place, so that one listing shows all of them.
    """

    address: str = ""

    @classmethod
    def of(cls, where: str) -> RunInObjects:
        """Return the run at that URL."""
        url = where.rstrip("/")
        folder, _, name = url.rpartition("/")
        return cls(cache_of_runs() / hashlib.sha256(folder.encode()).hexdigest()[:16] / name, url)

    @property
    def where(self) -> str:
        """See `RunDirectory.where`."""
        return self.address

    @property
    def url(self) -> str:
        """See `RunDirectory.url`."""
        return self.address

    @property
    def runs(self) -> str:
        """See `RunDirectory.runs`."""
        return self.address.rpartition("/")[0]

    def child_run(self, name: str) -> RunDirectory:
        """See `RunDirectory.child_run`."""
        return RunInObjects(self.root / name, f"{self.address}/{name}")

    @property
    def parent_run(self) -> RunDirectory:
        """See `RunDirectory.parent_run`."""
        return RunInObjects(self.root.parent, self.runs)

    @property
    def journal(self) -> str:
        """See `RunDirectory.journal`."""
        return f"{self.address}/journal"

    def restrict(self, *, share: bool) -> str:
        """Close this machine's copy to other users. Who may read the objects is set where they are stored."""
        make_folder(self.root, 0o700)
        return super().restrict(share=False)

    def exists(self) -> bool:
        """See `RunDirectory.exists`."""
        return objects(self.address).size(_FIRST_RECORD) is not None

    @property
    def created_at(self) -> float:
        """See `RunDirectory.created_at`."""
        record = objects(self.address).stat(_FIRST_RECORD)
        return record.changed.timestamp() if record else 0.0

    def publish(self, path: Path) -> None:
        """See `RunDirectory.publish`."""
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        for file in files:
            objects(self.address).put(self._name(file), file.read_bytes())

    def fetch(self, relative: str) -> Path:
        """Copy the object to its local path unless the copy is as long; a longer copy is being written here."""
        path = self.resolve(relative)
        size = objects(self.address).size(relative)
        if size is not None and not (path.exists() and path.stat().st_size >= size):
            objects(self.address).fetch(relative, path)
        return path

    def fetch_all(self, folder: str) -> None:
        """See `RunDirectory.fetch_all`."""
        for name in objects(self.address).names(folder):
            self.fetch(name)

    def locate(self, relative: str) -> str | None:
        """Return the URL without a request: what the journal records as kept exists."""
        self.resolve(relative)
        return f"{self.address}/{relative}"

    def size(self, relative: str) -> int | None:
        """See `RunDirectory.size`."""
        self.resolve(relative)
        return objects(self.address).size(relative)

    def remove(self, relative: str) -> None:
        """See `RunDirectory.remove`."""
        super().remove(relative)
        objects(self.address).remove([relative])

    def checkpoints(self) -> Iterator[str]:
        """See `RunDirectory.checkpoints`."""
        for name in objects(self.address).names("trials"):
            if is_checkpoint(name):
                yield name

    def file_sizes(self) -> Iterator[tuple[str, int]]:
        """See `RunDirectory.file_sizes`; this machine's copy is not counted."""
        for item in objects(self.address).list_objects():
            yield item.name, item.size

    def rename(self, name: str) -> RunDirectory:
        """See `RunDirectory.rename`."""
        raise UsageError(
            f"{self.address} is in object storage, where a run cannot be renamed", hint="tag it, or write a note"
        )

    def remove_all(self) -> None:
        """Remove all objects, the journal last and from its end, so that what is left can be read at any moment."""
        names = objects(self.address).names()
        journal = sorted((name for name in names if name.startswith("journal/records/")), reverse=True)
        objects(self.address).remove([name for name in names if not name.startswith("journal/records/")])
        for name in journal:
            objects(self.address).remove([name])
        if self.root.is_dir() and not self.root.is_symlink():
            shutil.rmtree(self.root)

    def changed(self, path: Path) -> int:
        """See `RunDirectory.changed`."""
        sign = _LISTINGS.of(f"{self.address}/progress").get(path.parent.name)
        return int(sign.changed.timestamp() * 1000) if sign else 0

    def read_small(self, path: Path, limit: int) -> bytes:
        """See `RunDirectory.read_small`."""
        try:
            content = objects(self.address).get(self._name(path))
        except FileNotFoundError:
            return b""
        return content if len(content) <= limit else b""

    def read_live(self, numbers: Iterable[int]) -> dict[int, bytes]:
        """See `RunDirectory.read_live`. A trial's sign of life holds it; one is fetched again once it has changed."""
        signs = _LISTINGS.of(f"{self.address}/progress")
        return {
            number: content
            for number in numbers
            if (sign := signs.get(f"{number:04d}")) and 0 < sign.size <= LIMIT
            if (content := _LISTINGS.content(f"{self.address}/progress", sign))
        }

    def remove_live(self, numbers: Iterable[int]) -> None:
        """See `RunDirectory.remove_live`."""
        ended = {f"{number:04d}" for number in numbers}
        with contextlib.suppress(OSError):
            store = objects(f"{self.address}/progress")
            store.remove(ended.intersection(store.names()) if ended else ())

    def log_files(self, trials: Iterable[int]) -> list[LogFile]:
        """See `RunDirectory.log_files`. A listing of all trials is one request for each thousand objects."""
        wanted = set(trials)
        folder = f"trials/{min(wanted):04d}/logs" if len(wanted) == 1 else "trials"
        logs = []
        for name in objects(self.address).names(folder):
            number = name.split("/")[1]
            log = LogFile.of(int(number), name) if number.isdecimal() else None
            if log and log.relative == name and log.trial in wanted:
                logs.append(log)
        return sorted(logs)

    def warning_files(self) -> list[str]:
        """See `RunDirectory.warning_files`."""
        return [name for name in objects(self.address).names(WARNINGS) if name.endswith(".jsonl")]

    def read_text(self, relative: str, limit: int) -> str:
        """See `RunDirectory.read_text`. A log that is being written on this machine is further here."""
        here, there = super().read_text(relative, limit), ""
        with contextlib.suppress(FileNotFoundError):
            size = objects(self.address).size(relative) or 0
            there = objects(self.address).get(relative).decode(errors="replace") if 0 < size <= limit else ""
        return max(here, there, key=len)

    def probe(self, size: int) -> None:
        """Check that an object can be written; object storage has no limit on ``size``. Raises OSError."""
        objects(self.address).put("probe", b"")

    def add_request(self, request: Path) -> None:
        """See `RunDirectory.add_request`."""
        objects(self.address).put(self._name(request), b"")

    def pending_requests(self) -> set[str]:
        """See `RunDirectory.pending_requests`."""
        return {name.rpartition("/")[2] for name in objects(self.address).names("requests")}

    def remove_request(self, request: Path) -> None:
        """See `RunDirectory.remove_request`."""
        objects(self.address).remove([self._name(request)])

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


class _Listings:
    """Listings cached for one second, so that queries for many objects cost one request."""

    def __init__(self) -> None:
        self._cache: dict[str, tuple[float, dict[str, Listed]]] = {}
        self._contents: dict[tuple[str, str], tuple[Listed, bytes]] = {}
        self._lock = threading.Lock()

    def of(self, url: str) -> dict[str, Listed]:
        """Return the objects below ``url`` by name; the previous listing if the store does not answer."""
        with self._lock:
            read_at, listing = self._cache.get(url, (float("-inf"), {}))
            if time.monotonic() - read_at > _FRESH_SECONDS:
                with contextlib.suppress(OSError):
                    listing = {item.name: item for item in objects(url).list_objects()}
                self._cache[url] = (time.monotonic(), listing)
            return listing

    def content(self, url: str, item: Listed) -> bytes:
        """Return a small object's content; nothing if the store does not answer."""
        with self._lock:
            seen, content = self._contents.get((url, item.name), (None, b""))
            if seen != item:
                with contextlib.suppress(OSError):
                    content = objects(url).get(item.name)
                    self._contents[url, item.name] = item, content
            return content


_LISTINGS = _Listings()
