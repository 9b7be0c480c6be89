"""The layout of a run directory: the one place that knows every file name in it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import UsageError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


def runs_root(runs: str | Path | None = None) -> Path:
    """Where run directories live: ``runs`` if given, else ``$SWEEP_RUNS``, else ``./runs``; absolute."""
    return Path(runs or os.environ.get("SWEEP_RUNS") or "runs").expanduser().absolute()


@dataclass(frozen=True)
class RunDirectory:
    """``<runs>/<name>/``. Names cannot leave the folder of runs."""

    root: Path

    @classmethod
    def at(cls, name: str, runs: str | Path | None = None) -> RunDirectory:
        """The run directory of that name. Raises UsageError where the name could leave the folder of runs."""
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"{name!r} cannot name a run",
                hint="a name is 1 to 100 letters, digits, dots, dashes and underscores, not starting with . or -",
            )
        return cls(runs_root(runs) / name)

    @property
    def name(self) -> str:
        return self.root.name

    @property
    def journal(self) -> Path:
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
        return self.journal.exists() and self.journal.stat().st_size > 0


def list_runs(runs: str | Path | None = None) -> list[RunDirectory]:
    """Every run under the folder of runs, oldest first."""
    found = [RunDirectory(path.parent) for path in runs_root(runs).glob("*/journal.jsonl")]
    return sorted((run for run in found if run.exists()), key=lambda run: (run.journal.stat().st_ctime, run.name))
