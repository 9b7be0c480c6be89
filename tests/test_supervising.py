"""A driver on a cluster has a process of its own, which another watches: how either may end, and what then."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.results.run_state import find, has_begun, read_state
from orchestrator.results.winner import finals_of
from tests.support.paths import ROOT
from tests.support.signalled_sweeps import SPEC, events, said, wait_for

LONG: dict[str, Any] = {**SPEC, "model": {"class_path": "tests.support.tiny.Tiny", "init_args": {"pause": 0.1}}}


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts the command; what a failed test leaves is ended, the driver with who supervises it."""
    processes = []

    def start(*words: str) -> subprocess.Popen[bytes]:
        with (tmp_path / "log").open("ab") as log:
            command = [sys.executable, "-W", "ignore", "-m", "orchestrator", *words]
            processes.append(subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()


def written(folder: Path, **fields: Any) -> str:
    file = folder / "tiny.yaml"
    file.write_text(json.dumps({**LONG, **fields}))
    return str(file)


def driver_of(process: subprocess.Popen[bytes]) -> int:
    """The number of the process that runs the sweep."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return next(int(child) for child in children if b"orchestrator" in Path(f"/proc/{child}/cmdline").read_bytes())


def reported() -> bool:
    return said("segment.reported", 3)


def ends() -> list[int]:
    return sorted(event["trial"] for event in events() if event["type"] == "trial.finished")


@pytest.mark.slow
@pytest.mark.ray
def test_another_goes_on_where_a_driver_ends_without_a_word(
    shared_address: str, tmp_path: Path, started: Callable[..., subprocess.Popen[bytes]]
) -> None:
    process = started("launch", written(tmp_path), "--address", shared_address)
    wait_for(reported, process)
    os.kill(driver_of(process), signal.SIGKILL)
    assert process.wait(120) == 0, (tmp_path / "log").read_text()
    assert ends() == [0, 1, 2, 3], "each trial ends once"
    assert not said("segment.failed"), "it costs no retry"
    assert said("sweep.launched", 2)
    assert "the driver died by SIGKILL" in (tmp_path / "log").read_text()


@pytest.mark.slow
@pytest.mark.ray
def test_what_a_run_was_extended_by_is_trained_once(
    shared_address: str, tmp_path: Path, started: Callable[..., subprocess.Popen[bytes]]
) -> None:
    assert started("launch", written(tmp_path), "--address", shared_address).wait(120) == 0
    process = started("extend", "tiny", "--trials", "2", "--address", shared_address)
    wait_for(lambda: any(event["type"] == "segment.reported" and event["trial"] > 3 for event in events()), process)
    os.kill(driver_of(process), signal.SIGKILL)
    assert process.wait(120) == 0, (tmp_path / "log").read_text()
    assert said("sweep.extended", 1)
    assert not said("sweep.extended", 2)
    assert ends() == [0, 1, 2, 3, 4, 5]


@pytest.mark.slow
@pytest.mark.ray
def test_finals_go_on_in_another_driver(
    shared_address: str, tmp_path: Path, started: Callable[..., subprocess.Popen[bytes]]
) -> None:
    assert started("launch", written(tmp_path), "--address", shared_address).wait(120) == 0
    process = started("confirm", "tiny", "--top", "2", "--trials", "4", "--address", shared_address)
    run = find("tiny")

    def reports() -> bool:
        race = finals_of(run, read_state(run))
        return has_begun(race) and any(trial.reports for trial in read_state(race).trials.values())

    wait_for(reports, process)
    os.kill(driver_of(process), signal.SIGKILL)
    assert process.wait(200) == 0, (tmp_path / "log").read_text()
    ended = read_state(run)
    assert ended.confirmation
    assert said("finals.begun", 1)
    assert not said("finals.begun", 2)
    trials = read_state(finals_of(run, ended)).trials.values()
    assert {trial.status for trial in trials} == {"finished"}
    assert not [failure for trial in trials for failure in trial.failures]


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize("both", [False, True], ids=["to its process", "to the driver, too"])
def test_a_signal_is_passed_on_and_nothing_starts_again(
    shared_address: str,
    tmp_path: Path,
    started: Callable[..., subprocess.Popen[bytes]],
    number: signal.Signals,
    both: bool,
) -> None:
    """A Ray Job that is stopped gets its signal in every process."""
    process = started("launch", written(tmp_path), "--address", shared_address)
    wait_for(reported, process)
    driver = driver_of(process)
    process.send_signal(number)
    if both:
        os.kill(driver, number)
    assert process.wait(30) == 128 + number, (tmp_path / "log").read_text()
    assert events()[-1]["type"] == "sweep.paused"
    assert events()[-1]["reason"] == number.name
    assert not said("sweep.launched", 2)
    assert started("resume", "tiny", "--address", shared_address).wait(120) == 0
    assert ends() == [0, 1, 2, 3]


@pytest.mark.slow
@pytest.mark.ray
def test_the_driver_ends_with_who_supervises_it(
    shared_address: str, tmp_path: Path, started: Callable[..., subprocess.Popen[bytes]]
) -> None:
    process = started("launch", written(tmp_path), "--address", shared_address)
    wait_for(reported, process)
    driver = driver_of(process)
    process.kill()
    until = time.monotonic() + 10
    while Path(f"/proc/{driver}").exists():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.ray
def test_a_second_signal_ends_both_at_once(
    shared_address: str, tmp_path: Path, started: Callable[..., subprocess.Popen[bytes]]
) -> None:
    slow = {"class_path": "tests.support.tiny.Tiny", "init_args": {"pause": 1.5}}  # an epoch of 6 s
    process = started("launch", written(tmp_path, model=slow), "--address", shared_address)
    wait_for(lambda: said("segment.started"), process)
    time.sleep(4)
    driver = driver_of(process)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130, (tmp_path / "log").read_text()
    assert time.monotonic() - began < 7
    assert not Path(f"/proc/{driver}").exists()


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize(
    ("fields", "code"),
    [({"model": "tests.support.tiny.Nobody"}, 2), ({"resources": {"cpus": 64}}, 2)],
    ids=["class", "room"],
)
def test_what_is_wrong_is_said_once(
    shared_address: str,
    tmp_path: Path,
    started: Callable[..., subprocess.Popen[bytes]],
    fields: dict[str, Any],
    code: int,
) -> None:
    process = started("launch", written(tmp_path, **fields), "--address", shared_address)
    assert process.wait(60) == code
    assert (tmp_path / "log").read_text().count("hint: ") == 1
    assert "another" not in (tmp_path / "log").read_text()


@pytest.mark.slow
@pytest.mark.ray
def test_a_driver_that_always_dies_is_given_up(
    shared_address: str, tmp_path: Path, started: Callable[..., subprocess.Popen[bytes]]
) -> None:
    """The module ends whoever imports it."""
    (tmp_path / "deadly.py").write_text(
        "import os, tests.support.tiny\nos._exit(7)\nclass Deadly(tests.support.tiny.Tiny): pass\n"
    )
    process = started("launch", written(tmp_path, model="deadly.Deadly"), "--address", shared_address)
    assert process.wait(200) == 1
    said = (tmp_path / "log").read_text()
    assert (
        "the driver has died 4 times with its cluster without a report in between, the last time with exit code 7"
        in said
    )
    assert said.count("a replacement starts") == 3
