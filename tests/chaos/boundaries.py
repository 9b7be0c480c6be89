"""Every write, rename and fsync of a sweep, cut there: what the disk may hold then, and what a resume makes of it.

    python -m tests.chaos.boundaries --resumes 200
    python -m tests.chaos.boundaries --every 10 --resumes 10

A sweep of 20 trials runs in a process of its own, is stopped in the middle and goes on to its end, with every file
operation recorded (`tests.chaos.operations`). After each operation, each state of the disk that a crash could leave is
built and looked at: the journal opens and replays; no record that was acknowledged before is missing; every checkpoint
that the journal holds to be there is there whole. From some of the states the sweep is resumed to its end, and its
ranking compared with that of a sweep that was never interrupted. Prints figures; exit code 1 on any violation.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import pickle
import random
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator import sweep
from orchestrator.errors import SweepError
from orchestrator.journal import Event, Journal, lease
from orchestrator.results.run_state import read_state
from orchestrator.results.verify import check
from orchestrator.rundir import RunDirectory, run_at
from orchestrator.spec import SweepSpec, from_mapping
from orchestrator.state import ENDED, SweepState
from tests.chaos.operations import History, Recorder

NAME = "boundary"
_ROOT = Path(__file__).resolve().parents[2]
_STOP_AFTER = 12  # reports


def spec(trials: int = 20) -> SweepSpec:
    """Random search and ASHA, so that trials are stopped as well as finished, and checkpoints are let go of."""
    return from_mapping(
        {
            "name": NAME,
            "seed": 5,
            "objective": {"metric": "val_loss", "mode": "min"},
            "model": "tests.support.tiny.Tiny",
            "data": "tests.support.tiny.TinyData",
            "trainer": {"max_epochs": 2},
            "space": {"model.learning_rate": {"log_uniform": [1e-3, 0.5]}},
            "searcher": "random",
            "scheduler": {"name": "asha", "grace_epochs": 1, "reduction_factor": 2},
            "budget": {"trials": trials},
            "checkpoints": {"keep_top": 3},
        }
    )


Ranking = list[tuple[int, str, float]]


def ranking(state: SweepState) -> Ranking:
    best = {trial.number: state.objective.best(trial) for trial in state.ranking()}
    return [(number, state.trials[number].status, found.value if found else 0.0) for number, found in best.items()]


@dataclass
class Recording:
    """A sweep's file operations, and the ranking of the same sweep never interrupted."""

    history: History
    reference: Ranking
    disk: Path  # what the recorded sweep left


@dataclass
class Figures:
    """What was looked at."""

    points: int = 0
    states: int = 0
    resumes: int = 0
    violations: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.points} boundaries, {self.states} states of the disk, {self.resumes} resumed to the end: "
            f"{len(self.violations)} violations"
        )


def record(folder: Path) -> Recording:
    """Run the sweep in a process of its own, which is gone then, as a crash would leave it."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.chaos.boundaries", "--record", str(folder)]
    subprocess.run(command, cwd=_ROOT, check=True, stdout=subprocess.DEVNULL)
    operations, reference = pickle.loads((folder / "recorded").read_bytes())
    return Recording(History(operations), reference, folder / "disk")


def _record(folder: Path) -> None:
    reference = ranking(sweep.launch(spec(), folder / "reference", local=True).state)
    disk = folder / "disk"
    disk.mkdir()
    recorder = Recorder(disk)
    _note_acknowledgements(recorder)
    with recorder.recording():
        sweep.launch(spec(), disk / "runs", local=True, observer=_Stopper(disk / "runs"))
        sweep.resume(NAME, disk / "runs", local=True)
    (folder / "recorded").write_bytes(pickle.dumps((recorder.operations, reference)))


class _Stopper:
    """Asks for a stop as `sweep stop` does, once so many epochs were reported."""

    def __init__(self, runs: Path) -> None:
        self._run, self._reports = run_at(NAME, runs), 0

    def __call__(self, state: SweepState, event: Event) -> None:
        self._reports += event.type == "segment.reported"
        if self._reports == _STOP_AFTER and event.type == "segment.reported":
            self._run.requests.mkdir()
            self._run.stop_request().touch()
            time.sleep(0.6)  # until the next look


def _note_acknowledgements(recorder: Recorder) -> None:
    append = Journal.append

    def noted(self: Journal, type: str, *, sync: bool = True, **fields: Any) -> Event:
        event = append(self, type, sync=sync, **fields)
        if sync:
            recorder.note("acknowledged", event.seq)
        return event

    Journal.append = noted  # type: ignore[method-assign]


def explore(recording: Recording, work: Path, *, every: int = 1, resumes: int = 0, seed: int = 0) -> Figures:
    """Look at the states after each ``every``-th operation (the last included), and resume from ``resumes`` of them.

    They are built in ``work``, best in memory: on a disk most of the time goes to fsync.
    """
    figures, generator = Figures(), random.Random(seed)
    lease.SILENT_SECONDS = 0.0  # a claim that a crash has torn is waited for, which is tested elsewhere
    points = list(range(len(recording.history.steps), -1, -every))[::-1]
    chosen = set(generator.sample(points, min(resumes, len(points))))
    for point in points:
        figures.points += 1
        states = list(recording.history.states(point))
        to_resume = generator.randrange(len(states)) if point in chosen else -1
        for number, tree in enumerate(states):
            figures.states += 1
            root = work / f"{point}-{number}"
            root.mkdir()
            tree.write_to(root)
            found = list(_violations(root, _acknowledged(recording.history, point)))
            if number == to_resume and not found:
                figures.resumes += 1
                found = list(_violations_of_resume(root, recording.reference))
            figures.violations += [f"after operation {point}, state {number}: {sentence}" for sentence in found]
            shutil.rmtree(root)
    return figures


@contextlib.contextmanager
def in_memory() -> Iterator[Path]:
    """A folder of one's own in memory, or wherever temporary files go where there is none."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="boundaries-", dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


def _acknowledged(history: History, point: int) -> int:
    """The last record that a caller was told of before that operation; -1 for none."""
    return max((mark[1] for after, mark in history.marks if after <= point), default=-1)


def _violations(root: Path, acknowledged: int) -> Iterator[str]:
    run = run_at(NAME, root / "runs")
    if not _begun(run):
        if acknowledged >= 0:
            yield f"record {acknowledged} was acknowledged, and there is no sweep"
        return
    before = Path(run.journal).read_bytes()
    try:
        state = read_state(run)
        yield from check(run).violations
        if Path(run.journal).read_bytes() != before:
            yield "reading has changed the journal"
        Journal.open(run.journal).close()
        after = read_state(run)
    except Exception as error:
        yield f"{type(error).__name__}: {error}"
        return
    if state.seq < acknowledged:
        yield f"record {acknowledged} was acknowledged, and the last is {state.seq}"
    if after.seq != state.seq or ranking(after) != ranking(state):
        yield "opening has changed what the journal says"


def _begun(run: RunDirectory) -> bool:
    """Whether the journal holds a whole record: before that there is no sweep, and it is launched anew."""
    return run.exists() and b"\n" in Path(run.journal).read_bytes()


def _violations_of_resume(root: Path, reference: Ranking) -> Iterator[str]:
    run = run_at(NAME, root / "runs")
    ended: dict[int, str] = {}
    if _begun(run):
        ended = {number: trial.status for number, trial in read_state(run).trials.items() if trial.status in ENDED}
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            outcome = _to_the_end(run, root)
        yield from check(run).violations
    except SweepError as error:
        yield f"cannot be resumed: {error}"
        return
    if outcome.state.status != "completed":
        yield f"resumed, it is {outcome.state.status} ({outcome.state.reason})"
    if ranking(outcome.state) != reference:
        yield "resumed, its ranking is another"
    if not run.spec.exists():
        yield "resumed, it has no spec.yaml"
    if any(outcome.state.trials[number].status != status for number, status in ended.items()):
        yield "resumed, a trial that had ended ended otherwise"


def _to_the_end(run: RunDirectory, root: Path) -> sweep.Outcome:
    if _begun(run):
        return sweep.resume(NAME, root / "runs", local=True)
    return sweep.launch(spec(), root / "runs", local=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="look after each so many operations")
    parser.add_argument("--resumes", type=int, default=200, help="states to resume from to the end")
    parser.add_argument("--seed", type=int, default=0, help="which of them")
    parser.add_argument("--record", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.record:
        _record(options.record)
        return 0
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="boundaries-") as folder, in_memory() as work:
        recording = record(Path(folder))
        figures = explore(recording, work, every=options.every, resumes=options.resumes, seed=options.seed)
    for violation in figures.violations[:20]:
        print(violation)
    print(f"{figures} in {time.monotonic() - started:.0f} s")
    return bool(figures.violations)


if __name__ == "__main__":
    sys.exit(main())
