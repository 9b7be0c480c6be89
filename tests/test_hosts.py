"""Sweeps on a cluster of real hosts, some of which are lost on the way."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.journal import read
from orchestrator.results.verify import check
from orchestrator.rundir import RunDirectory
from orchestrator.state import SweepState
from tests.support.host_sweeps import EPOCHS, REFERENCE, ranked, working
from tests.support.ray_hosts import ON_HOSTS, state, sweep, until, written

pytestmark = [*ON_HOSTS, pytest.mark.timeout(900)]

FAULT_SECONDS = 20.0


def powered_off(net: Any) -> None:
    net["w1"].power_off()


def killed(net: Any) -> None:
    net["w1"].kill("ray")


def cut(net: Any) -> None:
    net["w1"].link(False)


@pytest.mark.parametrize("fault", [powered_off, killed, cut], ids=lambda fault: fault.__name__)
def test_the_trials_of_a_lost_host_go_on_elsewhere(
    net: Any, unbroken: list[tuple[int, float]], fault: Callable[[Any], None]
) -> None:
    driver = sweep(net, "launch", written(net, "reference", **REFERENCE))
    try:
        lost = until("a trial that reports from w1", lambda: working(net, "w1"))
        began = time.time()
        fault(net)
        assert driver.wait(300) == 0, (net.shared / "launch.log").read_text()
    finally:
        driver.kill()
    run = RunDirectory(net.shared / "runs" / "reference")
    events = list(read(run.journal))
    ended = SweepState(events)
    for number in lost:
        again = next(
            event.time
            for event in events
            if event.type == "segment.reported" and event["trial"] == number and event.time > began and event["segment"]
        )
        print(f"{fault.__name__}: trial {number} reported again {again - began:.1f} s after the fault")
        assert again - began < FAULT_SECONDS
    assert check(run).violations == []
    assert ended.status == "completed"
    assert {trial.status for trial in ended.trials.values()} == {"finished"}
    failures = {failure.kind for trial in ended.trials.values() for failure in trial.failures}
    assert failures <= {"node", "lost"}
    for trial in ended.trials.values():
        repeated = sum(event["trial"] == trial.number for event in events if event.type == "segment.reported") - EPOCHS
        assert repeated <= len(trial.failures), "at most the epoch that was being trained is trained again"
    assert [number for number, _ in ranked(ended)] == [number for number, _ in unbroken]
    assert dict(ranked(ended)) == pytest.approx(dict(unbroken))


def test_a_host_that_the_driver_does_not_reach_is_avoided(net: Any, unbroken: list[tuple[int, float]]) -> None:
    """It and the driver both reach the head, so Ray sees nothing wrong."""
    limit = 15.0
    driver = sweep(net, "launch", written(net, "reference", **REFERENCE, recovery={"stalled_after": limit}))
    try:
        lost = until("a trial that reports from w1", lambda: working(net, "w1"))
        began = time.time()
        net["driver"].drop(net["w1"])
        assert driver.wait(400) == 0, (net.shared / "launch.log").read_text()
    finally:
        driver.kill()
    run = RunDirectory(net.shared / "runs" / "reference")
    events = list(read(run.journal))
    ended = SweepState(events)
    reports = [event for event in events if event.type == "segment.reported" and event.time > began]
    for number in lost:
        again = next(event.time for event in reports if event["trial"] == number and event["segment"])
        print(f"cut from the driver: trial {number} reported again {again - began:.1f} s after it")
        assert again - began < 2 * limit + FAULT_SECONDS
    assert check(run).violations == []
    assert {trial.status for trial in ended.trials.values()} == {"finished"}
    moved = next(event.time for event in events if event.type == "segment.failed")
    at = {event.fields.get("node", "") for event in reports if event.time > moved}
    assert "w1" not in at
    assert [number for number, _ in ranked(ended)] == [number for number, _ in unbroken]


def test_every_host_works_and_the_head_answers(net: Any) -> None:
    driver = sweep(net, "launch", written(net, "reference", **REFERENCE))
    assert driver.wait(300) == 0, (net.shared / "launch.log").read_text()
    ended = state(net, "reference")
    assert {trial.node for trial in ended.trials.values()} == {"w1", "w2", "w3"}
    assert ended.slots == 3
    answer = sweep(net, "status", "reference", "--json", host="w2")
    assert answer.wait(60) == 0
    assert json.loads((net.shared / "status.log").read_text())["status"] == "completed"


def test_what_a_cluster_cannot_do_is_said_before_anything_is_written(net: Any) -> None:
    large = {**REFERENCE, "resources": {"cpus": 2}}
    for name, words, said in (
        ("large", (), "a trial needs 2 cpus, and none of the cluster's 5 hosts has that"),
        ("nowhere", ("--address", "127.0.0.1:1"), "no cluster at 127.0.0.1:1"),
    ):
        driver = sweep(net, "launch", written(net, name, **large), *words)
        assert driver.wait(120) == 2
        assert said in (net.shared / "launch.log").read_text()
        assert not (net.shared / "runs" / name).exists()
    alone = net["head"].run(
        [
            "python",
            "-W",
            "ignore",
            "-m",
            "orchestrator",
            "launch",
            written(net, "alone", **REFERENCE),
            "--runs",
            "/tmp/alone",
        ],
        env={"RAY_ADDRESS": f"{net['head'].ip}:6379"},
        check=False,
    )
    assert "/tmp/alone is not the same on driver, w1, w2, w3" in alone
