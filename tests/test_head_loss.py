"""Sweeps whose cluster loses its head."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from orchestrator.journal import Event
from tests.support.host_sweeps import EPOCHS, working
from tests.support.ray_hosts import ON_HOSTS, cluster, keep_up, start_head, sweep, until, written
from tests.support.slow_host_sweeps import SLOW, whole

pytestmark = [*ON_HOSTS, pytest.mark.timeout(900)]

OUTAGE_SECONDS = 5.0


@pytest.fixture
def with_redis(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A head and three hosts with one CPU each, and Redis."""
    with cluster(shared, tmp_path_factory.mktemp("hosts"), workers=3, redis=True) as made:
        yield made


def gcs_killed(net: Any) -> None:
    assert net["head"].kill("gcs_server")
    time.sleep(OUTAGE_SECONDS)
    net["head"].kill("ray")  # what is left of Ray there has nothing to do with what is started now


def powered_off(net: Any) -> None:
    net["head"].power_off()
    time.sleep(OUTAGE_SECONDS)
    net["head"].power_on()


def silence(events: list[Event], began: float) -> float:
    """The longest time without a report, from just before the fault, in seconds."""
    times = [event.time for event in events if event.type == "segment.reported"]
    return max(after - before for before, after in pairwise(times) if after > began)


@pytest.mark.parametrize("fault", [gcs_killed, powered_off], ids=lambda fault: fault.__name__)
def test_with_redis_nothing_is_lost_with_the_head(
    with_redis: Any, unbroken: list[tuple[int, float]], fault: Callable[[Any], None]
) -> None:
    net = with_redis
    driver = sweep(net, "launch", written(net, "reference", **SLOW))
    try:
        until("trials that report", lambda: len(working(net, "")) == 3)
        began = time.time()
        fault(net)
        start_head(net)
        back = time.time() - began
        assert driver.wait(300) == 0, (net.shared / "launch.log").read_text()
    finally:
        driver.kill()
    events, ended = whole(net, unbroken)
    print(f"{fault.__name__}: head back after {back:.1f} s, no report for {silence(events, began):.1f} s")
    assert not [failure for trial in ended.trials.values() for failure in trial.failures], "no segment was lost"
    assert {trial.segments for trial in ended.trials.values()} == {1}
    assert sum(event.type == "segment.reported" for event in events) == EPOCHS * len(unbroken)
    during = [e.time for e in events if e.type == "segment.reported" and began + 1 < e.time < began + OUTAGE_SECONDS]
    assert during, "trials report while the head is away"


@pytest.fixture
def alone(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A head and three hosts with one CPU each, on which Ray is started again whenever it ends."""
    with cluster(shared, tmp_path_factory.mktemp("hosts"), workers=3) as made:
        keep_up(made)
        yield made


@pytest.mark.parametrize("seconds", [3.0, 75.0], ids=["briefly", "beyond Ray's patience"])
def test_without_redis_another_driver_goes_on_when_the_head_is_back(
    alone: Any, unbroken: list[tuple[int, float]], seconds: float
) -> None:
    """Ray ends a driver after a minute without a head, with no word in Python; sooner it meets a head that is new."""
    net = alone
    driver = sweep(net, "launch", written(net, "reference", **SLOW))
    try:
        until("trials that report", lambda: len(working(net, "")) == 3)
        began = time.time()
        net["head"].power_off()
        time.sleep(seconds)
        net["head"].power_on()
        start_head(net)
        back = time.time() - began
        code = driver.wait(400)
    finally:
        driver.kill()
        print((net.shared / "launch.log").read_text())
    assert code == 0
    events, ended = whole(net, unbroken)
    print(f"head back after {back:.1f} s, no report for {silence(events, began):.1f} s")
    failures = [failure.kind for trial in ended.trials.values() for failure in trial.failures]
    assert set(failures) <= {"node"}, failures
