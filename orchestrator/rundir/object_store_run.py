"""A run directory in object storage. What a process reads or writes of it lies in a folder of its machine, too."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.object_storage import Found, objects
from orchestrator.rundir.run_directory import RunDirectory

_FRESH_SECONDS = 1.0
_FIRST_RECORD = "journal/records/000000000000.jsonl"


@dataclass(frozen=True)
class RunInObjects(RunDirectory):
    """``s3://bucket/runs/<name>``. ``root`` is a folder in the user's cache, which may be deleted when nothing runs.

    The journal is objects below ``journal/``; every other file has the name that it has in a folder, but for the signs
    of life, which lie in one place, so that one listing tells of all.
    """

    address: str = ""

    @classmethod
    def of(cls, where: str) -> RunInObjects:
        url = where.rstrip("/")
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sweep-orchestrator"
        folder, _, name = url.rpartition("/")
        return cls(cache / "runs" / hashlib.sha256(folder.encode()).hexdigest()[:16] / name, url)

    @property
    def where(self) -> str:
        return self.address

    @property
    def url(self) -> str:
        return self.address

    @property
    def runs(self) -> str:
        return self.address.rpartition("/")[0]

    def within(self, name: str) -> RunDirectory:
        return RunInObjects(self.root / name, f"{self.address}/{name}")

    @property
    def above(self) -> RunDirectory:
        return RunInObjects(self.root.parent, self.runs)

    @property
    def journal(self) -> str:
        return f"{self.address}/journal"

    def exists(self) -> bool:
        return objects(self.address).size(_FIRST_RECORD) is not None

    @property
    def began(self) -> float:
        found = objects(self.address).look(_FIRST_RECORD)
        return found.changed.timestamp() if found else 0.0

    def publish(self, path: Path) -> None:
        files = sorted(found for found in path.rglob("*") if found.is_file()) if path.is_dir() else [path]
        for file in files:
            objects(self.address).put(self._name(file), file.read_bytes())

    def fetch(self, relative: str) -> Path:
        """One that grows is fetched again where there is more of it; what is longer here is being written here."""
        path = self.resolve(relative)
        there = objects(self.address).size(relative)
        if there is not None and not (path.exists() and path.stat().st_size >= there):
            objects(self.address).fetch(relative, path)
        return path

    def fetch_all(self, folder: str) -> None:
        for name in objects(self.address).names(folder):
            self.fetch(name)

    def locate(self, relative: str) -> str | None:
        """Nothing is asked: what the journal has on record as kept is there."""
        self.resolve(relative)
        return f"{self.address}/{relative}"

    def size(self, relative: str) -> int | None:
        self.resolve(relative)
        return objects(self.address).size(relative)

    def remove(self, relative: str) -> None:
        super().remove(relative)
        objects(self.address).remove([relative])

    def checkpoints(self) -> Iterator[str]:
        for name in objects(self.address).names("trials"):
            if "/checkpoints/" in name:
                yield name

    def changed(self, path: Path) -> int:
        found = _LISTINGS.of(f"{self.address}/progress").get(path.parent.name)
        return int(found.changed.timestamp() * 1000) if found else 0

    def probe(self, wanted: int) -> None:
        """Object storage is never full: what can be written at all can be written."""
        objects(self.address).put("probe", b"")

    def ask(self, request: Path) -> None:
        objects(self.address).put(self._name(request), b"")

    def asked(self) -> set[str]:
        return {name.rpartition("/")[2] for name in objects(self.address).names("requests")}

    def answer(self, request: Path) -> None:
        objects(self.address).remove([self._name(request)])

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


class _Listings:
    """Listings as of a second ago at most: who asks for one object after another gets them from one request."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, dict[str, Found]]] = {}
        self._lock = threading.Lock()

    def of(self, url: str) -> dict[str, Found]:
        """What lies right below, by name; as before where the store does not answer."""
        with self._lock:
            since, known = self._known.get(url, (float("-inf"), {}))
            if time.monotonic() - since > _FRESH_SECONDS:
                with contextlib.suppress(OSError):
                    known = {found.name: found for found in objects(url).find()}
                self._known[url] = (time.monotonic(), known)
            return known


_LISTINGS = _Listings()
