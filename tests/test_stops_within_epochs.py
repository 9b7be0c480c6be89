"""Stops and losses of real processes within an epoch: how many optimizer steps are taken twice?"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from orchestrator.journal import read
from orchestrator.results.verify import check
from orchestrator.rundir import run_at
from orchestrator.state import SweepState
from tests.support.counted_steps import STEPS, steps
from tests.support.ray_sweeps import nothing_is_left, started, sweep, wait_for, written  # noqa: F401

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("nothing_is_left")]
EPOCHS = 2
EVERY = 10  # steps between two checkpoints, where sweeps are killed
BOTH = pytest.mark.parametrize("options", [[], ["--local"]], ids=["ray", "local"])


def counted(folder: Path, log: Path, every: Any = "auto", **resources: Any) -> str:
    """A sweep of one trial, whose epoch takes as long as 64 pauses: a long one in small."""
    model = {"class_path": "tests.support.counted_steps.CountedSteps", "init_args": {"log": str(log), "pause": 0.1}}
    return written(
        folder,
        model=model,
        data={"class_path": "tests.support.tiny.TinyData", "init_args": {"batch_size": 1}},
        trainer={"max_epochs": EPOCHS},
        scheduler="fifo",
        budget={"trials": 1},
        checkpoints={"every": every},
        resources={"cpus": 0.5, "concurrent": 2, **resources},
    )


def state() -> SweepState:
    run = run_at("tiny", Path(os.environ["SWEEP_RUNS"]))
    assert check(run).violations == []
    return SweepState(read(run.journal))


@pytest.mark.parametrize(
    ("number", "options"),
    [
        pytest.param(signal.SIGTERM, [], id="SIGTERM-ray"),
        pytest.param(signal.SIGINT, [], id="SIGINT-ray"),
        pytest.param(signal.SIGTERM, ["--local"], id="SIGTERM-local"),
        pytest.param(signal.SIGINT, ["--local"], id="SIGINT-local"),
        pytest.param(signal.SIGHUP, ["--local"], id="SIGHUP-local"),
    ],
)
def test_a_signal_within_an_epoch_costs_no_step(number: signal.Signals, options: list[str], tmp_path: Path) -> None:
    log = tmp_path / "steps"
    words = ["launch", counted(tmp_path, log)]
    for end in (5, STEPS + 5):
        driver = started(*words, *options)
        wait_for(lambda end=end: len(steps(log)) >= end, driver)
        driver.send_signal(number)
        assert driver.wait(60) == 128 + number
        words = ["resume", "tiny"]
        trial = state().trials[0]
        assert trial.interim is not None
        assert trial.interim.measures["step"] == len(steps(log)), "the checkpoint is of the last batch"
    sweep(*words, *options)
    assert steps(log) == list(range(EPOCHS * STEPS))
    assert state().trials[0].status == "finished"


def test_two_processes_of_a_trial_stop_after_the_same_batch(tmp_path: Path) -> None:
    log = tmp_path / "steps"
    words = ["launch", counted(tmp_path, log, workers=2, concurrent=1)]
    driver = started(*words)
    wait_for(lambda: len(steps(log)) >= 5, driver)
    driver.send_signal(signal.SIGTERM)
    assert driver.wait(60) == 143
    trial = state().trials[0]
    assert trial.interim is not None
    assert trial.interim.measures["step"] == len(steps(log)) < STEPS / 2
    sweep("resume", "tiny")
    assert steps(log) == list(range(EPOCHS * STEPS // 2))


def test_sweep_stop_within_an_epoch_costs_no_step(tmp_path: Path) -> None:
    log = tmp_path / "steps"
    driver = started("launch", counted(tmp_path, log))
    wait_for(lambda: len(steps(log)) >= 5, driver)
    sweep("stop", "tiny")
    assert driver.wait(60) == 0
    assert 5 <= len(steps(log)) < STEPS
    sweep("resume", "tiny")
    assert steps(log) == list(range(EPOCHS * STEPS))
    assert state().trials[0].status == "finished"


def test_a_trial_is_stopped_at_its_next_batch(tmp_path: Path) -> None:
    log = tmp_path / "steps"
    driver = started("launch", counted(tmp_path, log))
    wait_for(lambda: len(steps(log)) >= 5, driver)
    sweep("stop", "tiny", "--trial", "0")
    assert driver.wait(60) == 1, "no trial has a result"
    assert 5 <= len(steps(log)) < STEPS
    trial = state().trials[0]
    assert (trial.status, trial.stopped_by["rule"], trial.files) == ("stopped", "request", [])


@BOTH
def test_a_kill_costs_at_most_one_interval(options: list[str], tmp_path: Path) -> None:
    log = tmp_path / "steps"
    words = ["launch", counted(tmp_path, log, every=EVERY / STEPS)]
    kills = 0
    for end in (25, STEPS + 25):
        driver = started(*words, *options)
        wait_for(lambda end=end: len(set(steps(log))) >= end, driver)
        driver.kill()
        driver.wait(10)
        kills += 1
        _wait_until_quiet(log)  # a worker of Ray ends within ten seconds, and earlier at its next checkpoint
        words = ["resume", "tiny"]
    sweep(*words, *options)
    taken = Counter(steps(log))
    repeated = sum(times - 1 for times in taken.values())
    print(f"{options}: {repeated} steps were taken again after {kills} kills")
    assert sorted(taken) == list(range(EPOCHS * STEPS))
    assert repeated <= kills * EVERY
    assert state().trials[0].status == "finished"


def _wait_until_quiet(log: Path) -> None:
    count, since = -1, time.monotonic()
    while time.monotonic() - since < 3:
        if len(steps(log)) != count:
            count, since = len(steps(log)), time.monotonic()
        time.sleep(0.1)
