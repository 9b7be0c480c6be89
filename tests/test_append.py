"""A record and its number stay together, whatever interrupts the process that appends it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from orchestrator.durable_files import write_durably
from orchestrator.engine.controller import SweepController
from orchestrator.engine.driver_host import DriverHost
from orchestrator.engine.stop_requests import StopRequests
from orchestrator.journal import Event, Journal, read
from orchestrator.journal import file_store as files
from orchestrator.results.verify import replay
from orchestrator.rundir import RunDirectory, run_at
from orchestrator.spec import SweepSpec, from_mapping
from orchestrator.state import SweepState
from orchestrator.training import Checkpoint, Job, Report
from tests.chaos.boundaries import in_memory
from tests.support.interrupts import interrupted_at


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "journal.jsonl"


def test_an_append_interrupted_at_any_bytecode_is_in_the_journal_and_told_or_neither(path: Path) -> None:
    journal, told = Journal.create(path), list[Event]()
    journal.accept = told.append
    numbers = count(1)
    for number in numbers:
        raised = interrupted_at(number, lambda: journal.append("sweep.paused", reason="interrupted"))
        journal.wait()
        assert [event.seq for event in told] == list(range(len(told)))
        if number % 10 == 0 or not raised:
            assert list(read(path)) == told, number
        if not raised:
            break
    assert number > 50, "few bytecodes: the append was not traced"
    journal.append("sweep.paused", reason="last")
    journal.close()
    assert list(read(path)) == told


def test_a_publication_interrupted_at_any_bytecode_leaves_the_old_file_or_the_new_one() -> None:
    """Whole, and nothing beside it."""
    with in_memory() as folder:
        path, left = folder / "checkpoint", set()
        for number in count(1):
            path.write_bytes(b"old")
            raised = interrupted_at(number, lambda: write_durably(path, b"new"))
            left.add(path.read_bytes())
            assert [item.name for item in folder.iterdir()] == ["checkpoint"], number
            if not raised:
                break
    assert path.name == "checkpoint"
    assert left == {b"old", b"new"}
    assert number > 200, "few bytecodes: the publication was not traced"


def test_a_removal_interrupted_at_any_bytecode_removes_one_file_or_none() -> None:
    name, kept = "trials/0000/checkpoints/epoch=0001-segment=0.ckpt", "epoch=0002-segment=0.ckpt"
    with in_memory() as folder:
        run = run_at("noop", folder)
        path = run.root / name
        path.parent.mkdir(parents=True)
        path.with_name(kept).touch()
        left, descriptors = set(), len(os.listdir("/proc/self/fd"))  # noqa: PTH208
        for number in count(1):
            path.touch()
            raised = interrupted_at(number, lambda: run.remove(name))
            left.add(tuple(sorted(item.name for item in path.parent.iterdir())))
            if not raised:
                break
        leaked = len(os.listdir("/proc/self/fd")) - descriptors  # noqa: PTH208
    assert left == {(path.name, kept), (kept,)}
    assert number > 100, "few bytecodes: the removal was not traced"
    assert leaked < number / 10, "an interruption may leave a descriptor only between its opening and the next step"


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
@pytest.mark.parametrize("sync", [True, False])
def test_an_error_inside_the_write_leaves_neither_line_nor_count(
    error: type[BaseException], sync: bool, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, told = Journal.create(path), list[Event]()
    journal.accept = told.append
    journal.append("sweep.paused", reason="first")
    journal.append("sweep.paused", sync=False, reason="not durable yet")

    def written_and_then(descriptor: int, data: Any) -> None:
        os.write(descriptor, data)
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_all", written_and_then)
        with pytest.raises(error):
            journal.append("sweep.paused", sync=sync, reason="lost")
    journal.append("sweep.paused", reason="second")
    journal.close()
    assert [event["reason"] for event in read(path)] == ["first", "not durable yet", "second"]
    assert list(read(path)) == told


def test_an_error_after_the_sync_leaves_neither_line_nor_count(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal, told = Journal.create(path), list[Event]()
    journal.accept = told.append

    def short_of_memory(self: Any, lines: bytes) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(files._Copy, "add", short_of_memory)
        with pytest.raises(MemoryError):
            journal.append("sweep.paused", reason="lost")
    journal.append("sweep.paused", reason="kept")
    journal.close()
    assert [event["reason"] for event in read(path)] == [event["reason"] for event in told] == ["kept"]


SLOW_DISK = """
import os, signal, sys, time
from pathlib import Path
from orchestrator.journal import Journal
real = os.fdatasync
os.fdatasync = lambda descriptor: (print("syncing", flush=True), time.sleep(0.3), real(descriptor))
signal.signal(signal.SIGINT, signal.default_int_handler)
journal = Journal.create(Path(sys.argv[1]))
told = []
journal.accept = told.append
try:
    while True:
        journal.append("segment.reported", epoch=1)
except KeyboardInterrupt:
    journal.append("sweep.paused", reason="SIGINT")
    journal.close()
print(len(told), flush=True)
"""


def test_ctrl_c_during_an_fsync_leaves_a_journal_that_can_be_read(path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", SLOW_DISK, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "syncing\n"
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    events = list(read(path))
    assert [event.type for event in events] == ["segment.reported", "sweep.paused"]
    assert output.split()[-1] == "2", "the state has the record, too"


def test_a_forked_child_cannot_append(path: Path) -> None:
    journal = Journal.create(path)
    journal.append("sweep.paused", reason="parent")
    child = os.fork()
    if not child:
        try:
            journal.append("sweep.paused", reason="child")
        except RuntimeError:
            os._exit(7)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    journal.append("sweep.paused", reason="parent still")
    journal.close()
    assert [event["reason"] for event in read(path)] == ["parent", "parent still"]


# A driver that is interrupted while it records, publishes and removes


EPOCHS = 4


def spec() -> SweepSpec:
    return from_mapping(
        {
            "name": "noop",
            "objective": {"metric": "val_loss", "mode": "min"},
            "model": "nowhere.Noop",  # no trial trains, so nothing is imported
            "space": {"model.learning_rate": {"log_uniform": [1e-4, 1e-1]}},
            "trainer": {"max_epochs": EPOCHS},
            "searcher": "random",
            "scheduler": {"name": "asha", "grace_epochs": 1, "reduction_factor": 2},
            "budget": {"trials": 3},
            "checkpoints": {"keep_top": 1},
        }
    )


class Driver:
    """Runs the sweep without training: each step publishes a checkpoint and reports it."""

    def __init__(self, run: RunDirectory, journal: Journal) -> None:
        self.run, self.seen = run, list[int]()
        self.controller = SweepController(spec(), run, journal, DriverHost(run, StopRequests()), self._observe)
        self.controller.start("noop", slots=1)
        self._job: Job | None = None
        self._epoch = 0

    def _observe(self, state: SweepState, event: Event) -> None:
        self.seen.append(event.seq)

    @classmethod
    def launch(cls, run: RunDirectory) -> Driver:
        journal = Journal.create(run.journal)
        journal.append("sweep.created", format=1, spec=spec().model_dump(mode="json"), seed=0, versions={}, roots=[])
        return cls(run, journal)

    @classmethod
    def resume(cls, run: RunDirectory) -> Driver:
        return cls(run, Journal.open(run.journal))

    def step(self) -> bool:
        """Do the next epoch; return False at the end of the sweep."""
        if self._job is None:
            job = self.controller.next_job()
            if not isinstance(job, Job):
                return False
            self._job, self._epoch = job, job.checkpoint["epoch"] if job.checkpoint else 0
        job = self._job
        if self._epoch == EPOCHS:
            self.controller.on_end(job.trial, job.segment)
            self._job = None
            return True
        self._epoch += 1
        name = f"trials/{job.trial:04d}/checkpoints/epoch={self._epoch:04d}-segment={job.segment}.ckpt"
        size, sha256 = write_durably(self.run.root / name, f"{name} ".encode() * 20)
        loss = (1 + job.trial) / self._epoch
        report = Report(self._epoch, {"val_loss": loss}, Checkpoint(name, size, sha256, self._epoch))
        if not self.controller.on_report(job.trial, job.segment, report):
            self._job = None
        return True

    def run_to_end(self) -> None:
        while self.step():
            pass
        self.controller.close()


def story(state: SweepState) -> Any:
    """All that is known of the trials, times apart."""
    return [
        (trial.number, trial.status, trial.segments, sorted(trial.reports), sorted(trial.checkpoints))
        for trial in state.trials.values()
    ]


def violations(run: RunDirectory, driver: Driver) -> Iterator[str]:
    """What is wrong after a driver was interrupted and has closed the journal."""
    events = list(read(run.journal))
    state = SweepState(events)
    if story(state) != story(driver.controller.state):
        yield f"the journal has {story(state)}, the driver {story(driver.controller.state)}"
    for trial in state.trials.values():
        for checkpoint in trial.checkpoints.values():
            if run.size(checkpoint.path) != checkpoint.size:
                yield f"{checkpoint.path} is on record and not on the disk"
    yield from replay(spec(), events)


@pytest.mark.timeout(3600)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of files that an interrupt left open
@pytest.mark.parametrize("stride", [373, pytest.param(1, marks=pytest.mark.slow)])
def test_a_driver_interrupted_at_any_bytecode_loses_nothing(stride: int) -> None:
    """Published and removed checkpoints, the journal and the state agree, and the sweep can be resumed."""
    with in_memory() as folder:
        places, ends = _interrupt(folder, stride)
    assert places > 5000 / stride, "few bytecodes: the step was not traced"
    assert len(ends) == 1, "interrupted or not, it ends as the same sweep"


def _interrupt(folder: Path, stride: int) -> tuple[int, set[str]]:
    """Interrupt each so many bytecodes of a step; return how many were, and how the sweeps end."""
    ends = set()
    for place, number in enumerate(count(1 + stride // 2, stride)):
        run = run_at("noop", folder / str(place))
        driver = Driver.launch(run)
        for _ in range(EPOCHS - 1):
            driver.step()  # the next epoch of the first trial is its last, and replaces a checkpoint
        raised = interrupted_at(number, driver.step)
        driver.controller.stop_reason = "SIGINT"
        driver.controller.close()
        assert not list(violations(run, driver)), number
        if place % 10 == 0 or not raised:
            resumed = Driver.resume(run)
            resumed.run_to_end()
            ends.add(
                str([(n, t.status, sorted(t.reports)) for n, t in sorted(resumed.controller.state.trials.items())])
            )
            assert not list(violations(run, resumed)), number
        shutil.rmtree(run.root)
        if not raised:
            return place, ends
    raise AssertionError


def test_an_interrupted_driver_passes_the_record_on_when_it_closes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Observers learn of a record whose append was interrupted after it was written."""
    driver = Driver.launch(run_at("noop", tmp_path))
    real = Journal.append

    def interrupted(self: Journal, type: str, **fields: Any) -> Event:
        event = real(self, type, **fields)
        if type == "segment.reported":
            raise KeyboardInterrupt
        return event

    monkeypatch.setattr(Journal, "append", interrupted)
    with pytest.raises(KeyboardInterrupt):
        driver.step()
    assert driver.controller.next_job() == "none_left", "it decides nothing more"
    driver.controller.close()
    assert driver.controller.state.status == "paused"
    assert driver.seen == list(range(1, 1 + len(driver.seen)))
    assert [event.seq for event in read(driver.run.journal)][-1] == driver.seen[-1]


def test_no_checkpoint_is_deleted_without_its_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver is interrupted when it has chosen what to remove, and closes the journal."""
    driver = Driver.launch(run_at("noop", tmp_path))
    real = Journal.append

    def interrupted(self: Journal, type: str, **fields: Any) -> Event:
        if type == "checkpoints.removed":
            raise KeyboardInterrupt
        return real(self, type, **fields)

    monkeypatch.setattr(Journal, "append", interrupted)
    with pytest.raises(KeyboardInterrupt):
        driver.run_to_end()
    driver.controller.close()
    assert not list(violations(driver.run, driver))
