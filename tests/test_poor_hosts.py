"""Hosts that are poor in something: memory, a processor, a good network."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.host_sweeps import EPOCHS, working
from tests.support.ray_hosts import ON_HOSTS, cluster, sweep, until, written
from tests.support.slow_host_sweeps import SLOW, whole

pytestmark = [*ON_HOSTS, pytest.mark.timeout(900)]

SMALL = 1_800_000_000  # bytes: Ray's part of a host and one trial with torch and Lightning take some 1.0 GB


@pytest.fixture
def three(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A head and three hosts with one CPU each."""
    with cluster(shared, tmp_path_factory.mktemp("hosts"), workers=3) as made:
        yield made


def limited(host: Any, limit: int) -> None:
    """The host has so many bytes of memory."""
    files = [file for group in host.cgroups if (file := group / "memory.limit_in_bytes").exists()]
    if not files:
        pytest.skip("needs the memory controller of cgroup v1")
    files[0].write_text(str(limit))


def test_a_trial_out_of_memory_on_a_small_host_is_named_so_and_goes_on(
    three: Any, unbroken: list[tuple[int, float]]
) -> None:
    """By the kernel, or by Ray's memory monitor, which ends the whole Tuner: the others then go on where they were."""
    net = three
    limited(net["w1"], SMALL)
    greedy = {"host": "w1", "megabytes": 3000, "pause": 0.4, "marker": "/shared/greedy"}
    model = {"class_path": "tests.support.faulty.GreedyOn", "init_args": greedy}
    driver = sweep(net, "launch", written(net, "reference", **{**SLOW, "model": model}))
    try:
        assert driver.wait(400) == 0, (net.shared / "launch.log").read_text()
    finally:
        driver.kill()
    assert (net.shared / "greedy").exists()
    _, ended = whole(net, unbroken, same_batches=False)
    failures = {n: [failure.kind for failure in trial.failures] for n, trial in ended.trials.items()}
    kinds = [kind for found in failures.values() for kind in found]
    print(f"out of memory on a small host: {failures}")
    assert kinds.count("memory") == 1, failures
    assert set(kinds) <= {"memory", "preempted"}, failures
    guilty = next(number for number, found in failures.items() if "memory" in found)
    answer = sweep(net, "why", "reference", "--trial", str(guilty))
    assert answer.wait(60) == 0
    said = (net.shared / "why.log").read_text()
    assert "memory" in said, said


def test_a_slow_host_is_waited_for(three: Any, unbroken: list[tuple[int, float]]) -> None:
    """Eight times slower than the others, and a fifth of what it sends and gets is lost on the way; but alive."""
    net = three
    slow = {"host": "w1", "seconds": 3.0, "pause": 0.4}
    model = {"class_path": "tests.support.faulty.SlowOn", "init_args": slow}
    driver = sweep(
        net, "launch", written(net, "reference", **{**SLOW, "model": model}, recovery={"stalled_after": 30.0})
    )
    try:
        until("a trial that reports from w1", lambda: working(net, "w1"))
        began = time.time()
        net["w1"].drop(pct=20)
        assert driver.wait(500) == 0, (net.shared / "launch.log").read_text()
    finally:
        driver.kill()
    events, ended = whole(net, unbroken)
    assert not [failure for trial in ended.trials.values() for failure in trial.failures]
    assert sum(event.type == "segment.reported" for event in events) == EPOCHS * len(unbroken)
    ran = [event["node"] for event in events if event.type == "segment.reported" and "node" in event.fields]
    assert "w1" in ran
    print(f"slow host: {ran.count('w1')} of {len(unbroken)} trials there, over {time.time() - began:.0f} s")
