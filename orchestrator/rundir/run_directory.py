"""A run directory in a folder that all who have to do with the run can see."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.durable_files import write_durably
from orchestrator.errors import UsageError


@dataclass(frozen=True)
class RunDirectory:
    """``<runs>/<name>/``. Names cannot leave the folder of runs.

    What is read and written goes through ``root``, a folder; whoever writes a file there that others are to see
    publishes it, and whoever reads one that others may have written fetches it. Here both are nothing: all see the
    folder. In object storage (`orchestrator.rundir.object_store_run`) ``root`` is this machine's own copy.
    """

    root: Path

    @property
    def name(self) -> str:
        return self.root.name

    @property
    def where(self) -> str:
        """Its path or URL, for people and for processes that are to open it."""
        return str(self.root)

    @property
    def url(self) -> str:
        """Its URL in object storage; empty for a folder."""
        return ""

    @property
    def runs(self) -> Path | str:
        """The folder, or URL, that it is a run of."""
        return self.root.parent

    def within(self, name: str) -> RunDirectory:
        """A run directory inside this one."""
        return RunDirectory(self.root / name)

    @property
    def above(self) -> RunDirectory:
        """The run directory that this one is inside of, if it is."""
        return RunDirectory(self.root.parent)

    @property
    def journal(self) -> Path | str:
        """Where the journal is, as `orchestrator.journal` takes it."""
        return self.root / "journal.jsonl"

    @property
    def spec(self) -> Path:
        return self.root / "spec.yaml"

    @property
    def diff(self) -> Path:
        """What differed from the commit when the sweep was launched; absent where nothing did."""
        return self.root / "uncommitted.diff"

    @property
    def report(self) -> Path:
        """The page that `sweep report` writes unless told otherwise."""
        return self.root / "report.html"

    @property
    def ray(self) -> Path:
        return self.root / ".ray"

    @property
    def requests(self) -> Path:
        """Where another process leaves what it asks of the driver; no part of the sweep's state."""
        return self.root / "requests"

    def stop_request(self, trial: int | None = None) -> Path:
        """The file that asks for a clean stop of the sweep, or for the end of one trial."""
        return self.requests / ("stop" if trial is None else f"stop-{trial}")

    def promote_request(self, trial: int) -> Path:
        """The file that asks for a trial that was set aside to go on."""
        return self.requests / f"promote-{trial}"

    def trial(self, number: int) -> Path:
        return self.root / "trials" / f"{number:04d}"

    def resolve(self, relative: str) -> Path:
        """A path that the journal names, made absolute. Raises UsageError where it would leave the run directory."""
        path = (self.root / relative).resolve()
        if not path.is_relative_to(self.root.resolve()):
            raise UsageError(f"the journal names {relative!r}, which is outside {self.root}")
        return path

    def outside(self, roots: Iterable[str]) -> list[str]:
        """Of folders to import from, those that do not lie in the run directory: nothing there is code."""
        return [root for root in roots if not Path(root).resolve().is_relative_to(self.root.resolve())]

    def exists(self) -> bool:
        """Whether a sweep was begun here: its journal has something in it."""
        journal = self.root / "journal.jsonl"
        return journal.exists() and journal.stat().st_size > 0

    @property
    def began(self) -> float:
        """When its journal was made, or in a folder last changed, in Unix seconds."""
        return (self.root / "journal.jsonl").stat().st_ctime

    def write(self, path: Path, content: bytes) -> None:
        """Write one of its files for all to see. Raises OSError."""
        write_durably(path, content)
        self.publish(path)

    def publish(self, path: Path) -> None:
        """Let others see the file, or what is in the folder, as it is now. Raises OSError."""

    def fetch(self, relative: str) -> Path:
        """The file, as others have published it; there or not. Raises as `resolve`; OSError."""
        return self.resolve(relative)

    def fetch_all(self, folder: str) -> None:
        """As `fetch`, of all that is in a folder."""

    def locate(self, relative: str) -> str | None:
        """The file's path or URL, for people; None where it is known to be gone. Raises as `resolve`."""
        path = self.resolve(relative)
        return str(path) if path.exists() else None

    def size(self, relative: str) -> int | None:
        """Bytes of a file; None where it is not there. Raises as `resolve`; OSError."""
        try:
            return self.resolve(relative).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def remove(self, relative: str) -> None:
        """Remove a file, if it is there. Raises as `resolve`; OSError."""
        self.resolve(relative).unlink(missing_ok=True)

    def checkpoints(self) -> Iterator[str]:
        """The checkpoints that are there, known or not, as the journal would name them."""
        for path in self.root.glob("trials/*/checkpoints/*epoch=*"):
            yield path.relative_to(self.root).as_posix()

    def changed(self, path: Path) -> int:
        """A number that is another one each time that the file was changed; 0 where there is none."""
        try:
            return path.stat().st_mtime_ns
        except OSError:
            return 0

    def probe(self, wanted: int) -> None:
        """See whether ``wanted`` bytes could be written now. Raises OSError where they cannot."""
        probe = self.root / ".probe"
        try:
            with probe.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, wanted)
                file.write(b"x")
                os.fsync(file.fileno())
        finally:
            with contextlib.suppress(OSError):
                probe.unlink()

    def ask(self, request: Path) -> None:
        """Leave a request for the driver."""
        request.parent.mkdir(mode=0o700, exist_ok=True)
        request.touch()

    def asked(self) -> set[str]:
        """The names of the requests that are there. Raises OSError."""
        try:
            return {path.name for path in self.requests.iterdir()}
        except FileNotFoundError:
            return set()

    def answer(self, request: Path) -> None:
        """It has been done, or cannot be: whoever asked sees that it is gone."""
        request.unlink(missing_ok=True)

    def forget_requests(self) -> None:
        """Those of an earlier process are nobody's any more."""
        for name in self.asked():
            self.answer(self.requests / name)
        with contextlib.suppress(OSError):
            self.requests.rmdir()
