"""Trials that break their process: what is lost, what is said, and whether the other trials train.

Locally the command runs as a process of its own, which forks the one that trains.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator.engine.standard_descriptors import StandardDescriptors
from orchestrator.errors import UsageError
from orchestrator.journal import Journal, read
from orchestrator.results.verify import check
from orchestrator.rundir import run_at
from orchestrator.training.class_loading.import_paths import import_object
from orchestrator.training.process_exit import exit_raises
from tests.support.ray_sweeps import events, said, started, sweep, wait_for, written

pytestmark = pytest.mark.usefixtures("nothing_is_left")
MODEL = "tests.support.breaking.Breaking"


def breaking(folder: Path, *ways: str, **arguments: Any) -> str:
    """A sweep with one trial for each way, and one that only trains."""
    return written(
        folder,
        model={"class_path": MODEL, "init_args": arguments},
        space={"model.how": {"choice": [*ways, "trains"]}},
        searcher="grid",
        scheduler="fifo",
        budget={},
    )


def ends() -> dict[str, str]:
    """How each way's trial has ended, from the journal."""
    how = {event["trial"]: event["params"]["model.how"] for event in events() if event["type"] == "trial.suggested"}
    found = {how[event["trial"]]: event["type"] for event in events() if event["type"].startswith("trial.f")}
    assert found.keys() == set(how.values()), "each trial has ended"
    return found


def failures() -> list[tuple[str, str]]:
    return [(event["kind"], event["message"]) for event in events() if event["type"] == "segment.failed"]


def check_nothing_is_lost() -> None:
    assert events()[-1]["type"] == "sweep.completed"
    assert not check(run_at("tiny")).violations
    assert "Traceback" not in said()


def test_a_journal_whose_descriptor_was_closed_is_written_again(tmp_path: Path) -> None:
    """Nothing of it goes to the file that has the number now."""
    journal = Journal.create(tmp_path / "run/journal.jsonl")
    journal.append("sweep.paused", reason="before")
    journal.append("sweep.paused", reason="not yet durable", sync=False)
    number = journal._store._file  # type: ignore[attr-defined]
    assert number >= 256, "no file that is opened later gets it"
    os.close(number)
    journal.append("sweep.paused", reason="after")
    os.close(journal._store._file)  # type: ignore[attr-defined]
    journal.close()
    assert [event["reason"] for event in read(tmp_path / "run/journal.jsonl")] == ["before", "not yet durable", "after"]
    assert [path.name for path in (tmp_path / "run").iterdir() if path.is_file()] == ["journal.jsonl"]


def test_a_closed_standard_descriptor_is_opened_again() -> None:
    same, own = os.fstat(0).st_ino, os.dup(0)
    with StandardDescriptors() as descriptors:
        os.close(0)
        descriptors.repair()
        assert os.fstat(0).st_ino == same
        os.close(0)
        os.closerange(320, 330)  # the copies, too
        descriptors.repair()
        assert os.fstat(0).st_rdev == Path(os.devnull).stat().st_rdev
    os.dup2(own, 0)
    os.close(own)


def test_only_the_trials_own_thread_and_process_cannot_exit() -> None:
    real = os._exit
    with exit_raises():
        with pytest.raises(SystemExit, match=r"os\._exit\(7\) was called"):
            os._exit(7)
        child = os.fork()
        if not child:
            os._exit(5)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
    assert os._exit is real


def test_a_module_that_exits_while_it_is_imported_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "departing.py").write_text("import os\nos._exit(0)\nclass Departing: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UsageError, match=r"departing\.py:2: SystemExit: os\._exit\(0\) was called"):
        import_object("departing.Departing")


@pytest.mark.slow
@pytest.mark.parametrize("way", ["closes_all_files", "closes_all_descriptors", "closes_standard_descriptors"])
def test_closed_descriptors_change_nothing(way: str, tmp_path: Path) -> None:
    """Every record is in the journal, and what the trial opens next receives none of the sweep's output."""
    sweep("launch", breaking(tmp_path, way), "--local")
    assert ends() == {way: "trial.finished", "trains": "trial.finished"}
    assert not failures()
    check_nothing_is_lost()
    assert len([event for event in events() if event["type"] == "sweep.launched"]) == 1


@pytest.mark.slow
def test_streams_that_a_trial_closes_stay_open(tmp_path: Path) -> None:
    sweep("launch", breaking(tmp_path, "closes_streams"), "--local")
    assert ends() == {"closes_streams": "trial.finished", "trains": "trial.finished"}
    assert "still printed" in (run_at("tiny").trial(0) / "logs/segment_0.log").read_text()
    assert "trial 1 finished" in said()
    check_nothing_is_lost()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("way", "message"),
    [
        (
            "reads_null",
            "its process ended by a fault in native code (segmentation fault), called in _reads_null (breaking.py:",
        ),
        ("aborts", "its process ended by a fault in native code (aborted), called in _aborts (breaking.py:"),
        ("exits_natively", "its process ended with exit code 0 and no error message"),
        ("exits_through_libc", "its process ended with exit code 0 and no error message"),
    ],
)
def test_a_process_that_a_trial_ends_is_replaced(way: str, message: str, tmp_path: Path) -> None:
    """It is tried again as a lost worker is, and the trial fails where that does not help; the others train."""
    sweep("launch", breaking(tmp_path, way), "--local")
    assert ends() == {way: "trial.failed", "trains": "trial.finished"}
    assert [kind for kind, _ in failures()] == ["lost"] * 4
    assert all(text.startswith(message) for _, text in failures()), failures()
    assert said().count("the sweep continues in another process") == 4
    check_nothing_is_lost()


@pytest.mark.slow
def test_a_trial_that_ends_its_process_once_ends_as_the_unbroken_one(tmp_path: Path) -> None:
    sweep("launch", breaking(tmp_path, "reads_null", marker=str(tmp_path / "once")), "--local")
    assert ends() == {"reads_null": "trial.finished", "trains": "trial.finished"}
    metrics = {
        (event["trial"], event["epoch"]): event["metrics"]["val_loss"]
        for event in events()
        if event["type"] == "segment.reported"
    }
    assert metrics.keys() == {(trial, epoch) for trial in (0, 1) for epoch in (1, 2, 3)}
    check_nothing_is_lost()


@pytest.mark.slow
def test_a_local_sweep_whose_trials_all_exit_with_zero_does_not(tmp_path: Path) -> None:
    """By os._exit, which is an error of the trial's, and by an exit in native code, which ends the process."""
    spec = written(
        tmp_path,
        model=MODEL,
        space={"model.how": {"choice": ["exits", "exits_natively"]}},
        searcher="grid",
        scheduler="fifo",
        budget={},
    )
    sweep("launch", spec, "--local", code=1)
    assert set(ends().values()) == {"trial.failed"}
    assert ("user", "SystemExit: os._exit(0) was called") in failures()
    check_nothing_is_lost()


@pytest.mark.slow
def test_a_module_whose_import_exits_natively_is_no_success(tmp_path: Path) -> None:
    (tmp_path / "leaving.py").write_text(
        "import ctypes\nfrom tests.support.tiny import Tiny\nctypes.CDLL(None)._exit(0)\nclass Leaving(Tiny): pass\n"
    )
    (tmp_path / "pyproject.toml").write_text("")
    os.environ["PYTHONPATH"] = str(tmp_path)
    process = started("launch", written(tmp_path, model="leaving.Leaving"), "--local")
    assert process.wait(120) == 1
    assert "the sweep's process ended while no trial was training: its process ended with exit code 0" in said()
    assert said().count("hint: ") == 1


@pytest.mark.slow
def test_a_hang_that_holds_the_gil_is_ended_by_a_second_ctrl_c(tmp_path: Path) -> None:
    process = started("launch", breaking(tmp_path, "waits_in_c", marker=str(tmp_path / "once")), "--local")
    wait_for((tmp_path / "once-waits_in_c").exists, process)
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    time.sleep(1.0)
    assert process.poll() is None, "the first asks for a clean end"
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert time.monotonic() - began < 9
    sweep("resume", "tiny", "--local")
    assert ends() == {"waits_in_c": "trial.finished", "trains": "trial.finished"}
    check_nothing_is_lost()


@pytest.mark.slow
def test_a_daemon_that_a_trial_leaves_is_ended_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAEMON", str(tmp_path / "daemon"))
    sweep("launch", breaking(tmp_path, "leaves_daemon"), "--local")
    assert ends() == {"leaves_daemon": "trial.finished", "trains": "trial.finished"}
    daemon = int((tmp_path / "daemon").read_text())
    assert f"ended what trials had left running: process {daemon} (" in said()
    assert not Path(f"/proc/{daemon}").exists()
    check_nothing_is_lost()


@pytest.mark.slow
def test_what_a_trial_prints_needs_no_memory(tmp_path: Path) -> None:
    """1 GB, masked on its way; the driver's memory is that of a sweep which prints nothing."""
    output = Path(os.environ["SWEEP_RUNS"]).with_name("stderr")
    spec = breaking(tmp_path, "prints", marker=str(tmp_path / "once"), megabytes=1000)
    process = started("launch", spec, "--local")
    most = 0
    while process.poll() is None:
        most = max(most, *map(resident, [process.pid, *children(process.pid)]))
        if output.exists() and output.stat().st_size > 50_000_000:  # the test's own disk
            os.truncate(output, 0)
        time.sleep(0.05)
    assert process.returncode == 0, said()
    assert most < 1_000_000_000, most
    assert 1_990_000 < largest_log() < 2_100_000  # whole lines of two million bytes, and what was left out
    os.truncate(output, 0)  # what the trial has printed
    check_nothing_is_lost()


def largest_log() -> int:
    """Bytes of the longest log of a trial."""
    return max(path.stat().st_size for path in run_at("tiny").root.glob("trials/*/logs/segment_*.log"))


def resident(process: int) -> int:
    """Bytes of memory that a process holds; 0 if it has ended."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def children(process: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []


@pytest.mark.slow
@pytest.mark.ray
def test_under_ray_a_worker_that_a_trial_breaks_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAEMON", str(tmp_path / "daemon"))
    ways = ["closes_standard_descriptors", "closes_streams", "leaves_daemon"]  # first: they leave the worker alive
    ways += ["reads_null", "exits", "exits_natively", "closes_all_descriptors"]
    sweep("launch", breaking(tmp_path, *ways, marker=str(tmp_path / "once")))
    assert ends() == dict.fromkeys([*ways, "trains"], "trial.finished")
    assert [kind for kind, _ in failures()] == ["lost"] * 4
    messages = [message for _, message in failures()]
    assert any("a fault in native code (segmentation fault), called in _reads_null" in text for text in messages)
    assert all(text.startswith("its process ended ") for text in messages), messages
    check_nothing_is_lost()
    until = time.monotonic() + 10
    while Path(f"/proc/{(tmp_path / 'daemon').read_text()}").exists():
        assert time.monotonic() < until, "what a trial leaves running ends with the sweep"
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.ray
def test_under_ray_what_a_trial_prints_takes_a_bounded_part_of_the_disk(tmp_path: Path) -> None:
    spec = breaking(tmp_path, "prints", marker=str(tmp_path / "once"), megabytes=300)
    process = started("launch", spec)
    most = held = 0
    while process.poll() is None:
        held = max(held, resident(process.pid))
        most = max(most, sum(map(size_of_logs, Path("/tmp").glob("sweep-*"))))
        time.sleep(0.2)
    assert process.returncode == 0, said()
    assert most < 100_000_000, most
    assert 1_990_000 < largest_log() < 2_100_000  # whole lines of two million bytes, and what was left out
    assert held < 1_500_000_000, held
    check_nothing_is_lost()


def size_of_logs(folder: Path) -> int:
    """Bytes of the worker's output in a Ray instance's folder."""
    total = 0
    for path in folder.glob("r/session_*/logs/worker-*"):
        with contextlib.suppress(OSError):
            total += path.stat().st_size
    return total
