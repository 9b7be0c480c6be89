"""A driver and its run, as one sees them from outside: the journal, the files, the processes in /proc."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from orchestrator.engine.process_reaper import members, program
from orchestrator.errors import SweepError
from orchestrator.journal import read
from orchestrator.results.trial_rows import rows
from orchestrator.results.verify import check
from orchestrator.rundir import RunDirectory
from orchestrator.state import SweepState
from tests.chaos.forked import ROOT, Forked

BOUND = 10.0  # seconds after a driver's end in which all that it started has to be gone
MARK = "KILLS_LIFE"
_ENDS = ("trial.finished", "trial.stopped", "trial.failed")


@dataclass
class Story:
    """A run's journal as it was last seen, and what has been found wrong with it since."""

    run: RunDirectory
    whole: bytes = b""
    ended: dict[int, tuple[str, float, float]] = field(default_factory=dict)
    lost: set[int] = field(default_factory=set)
    again: set[int] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)

    def look(self) -> None:
        """Compare it with what it was."""
        try:
            self._look()
        except SweepError as error:
            self.wrong.append(str(error))

    def _look(self) -> None:
        whole = whole_lines(Path(self.run.journal))
        if not whole.startswith(self.whole):
            self.wrong.append("records that were in the journal are gone or changed")
        self.whole = whole
        if not whole:
            return
        state, ends = SweepState(), set[int]()
        for event in read(self.run.journal):
            state.apply(event)
            if event.type == "segment.started" or event.type in _ENDS:
                self.again |= {event["trial"]} & ends
            if event.type in _ENDS:
                ends.add(event["trial"])
        now = {number: _result(state, number) for number in ends}
        self.lost |= {number for number, result in self.ended.items() if now.get(number) != result}
        self.ended = now

    def verify(self) -> None:
        """As ``sweep verify`` does; while nobody runs it."""
        self.look()
        if not self.whole:
            return
        try:
            self.wrong += check(self.run).violations
        except SweepError as error:
            self.wrong.append(str(error))


def whole_lines(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return b""
    return content[: content.rfind(b"\n") + 1]


def _result(state: SweepState, number: int) -> tuple[str, float, float]:
    best = state.objective.best(state.trials[number])
    return state.trials[number].status, best.progress if best else 0, best.value if best else 0.0


def outcome(run: RunDirectory) -> list[dict[str, Any]]:
    """The ranking, each trial with a hash of its best checkpoint's weights."""
    state = SweepState(read(run.journal))
    told = ("rank", "trial", "status", "params", "best", "epoch", "epochs")
    return [
        {**{name: row[name] for name in told}, "weights": row["checkpoint"] and weights(row["checkpoint"])}
        for row in rows(run, state)
    ]


def weights(checkpoint: str) -> str:
    import torch

    tensors = torch.load(checkpoint, weights_only=True)["state_dict"]
    return sha256(b"".join(name.encode() + tensors[name].numpy().tobytes() for name in sorted(tensors))).hexdigest()


def left_over(run: RunDirectory) -> list[str]:
    """Files of a completed run that nobody should have left: temporary ones, and checkpoints that are not on record."""
    state = SweepState(read(run.journal))
    known = {held.path for trial in state.trials.values() for held in trial.files}
    found = {path.relative_to(run.root).as_posix() for path in run.root.glob("trials/*/checkpoints/*")}
    return sorted(found - known) + ([] if run.spec.exists() else ["no spec.yaml"])


# A driver


class Life:
    """A driver from its start to its end. A ``fresh`` one imports all anew, as a person's does; else it is forked."""

    process: Forked | subprocess.Popen[bytes]

    def __init__(self, arguments: list[str], mark: str, log: Path, runs: Path, *, fresh: bool = False) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "SWEEP_"))}
        environment |= {MARK: mark, "SWEEP_RUNS": str(runs), "WANDB_MODE": "offline", "NO_COLOR": "1"}
        self.mark, self.log = mark, log
        self.folders: set[Path] = set()
        self.survived = 0  # kills of Ray's own processes
        self.began = time.monotonic()
        log.write_bytes(b"")
        if not fresh:
            self.process = Forked(arguments, env=environment, errors=log)
            return
        command = [sys.executable, "-m", "orchestrator", *arguments]
        with log.open("wb") as errors:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True
            )

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def find(self, victim: str) -> list[int]:
        """The processes of that kind, now."""
        if victim in ("local", "driver"):
            return [self.process.pid] if self.running else []
        return [number for folder in self._instances() for number in members(folder) if _is(number, victim)]

    def kill(self) -> None:
        self._instances()
        self.process.kill()
        self.process.wait()

    def left(self) -> list[str]:
        """What the driver has started and not ended: processes, folders."""
        numbers = {number for folder in self.folders for number in members(folder)} | set(marked(self.mark))
        return [f"process {number} ({program(number)})" for number in sorted(numbers)] + [
            str(folder) for folder in self.folders if folder.exists()
        ]

    def _instances(self) -> set[Path]:
        """The folders of the Ray instances that it has started, as far as they were seen."""
        for path in Path(f"/proc/{self.process.pid}/task").glob("*/children"):
            for child in _read(path).split():
                line = _read(Path(f"/proc/{child.decode()}/cmdline")).rstrip(b"\0").split(b"\0")
                if any(part.endswith(b"/reaper.py") for part in line):
                    self.folders.add(Path(line[-1].decode()))
        return self.folders


def _is(number: int, victim: str) -> bool:
    if victim == "worker":
        return _read(Path(f"/proc/{number}/cmdline")).startswith(b"ray::ImplicitFunc")
    return program(number) == victim


def marked(mark: str) -> Iterator[int]:
    """Processes with that mark in their environment."""
    for entry in Path("/proc").glob("[0-9]*"):
        if f"{MARK}={mark}".encode() in _read(entry / "environ").split(b"\0"):
            yield int(entry.name)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def seconds_until_gone(life: Life) -> float:
    """How long after this what the driver started is there. Raises TimeoutError after `BOUND`."""
    began = time.monotonic()
    while left := life.left():
        if time.monotonic() - began > BOUND:
            raise TimeoutError(f"{BOUND:g} s after the driver's end there are still {', '.join(left)}")
        time.sleep(0.1)
    return time.monotonic() - began
