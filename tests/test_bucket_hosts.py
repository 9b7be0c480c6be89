"""Sweeps on several hosts with their runs in object storage: an S3 server on a host of its own, far away."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.journal import read
from orchestrator.state import SweepState
from tests.support import ray_hosts
from tests.support.host_sweeps import EPOCHS, REFERENCE, ranked
from tests.support.ray_hosts import BUCKET, ON_HOSTS, cluster, state, until, written

pytestmark = [*ON_HOSTS, pytest.mark.timeout(900)]

RUNS = f"s3://{BUCKET}/runs"
# What the driver's host reads of the journal, put where this process sees it.
COPY = f"""
from pathlib import Path
from orchestrator.journal import encode, read
found = b"".join(map(encode, read("{RUNS}/reference/journal")))
Path("/shared/runs/reference").mkdir(parents=True, exist_ok=True)
Path("/shared/runs/reference/journal.jsonl").write_bytes(found)
"""


@pytest.fixture
def net(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A head, two hosts with one CPU each, and the store."""
    with cluster(shared, tmp_path_factory.mktemp("hosts"), workers=2, store=True) as made:
        yield made


def sweep(net: Any, *words: str) -> subprocess.Popen[bytes]:
    return ray_hosts.sweep(net, *words, runs=RUNS)


def seen(net: Any) -> SweepState:
    net["driver"].run([sys.executable, "-W", "ignore", "-c", COPY])
    return state(net, "reference")


def reports(found: SweepState) -> int:
    return sum(len(trial.reports) for trial in found.trials.values())


def whole(net: Any, unbroken: list[tuple[int, float]]) -> SweepState:
    """The sweep is the unbroken one's, no trial has failed, and every checkpoint is what was written."""
    ended = seen(net)
    assert ended.status == "completed"
    assert not [failure for trial in ended.trials.values() for failure in trial.failures]
    assert dict(ranked(ended)) == pytest.approx(dict(unbroken))
    assert [number for number, _ in ranked(ended)] == [number for number, _ in unbroken]
    verified = sweep(net, "verify", "reference")
    assert verified.wait(120) == 0, (net.shared / "verify.log").read_text()
    return ended


def test_a_driver_killed_twice_costs_no_trial_an_epoch_that_it_reported(
    net: Any, unbroken: list[tuple[int, float]]
) -> None:
    driver, before = sweep(net, "launch", written(net, "reference", **REFERENCE)), 0
    for _ in range(2):
        until("reports", lambda: reports(seen(net)) >= before + 4, 300)  # noqa: B023
        assert net["driver"].kill("-m orchestrator")
        driver.wait()
        before = reports(seen(net))
        assert before < EPOCHS * len(unbroken)
        driver = sweep(net, "resume", "reference")
    assert driver.wait(400) == 0, (net.shared / "resume.log").read_text()
    ended = whole(net, unbroken)
    segments = {number: trial.segments for number, trial in ended.trials.items()}
    print(f"killed twice, 80 ms from the store: segments {segments}")
    assert sum(segments.values()) <= len(segments) + 2 * 2, "two trials ran at each death"
    told = [event for event in read(net.shared / "runs/reference/journal.jsonl") if event.type == "segment.reported"]
    assert len(told) == EPOCHS * len(unbroken), "an epoch that was reported was trained again"


def test_a_store_that_is_away_for_20_s_costs_nothing(net: Any, unbroken: list[tuple[int, float]]) -> None:
    driver = sweep(net, "launch", written(net, "reference", **REFERENCE))
    until("reports", lambda: reports(seen(net)) >= 4, 300)
    net["store"].link(False)
    time.sleep(20)
    net["store"].link(True)
    assert driver.wait(400) == 0, (net.shared / "launch.log").read_text()
    ended = whole(net, unbroken)
    assert {trial.segments for trial in ended.trials.values()} == {1}
