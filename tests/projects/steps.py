"""What is done with each project: launch, kill, resume, confirm, test, export, load."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.errors import JournalError
from orchestrator.journal import Event, read
from tests.projects.catalogue import Project

NAME = "project"
PATIENCE = 900.0
STEPS = ("launch", "resume", "confirm", "test", "export", "load")
MOST_LINES = 5


@dataclass
class Row:
    """What came of a project.

    Attributes:
        name: the project's.
        version: of its package or source.
        lines: of its sweep file; 0 for another tool's file, which is imported as it is.
        steps: step → ``yes``, or why not.
        seconds: that all steps took.
    """

    name: str
    version: str = ""
    lines: int = 0
    steps: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def launches(self) -> bool:
        """Whether it is launched unmodified by a sweep file of at most five lines."""
        return self.steps.get("launch") == "yes" and self.lines <= MOST_LINES


class Sweep:
    """The commands on the sweep of one project."""

    def __init__(self, python: Path, folder: Path) -> None:
        self._python, self._folder = str(python), folder
        self._environment = {**os.environ, "SWEEP_RUNS": "runs", "NO_COLOR": "1", "COLUMNS": "200"}
        self._environment.pop("SWEEP_NO_PREFLIGHT", None)

    @property
    def journal(self) -> Path:
        """The sweep's journal."""
        return self._folder / "runs" / NAME / "journal.jsonl"

    def events(self) -> list[Event]:
        """Return what the journal holds by now."""
        with contextlib.suppress(JournalError, OSError):
            return list(read(self.journal))
        return []

    def run(self, *words: str) -> str:
        """Run a command; return ``yes``, or the error that it printed."""
        log = self._folder / f"{words[0]}.log"
        with log.open("w") as output:
            command = [self._python, "-m", "orchestrator", *words]
            try:
                done = subprocess.run(
                    command, cwd=self._folder, stdout=output, stderr=output, env=self._environment, check=False,
                    timeout=PATIENCE,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                return f"no end within {PATIENCE:.0f} s"
        return "yes" if done.returncode == 0 else _reason(log)

    def killed(self, *words: str) -> str:
        """Start a command and kill it after the first trial's first report; return ``yes``, or the error.

        A sweep that ends before that is no error.
        """
        log = self._folder / "launch.log"
        with log.open("w") as output:
            command = [self._python, "-m", "orchestrator", *words]
            driver = subprocess.Popen(
                command, cwd=self._folder, stdout=output, stderr=output, env=self._environment, start_new_session=True
            )
            ends = time.monotonic() + PATIENCE
            while driver.poll() is None and time.monotonic() < ends:
                time.sleep(0.2)
                if any(event.type == "segment.reported" for event in self.events()):
                    os.killpg(driver.pid, signal.SIGKILL)
                    driver.wait()
                    return "yes"
            with contextlib.suppress(ProcessLookupError):
                os.killpg(driver.pid, signal.SIGKILL)
            driver.wait()
        return "yes" if driver.returncode == 0 else _reason(log)

    def made(self, foreign: str) -> Path:
        """Translate another tool's file; return the sweep file, beside it."""
        command = [self._python, "-m", "orchestrator", "import", foreign]
        done = subprocess.run(
            command, cwd=self._folder, capture_output=True, text=True, check=True, env=self._environment
        )
        path = self._folder / Path(foreign).parent / "sweep.yaml"
        path.write_text(done.stdout)
        return path


def _reason(log: Path) -> str:
    """Return the first error in what a command printed, or its last line."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error:")]
    failed = [line for line in lines if " failed" in line]
    return (errors or failed or lines or ["it printed nothing"])[0][:300]


def tried(project: Project, python: Path, folder: Path, steps: Sequence[str] = STEPS) -> Row:
    """Do the steps with a project; one that fails leaves out those that need it."""
    began, sweep, row = time.monotonic(), Sweep(python, folder), Row(project.name)
    file = sweep.made(project.imported) if project.imported else folder / "sweep.yaml"
    if not project.imported:
        row.lines = sum(1 for line in file.read_text().splitlines() if line.strip() and not line.startswith("#"))
    shortened = [word for each in ("budget.trials=2", *project.short) for word in ("--set", each)]
    for name, outcome in _steps(sweep, str(file.relative_to(folder)), shortened, folder):
        row.steps[name] = outcome
        if name == steps[-1] or (outcome != "yes" and name in ("launch", "resume", "export")):
            break
    row.seconds = time.monotonic() - began
    return row


def _steps(sweep: Sweep, file: str, shortened: Sequence[str], folder: Path) -> Iterator[tuple[str, str]]:
    yield "launch", sweep.killed("launch", file, "--name", NAME, "--local", *shortened)
    yield "resume", _resumed(sweep)
    yield "confirm", sweep.run("confirm", NAME, "--local", "--top", "1", "--trials", "3")
    yield "test", sweep.run("test", NAME, "--unconfirmed")
    yield "export", sweep.run("export", NAME, "--to", "bundle")
    manifest = json.loads((folder / "bundle" / "MANIFEST.json").read_text())
    loads = manifest["load_from_checkpoint"]
    own = " with lightning.ckpt" if manifest.get("holds_code") else ""
    yield "load", f"yes{own}" if loads is True else str(loads)


def _resumed(sweep: Sweep) -> str:
    """Resume after the kill, and check that the sweep completes and repeats nothing that was reported.

    A trial that has no checkpoint starts again.
    """
    before = _places(sweep.events())
    outcome = sweep.run("resume", NAME, "--local")
    events = sweep.events()
    after = _places(events)
    if outcome != "yes":
        return outcome
    if after[: len(before)] != before:
        return "a report that was in the journal is gone"
    anew = {(event["trial"], event["segment"]) for event in events
            if event.type == "segment.started" and event["origin"] is None}  # fmt: skip
    seen: set[tuple[int, float]] = set()
    for trial, segment, progress in after:
        if (trial, progress) in seen and (trial, segment) not in anew:
            return "a report was repeated"
        seen.add((trial, progress))
    return "yes"


def _places(events: Sequence[Event]) -> list[tuple[int, int, float]]:
    return [
        (event["trial"], event["segment"], event["progress"]) for event in events if event.type == "segment.reported"
    ]
