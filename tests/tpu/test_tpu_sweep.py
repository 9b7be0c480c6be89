"""Whole sweeps with torch_xla in the training processes: a host that dies, a slice without Ray, the winner's bundle.

Needs an interpreter with torch_xla, which ``SWEEP_TPU_PYTHON`` names: `make tpu-env`, then `make test-tpu`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator import sweep
from orchestrator.bundle import verify_bundle
from orchestrator.export import export
from orchestrator.journal import Event
from orchestrator.results.run_state import read_state
from orchestrator.results.verify import check
from orchestrator.rundir import run_at
from orchestrator.spec import from_mapping
from tests.support.fake_pod import FakePod, Seen
from tests.support.paths import ROOT

PYTHON = os.environ.get("SWEEP_TPU_PYTHON", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.skipif(not PYTHON, reason="needs torch_xla in an environment of its own: make tpu-env, make test-tpu"),
]
SPEC: dict[str, Any] = {
    "name": "tpu",
    "seed": 3,
    "objective": {"metric": "val_loss", "mode": "min"},
    "model": {"class_path": "orchestrator.models.LitModel", "init_args": {}},
    "data": {"class_path": "orchestrator.data.DigitsDataModule", "init_args": {}},
    "trainer": {"max_epochs": 4, "limit_train_batches": 6, "limit_val_batches": 2},
    "space": {"model.learning_rate": {"log_uniform": [1e-4, 1e-2]}},
    "searcher": "random",
    "scheduler": "fifo",
    "budget": {"trials": 2},
    "resources": {"tpu": "v4-16", "cpus": 0, "runtime": "rehearsal-gloo"},
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("RAY_worker_niceness", "0")


def test_a_lost_host_costs_no_more_than_the_epoch_it_was_in() -> None:
    pod = FakePod()
    try:
        pod.make_whole()

        def trained_on_a(event: Event) -> bool:
            return event.type == "segment.reported" and seen.state.trials[event["trial"]].node == "a"

        seen = Seen(trained_on_a, lambda: pod.kill("a", 1))
        outcome = sweep.launch(from_mapping(SPEC), address=pod.address, observer=seen)
    finally:
        pod.shutdown()
    assert outcome.exit_code == 0, outcome.state.reason
    assert [event["kind"] for event in seen.of("segment.failed")] == ["node"]
    lost = seen.of("segment.failed")[0]["trial"]
    again = next(e for e in seen.of("segment.started") if e["trial"] == lost and e["segment"] == 1)
    assert again["node"] == "b"
    assert again["origin"], "from its checkpoint"
    for trial in seen.state.trials.values():
        assert trial.status == "finished"
        assert sorted(trial.reports) == [1, 2, 3, 4]
    assert check(outcome.run).violations == []


def launched(file: Path, worker: int, names: str) -> subprocess.Popen[str]:
    """``sweep tpu launch --alone`` on one of the hosts."""
    env = {**os.environ, "TPU_WORKER_ID": str(worker), "TPU_WORKER_HOSTNAMES": names}
    command = [sys.executable, "-m", "orchestrator", "tpu", "launch", "--alone", str(file)]
    return subprocess.Popen(command, env=env, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.parametrize(("tpu", "runtime", "hosts"), [("v5e-4", "rehearsal-spmd", 1), ("v4-16", "rehearsal-gloo", 2)])
def test_a_slice_without_ray_and_the_winners_bundle(tpu: str, runtime: str, hosts: int, tmp_path: Path) -> None:
    """The same command on every host; what the export compares, it compares on the CPU of the main environment."""
    file = tmp_path / "tpu.yaml"
    resources = {"tpu": tpu, "runtime": runtime}
    file.write_text(json.dumps({**SPEC, "resources": resources, "budget": {"trials": 1}}))
    running = [launched(file, worker, ",".join(["127.0.0.1"] * hosts)) for worker in range(hosts)]
    ends = [process.communicate(timeout=400) for process in running]
    assert [process.returncode for process in running] == [0] * hosts, ends
    run = run_at("tpu")
    state = read_state(run)
    assert sorted(state.trials[0].reports) == [1, 2, 3, 4]
    assert state.trials[0].device_kind == tpu
    assert check(run).violations == []

    found = verify_bundle(export("tpu", to=tmp_path / "bundle").folder)
    assert found.missing == {}
    assert set(found.parity) == {"safetensors", "onnx", "pt2"}
    assert {parity["source"] for parity in found.parity.values()} == {"validation data"}
