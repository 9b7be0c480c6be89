"""A host that is told to go, as a spot instance is: its trials leave before it does."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator.results.verify import check
from orchestrator.rundir import RunDirectory
from tests.support.counted_steps import STEPS, steps
from tests.support.host_sweeps import EPOCHS, REFERENCE, working
from tests.support.notice_times import in_seconds
from tests.support.paths import ROOT
from tests.support.ray_hosts import ON_HOSTS, state, sweep, until, written
from tests.support.slow_host_sweeps import SLOW, whole

pytestmark = [*ON_HOSTS, pytest.mark.timeout(900)]

NOTICE_SECONDS = 25.0


def watched(net: Any, host: str) -> Path:
    """A metadata service on that host, and the watcher that the cluster file starts; the file is the notice."""
    notice = Path(net.shared) / "notice"
    net[host].popen(
        [sys.executable, str(ROOT / "tests/support/metadata.py"), "/shared/notice"],
        log=f"{net.dir}/metadata.log",
    )
    watcher = [sys.executable, "-m", "orchestrator.cluster.preemption_watcher", "aws", f"{net['head'].ip}:6379"]
    net[host].popen(watcher, log=f"{net.dir}/watcher.log")
    return notice


@pytest.mark.parametrize("epoch", ["ends in time", "is too long"])
def test_trials_leave_a_host_that_is_told_to_go(net: Any, unbroken: list[tuple[int, float]], epoch: str) -> None:
    notice = watched(net, "w1")
    slow = {"host": "w1", "seconds": 10.0 if epoch == "is too long" else 0.0, "pause": 0.4}
    model = {"class_path": "tests.support.faulty.SlowOn", "init_args": slow}
    driver = sweep(net, "launch", written(net, "reference", **{**SLOW, "model": model}))
    try:
        until("a trial that reports from w1", lambda: working(net, "w1"))
        given = time.time()
        notice.write_text(in_seconds(NOTICE_SECONDS))
        time.sleep(max(0.0, given + NOTICE_SECONDS - time.time()))
        net["w1"].power_off()
        assert driver.wait(400) == 0, (net.shared / "launch.log").read_text()
    finally:
        driver.kill()
    events, ended = whole(net, unbroken)
    failures = [failure for trial in ended.trials.values() for failure in trial.failures]
    assert {failure.kind for failure in failures} == {"preempted"}, failures
    assert len(failures) == 1, "there was room for one trial"
    left = next(event for event in events if event.type == "segment.failed")
    print(f"{epoch}: the trial left w1 {left.time - given:.1f} s after the notice of {NOTICE_SECONDS:.0f} s")
    assert left.time < given + NOTICE_SECONDS
    nodes = [event["node"] for event in events if event.type == "segment.reported" and "node" in event.fields]
    assert "w1" not in [e.fields.get("node") for e in events if e.type == "segment.reported" and e.time > left.time]
    assert "w1" in nodes
    repeated = sum(event.type == "segment.reported" for event in events) - EPOCHS * len(unbroken)
    assert repeated == 0, "no whole epoch is trained twice"


def test_a_notice_within_an_epoch_costs_no_optimizer_step(net: Any) -> None:
    log = net.shared / "steps"
    model = {
        "class_path": "tests.support.counted_steps.CountedSteps",
        "init_args": {"log": "/shared/steps", "pause": 1},
    }
    data = {"class_path": "tests.support.tiny.TinyData", "init_args": {"batch_size": 1}}  # an epoch takes 64 s
    fields = {"model": model, "data": data, "trainer": {"max_epochs": 1, "accelerator": "cpu"}, "budget": {"trials": 1}}
    driver = sweep(net, "launch", written(net, "reference", **{**REFERENCE, **fields}))
    try:
        until("five steps", lambda: len(steps(log)) >= 5)
        left = until("the host where it runs", lambda: state(net, "reference").trials[0].node)
        given = time.time()
        watched(net, left).write_text(in_seconds(NOTICE_SECONDS))
        time.sleep(max(0.0, given + NOTICE_SECONDS - time.time()))
        net[left].power_off()
        before = len(steps(log))
        assert driver.wait(400) == 0, (net.shared / "launch.log").read_text()
    finally:
        driver.kill()
    assert steps(log) == list(range(STEPS))
    assert before < STEPS, "the notice came within the epoch"
    run = RunDirectory(net.shared / "runs" / "reference")
    assert check(run).violations == []
    trial = state(net, "reference").trials[0]
    assert (trial.status, [failure.kind for failure in trial.failures]) == ("finished", ["preempted"])
    assert trial.node != left
