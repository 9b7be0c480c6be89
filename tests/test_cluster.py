"""A sweep on a Ray cluster that is there already: one of this machine's, for what does not take several hosts."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator.engine.tune.placement import Slots, slots_on
from orchestrator.errors import UsageError
from orchestrator.journal import read
from orchestrator.spec import Resources
from orchestrator.state import SweepState
from orchestrator.sweep import launch
from tests.support.markers import SLOW_RAY
from tests.support.small_sweeps import spec

FEW: dict[str, Any] = {"scheduler": "fifo", "budget": {"trials": 3}, "trainer": {"max_epochs": 2, "accelerator": "cpu"}}


def host(cpus: float, gpus: float = 0.0) -> dict[str, Any]:
    return {"Alive": True, "Resources": {"CPU": cpus, **({"GPU": gpus} if gpus else {})}}


@pytest.mark.parametrize(
    ("resources", "hosts", "expected"),
    [
        ({"cpus": 4}, [host(8), host(6), host(3)], 3),
        ({"cpus": 1, "gpus": 1}, [host(8, 4), host(2, 4), host(64)], 6),
        ({"cpus": 1, "gpus": 0.25}, [host(8, 1)], 4),
        ({"cpus": 0.1}, [host(0.3)], 3),
        ({"cpus": 0, "gpus": 0.5}, [host(4, 1), host(4)], 2),
        ({"cpus": 2}, [], 0),
    ],
)
def test_a_trial_runs_on_one_host_and_never_on_what_two_have_left(
    resources: dict[str, Any], hosts: list[dict[str, Any]], expected: int
) -> None:
    assert slots_on(hosts, Resources(**resources)) == expected


@pytest.mark.ray
def test_an_address_where_nobody_is_is_said_at_once(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(UsageError, match=r"no cluster at 127\.0\.0\.1:1: ConnectionRefusedError"):
        launch(spec(**FEW), tmp_path, address="127.0.0.1:1")
    assert time.monotonic() - began < 30
    assert not (tmp_path / "tiny").exists()


def test_a_number_of_trials_at_once_is_asked_for_before_the_hosts_are_there() -> None:
    assert Slots(Resources(cpus=64, concurrent=7), on_cluster=True).now() == 7


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(["first"], marks=SLOW_RAY, id="one"),
        pytest.param(["first", "second"], marks=SLOW_RAY, id="one after another"),
    ],
)
def test_a_sweep_on_a_cluster_is_that_of_a_ray_of_its_own_and_leaves_the_cluster_up(
    shared_address: str, names: list[str], tmp_path: Path
) -> None:
    code = (
        "import sys; from orchestrator.sweep import launch; from tests.test_cluster import FEW, spec\n"
        "launch(spec(**FEW), sys.argv[1], address=sys.argv[2])"
    )
    for name in names:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code, str(tmp_path / name), shared_address],
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert done.returncode == 0, done.stderr
    plain = launch(spec(**FEW), tmp_path / "plain", local=True).state
    for name in names:
        ended = SweepState(read(tmp_path / name / "tiny" / "journal.jsonl"))
        assert ended.status == "completed"
        assert ended.slots == 2
        assert {n: t.params for n, t in ended.trials.items()} == {n: t.params for n, t in plain.trials.items()}
        assert [trial.number for trial in ended.ranking()] == [trial.number for trial in plain.ranking()]
        assert {trial.node for trial in ended.trials.values()} == {socket.gethostname()}
