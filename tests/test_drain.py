"""A sweep that is asked to stop after a report, at a time, or both; and a driver that outlives its terminal."""

from __future__ import annotations

import os
import pty
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Sweep
from orchestrator.cli.time_of_day import parsed_time
from orchestrator.engine import stop_requests
from orchestrator.engine.stop_requests import StopRequests
from orchestrator.errors import UsageError
from orchestrator.journal import holder
from orchestrator.results.run_state import find, has_begun, read_state
from orchestrator.results.verify import check
from orchestrator.rundir import RunDirectory, run_at
from orchestrator.rundir.stop_times import pending_stops
from orchestrator.spec import SweepSpec, to_yaml
from orchestrator.sweep import control, launch, resume
from tests.support.counted_steps import STEPS, steps
from tests.support.paths import ROOT
from tests.support.small_sweeps import spec

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning", "ignore:.*LeafSpec:FutureWarning")


@pytest.fixture(autouse=True)
def polled_each_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop_requests, "_POLL_SECONDS", -60.0)


def counted(log: Path, run: Path, request: str, trials: int = 1, **fields: Any) -> SweepSpec:
    """A sweep of 64 steps an epoch that makes a request at its step 10."""
    arguments = {"log": str(log), "run": str(run), "stop_at": (10,), "request": request, **fields}
    return spec(
        model={"class_path": "tests.support.counted_steps.CountedSteps", "init_args": arguments},
        data={"class_path": "tests.support.tiny.TinyData", "init_args": {"batch_size": 1}},
        trainer={"max_epochs": 2},
        searcher="random",
        scheduler="fifo",
        budget={"trials": trials},
    )


def test_a_sweep_that_drains_ends_at_its_report_and_loses_no_step(tmp_path: Path) -> None:
    log = tmp_path / "log"
    outcome = launch(counted(log, tmp_path / "tiny", "drain", trials=2), tmp_path, local=True)
    assert (outcome.state.status, outcome.state.reason, outcome.exit_code) == ("paused", "sweep stop", 0)
    assert steps(log) == list(range(STEPS))  # to the report, and no further
    assert [len(trial.reports) for trial in outcome.state.trials.values()] == [1]
    assert outcome.run.pending_requests() == set()
    outcome = resume("tiny", tmp_path, local=True)
    assert outcome.state.reason == "sweep stop"  # the second trial asks again, at its own step 10
    outcome = resume("tiny", tmp_path, local=True)
    assert outcome.state.status == "completed"
    assert steps(log) == 2 * list(range(2 * STEPS))
    assert check(outcome.run).violations == []


def test_a_time_that_has_come_stops_and_one_to_come_does_not(tmp_path: Path) -> None:
    due, later = f"drain-at-{int(time.time()) - 5}", f"stop-at-{int(time.time()) + 3600}"
    outcome = launch(counted(tmp_path / "a", tmp_path / "tiny", due), tmp_path, local=True)
    assert steps(tmp_path / "a") == list(range(STEPS))
    assert outcome.state.status == "paused"
    other = launch(counted(tmp_path / "b", tmp_path / "b/tiny", later), tmp_path / "b", local=True)
    assert other.state.status == "completed"
    assert other.run.pending_requests() == set()  # nothing is left for a later launch


def test_a_later_stop_outlives_a_driver_that_is_replaced(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    later = run.later_stop_request(drain=False, at=int(time.time()) + 3600)
    run.add_request(later)
    run.add_request(run.later_stop_request(drain=True, at=int(time.time()) - 3600))
    run.add_request(run.stop_request())
    stops = StopRequests()
    stops.watch(run)
    assert run.pending_requests() == {later.name}
    assert pending_stops(run)[0].startswith("on 20")
    error = RuntimeError("the cluster is lost")
    stops.__exit__(RuntimeError, error, None)
    assert run.pending_requests() == {later.name}
    with StopRequests() as stops:
        stops.watch(run)
    assert run.pending_requests() == set()


def test_only_a_running_sweep_can_stop_later(tmp_path: Path) -> None:
    launch(spec(budget={"trials": 1}), tmp_path, local=True)
    with pytest.raises(UsageError, match="no process runs"):
        control.stop_later("tiny", tmp_path, drain=True)
    assert control.cancel_stop("tiny", tmp_path) == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("18:00", datetime(2026, 11, 30, 18, 0)),
        ("09:30", datetime(2026, 12, 1, 9, 30)),
        ("2026-12-24T18:00", datetime(2026, 12, 24, 18, 0)),
        ("1h30m", datetime(2026, 11, 30, 13, 30)),
    ],
)
def test_a_time_is_the_next_one(text: str, expected: datetime) -> None:
    assert parsed_time(text, datetime(2026, 11, 30, 12, 0)) == expected


@pytest.mark.parametrize("text", ["25:00", "tomorrow", "", "-1h"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is no time"):
        parsed_time(text)


@pytest.mark.slow
@pytest.mark.ray
def test_a_sweep_on_ray_drains(tmp_path: Path) -> None:
    log = tmp_path / "log"
    outcome = launch(counted(log, tmp_path / "tiny", "drain", trials=4, pause=0.02), tmp_path)
    assert (outcome.state.status, outcome.state.reason) == ("paused", "sweep stop")
    trained = [len(trial.reports) for trial in outcome.state.trials.values()]
    assert 0 < sum(trained) < 8
    assert len(steps(log)) == STEPS * sum(trained)  # every step is in a report
    assert check(outcome.run).violations == []


def in_terminal(command: list[str], folder: Path) -> int:
    """Run a command in a terminal of its own, close that once it has ended, and return its exit code."""
    pid, terminal = pty.fork()
    if not pid:
        os.chdir(folder)
        os.execv(command[0], command)
    code = None
    while code is None:
        try:
            os.read(terminal, 4096)
        except OSError:  # every process has closed it
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(terminal)
    return code


@pytest.mark.slow
def test_a_detached_sweep_outlives_its_terminal_and_is_found_and_stopped(tmp_path: Path) -> None:
    described = counted(tmp_path / "log", tmp_path, "", trials=2, pause=0.05, stop_at=())
    (tmp_path / "sweep.yaml").write_text(to_yaml(described))
    launching = [sys.executable, "-m", "orchestrator", "launch", "sweep.yaml", "--local", "--runs", str(tmp_path)]
    assert in_terminal([*launching, "--no-preflight", "--detach"], tmp_path) == 0
    run = find("tiny", tmp_path)
    writer = holder(run.journal)
    assert writer is not None
    assert os.getsid(writer.pid) != os.getsid(0)
    until = time.monotonic() + 120
    while len(steps(tmp_path / "log")) < 5 and time.monotonic() < until:
        time.sleep(0.2)
    assert read_state(run).status == "running"
    assert Sweep.attach("tiny", tmp_path).status().status == "running"
    before = len(steps(tmp_path / "log"))
    control.stop_later("tiny", tmp_path, drain=True)
    until = time.monotonic() + 120
    while "resume with" not in run.driver_log.read_text() and time.monotonic() < until:
        time.sleep(0.2)
    assert "resume with" in run.driver_log.read_text()
    assert holder(run.journal) is None
    state = read_state(run)
    assert (state.status, state.reason) == ("paused", "sweep stop")
    assert len(steps(tmp_path / "log")) >= before
    assert len(steps(tmp_path / "log")) % STEPS == 0


@pytest.mark.slow
def test_what_prevents_a_detached_sweep_is_said_in_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    broken = spec(model={"class_path": "tests.support.tiny.Tiny", "init_args": {"fails": 1}}, name="broken")
    (tmp_path / "sweep.yaml").write_text(to_yaml(broken).replace("fails", "learning_rat"))
    command = [sys.executable, "-m", "orchestrator", "launch", str(tmp_path / "sweep.yaml"), "--local", "--detach"]
    command += ["--runs", str(tmp_path / "runs")]
    pid = os.posix_spawn(sys.executable, command, {**os.environ, "PYTHONPATH": str(ROOT)})
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 2
    assert "learning_rat" in capfd.readouterr().err
    assert not has_begun(run_at("broken", tmp_path / "runs"))
