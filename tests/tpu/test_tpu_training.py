"""Training on XLA devices, PJRT's on the CPU: equal to the CPU's own, through ``training.fit``.

Needs an interpreter with torch_xla, which ``SWEEP_TPU_PYTHON`` names: `make tpu-env`, then `make test-tpu`.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

import orchestrator.xla.training_process as xla_process
from orchestrator.spec.tpu_slices import Slice, slice_of
from orchestrator.training import Interim, Job, Report
from orchestrator.xla.no_ray_launch import LocalHost
from orchestrator.xla.process_env import Process, plan_env
from orchestrator.xla.slice_engine import plain_process
from orchestrator.xla.slice_processes import Ended, Refused, WorkerGroup
from tests.support.paths import ROOT

PYTHON = os.environ.get("SWEEP_TPU_PYTHON", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not PYTHON, reason="needs torch_xla in an environment of its own: make tpu-env, make test-tpu"),
]
HERE = Path(__file__).resolve().parent
# By SGD: Adam divides a gradient by its own size, so where it is near zero its rounding becomes a whole step.
SGD = {"optimizer": "sgd", "learning_rate": 1e-2}
LITMODEL = {
    "model": {"class_path": "tests.tpu.modules.Spread", "init_args": SGD},
    "data": {"class_path": "orchestrator.data.DigitsDataModule", "init_args": {"batch_size": 32}},
    "trainer": {"max_epochs": 2, "limit_train_batches": 12, "limit_val_batches": 3, "precision": "32-true"},
}
NORMED = {
    "model": {"class_path": "tests.tpu.modules.Normed", "init_args": {}},
    "data": {"class_path": "tests.tpu.modules.Points", "init_args": {}},
    "trainer": {"max_epochs": 3, "precision": "32-true"},
}

DROPPING = {"class_path": "tests.tpu.modules.Dropping", "init_args": {}}


@pytest.fixture(autouse=True)
def one_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference, too, is computed by torch_xla's own torch."""
    monkeypatch.setattr(xla_process, "interpreter", lambda runtime: PYTHON)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def job(folder: Path, **fields: Any) -> Job:
    return Job(trial=0, segment=0, seed=7, metric="val_loss", folder=str(folder / "run/trials/0000"), **fields)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def planned(name: str, runtime: str) -> list[Process]:
    wanted = slice_of(name)
    return plan_env(wanted, ["127.0.0.1"] * wanted.hosts, runtime, port=free_port())


def trained(processes: list[Process], asked: Job, saved: list[Interim] | None = None) -> list[Report]:
    """The reports of a segment that comes to its end; its checkpoints between them go to ``saved``."""
    hosts = max(process.host for process in processes) + 1
    gang = WorkerGroup([LocalHost("127.0.0.1") for _ in range(hosts)])
    gang.start(processes, asked, [str(ROOT)])
    reports: list[Report] = []
    try:
        while not isinstance(outcome := gang.next_outcome(), Ended):
            assert outcome is None or isinstance(outcome, Report | Interim), outcome
            if isinstance(outcome, Interim) and saved is not None:
                saved.append(outcome)
            if isinstance(outcome, Report):
                reports.append(outcome)
                gang.answer(True)
            time.sleep(0.02)
    finally:
        gang.end()
    return reports


def check_alike(found: list[Report], expected: list[Report], names: list[str], tolerance: float = 1e-4) -> None:
    assert [report.epoch for report in found] == [report.epoch for report in expected]
    for one, other in zip(found, expected, strict=True):
        for name in names:
            assert one.metrics[name] == pytest.approx(other.metrics[name], abs=tolerance), (one.epoch, name)


def weights(asked: Job, report: Report) -> dict[str, torch.Tensor]:
    """Read with the main environment's torch, and no code run."""
    assert report.checkpoint is not None
    loaded = torch.load(asked.run_directory / report.checkpoint.path, map_location=None, weights_only=True)
    assert {tensor.device.type for tensor in loaded["state_dict"].values()} == {"cpu"}
    found: dict[str, torch.Tensor] = loaded["state_dict"]
    return found


LOSSES = ["train_loss", "val_loss", "train_acc", "val_acc"]


def test_litmodel_on_one_device_and_on_four_is_what_it_is_on_the_cpu(tmp_path: Path) -> None:
    plain = job(tmp_path / "cpu", **LITMODEL)
    expected = trained([plain_process("127.0.0.1")], plain)
    one, four = job(tmp_path / "one", **LITMODEL), job(tmp_path / "four", **LITMODEL)
    on_one = trained(planned("v5e-1", "rehearsal-gloo"), one)
    on_four = trained(planned("v5e-4", "rehearsal-spmd"), four)
    check_alike(on_one, expected, LOSSES)
    check_alike(on_four, expected, LOSSES)
    assert [report.metrics["val_pieces"] for report in (expected[0], on_one[0], on_four[0])] == [1, 1, 4]
    for asked, reports in ((one, on_one), (four, on_four)):
        for name, tensor in weights(plain, expected[-1]).items():
            torch.testing.assert_close(weights(asked, reports[-1])[name], tensor, atol=1e-3, rtol=1e-3)

    # What was trained on four devices goes on on the CPU, and the other way round.
    first = on_four[0].checkpoint
    assert first is not None
    went_on = trained([plain_process("127.0.0.1")], replace(four, segment=1, checkpoint=asdict(first)))
    check_alike(went_on, expected[1:], LOSSES)
    back = expected[0].checkpoint
    assert back is not None
    went_on = trained(planned("v5e-4", "rehearsal-spmd"), replace(plain, segment=1, checkpoint=asdict(back)))
    check_alike(went_on, expected[1:], LOSSES)


@pytest.mark.parametrize(("name", "runtime"), [("v5e-1", "rehearsal-gloo"), ("v4-16", "rehearsal-gloo")])
def test_a_segment_cut_within_an_epoch_and_resumed_is_the_unbroken_one(name: str, runtime: str, tmp_path: Path) -> None:
    """By steps, with dropout drawn on the device, a shuffled loader and a validation every five batches."""
    trainer = {"max_steps": 18, "val_check_interval": 5, "precision": "32-true"}
    asked = job(tmp_path / "whole", **{**NORMED, "model": DROPPING, "trainer": trainer}, save_every={"seconds": 0.0})
    saved: list[Interim] = []
    expected = trained(planned(name, runtime), asked, saved)
    cut = [interim for interim in saved if interim.epoch % 1 and interim.step < expected[-1].step][-1]
    assert cut.checkpoint is not None
    resumed = trained(planned(name, runtime), replace(asked, segment=1, checkpoint=asdict(cut.checkpoint)))
    check_alike(resumed, [report for report in expected if report.step > cut.step], ["val_loss", "val_acc"], 0.0)
    for parameter, tensor in weights(asked, expected[-1]).items():
        assert torch.equal(weights(asked, resumed[-1])[parameter], tensor), parameter


def test_two_processes_are_what_ddp_is_on_cpus(tmp_path: Path) -> None:
    asked = job(tmp_path / "xla", **NORMED)
    found = trained(planned("v4-16", "rehearsal-gloo"), asked)
    plain = job(tmp_path / "ddp", **NORMED)
    expected = by_ddp(plain, tmp_path)
    check_alike(found, expected, ["train_loss", "val_loss", "val_acc"])
    for name, tensor in weights(plain, expected[-1]).items():
        torch.testing.assert_close(weights(asked, found[-1])[name], tensor, atol=1e-4, rtol=1e-4)


def by_ddp(asked: Job, folder: Path) -> list[Report]:
    file, reports = folder / "job.json", folder / "reports.json"
    file.write_text(json.dumps(asdict(asked)))
    port = str(free_port())
    running = []
    for rank in range(2):
        env = {**os.environ, "NODE_RANK": str(rank), "LOCAL_RANK": "0", "WORLD_SIZE": "2"}
        env |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "PYTHONPATH": str(ROOT)}
        running.append(subprocess.Popen([PYTHON, str(HERE / "on_cpus.py"), str(file), str(reports)], env=env, cwd=ROOT))
    assert [process.wait(300) for process in running] == [0, 0]
    return [Report(item["epoch"], item["metrics"], _checkpoint(item)) for item in json.loads(reports.read_text())]


def _checkpoint(item: dict[str, Any]) -> Any:
    from orchestrator.training import Checkpoint

    return Checkpoint(**item["checkpoint"])


@pytest.mark.parametrize(
    ("runtime", "changed", "said"),
    [
        ("rehearsal-spmd", {"devices": 8}, "planned 8 XLA devices of CPU, 4 of them its own"),
        ("rehearsal-spmd", {"device_type": "TPU"}, "found 4 of CPU"),
        ("xla-spmd", {}, "planned 4 XLA devices of TPU"),
    ],
)
def test_other_devices_than_planned_are_refused(
    runtime: str, changed: dict[str, Any], said: str, tmp_path: Path
) -> None:
    process = replace(planned("v5e-4", runtime)[0], **changed)
    gang = WorkerGroup([LocalHost("127.0.0.1")])
    gang.start([process], job(tmp_path, **LITMODEL), [str(ROOT)])
    try:
        until = time.monotonic() + 120
        while (outcome := gang.next_outcome()) is None and time.monotonic() < until:
            time.sleep(0.05)
    finally:
        gang.end()
    assert isinstance(outcome, Refused), outcome
    assert said in outcome.message
    assert "found" in outcome.message


@pytest.mark.parametrize("name", ["v2-32", "v3-32", "v4-8", "v4-16", "v5e-4", "v5e-16", "v5p-16", "v6e-16", "v6e-256"])
def test_the_planned_environment_is_what_torch_xla_makes_of_the_slice(name: str) -> None:
    wanted = slice_of(name)
    hosts = [f"10.0.0.{number}" for number in range(wanted.hosts)]
    processes = plan_env(wanted, hosts, "xla-mp")
    some = processes[:: max(1, len(processes) // 16)]
    cases = [
        {"env": _platform(wanted, hosts, p.host), "local_rank": p.local_rank, "count": wanted.chips_a_host}
        for p in some
    ]
    answer = subprocess.run(
        [PYTHON, str(HERE / "topology.py")], input=json.dumps(cases), capture_output=True, text=True, check=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("TPU")}, timeout=120,
    )  # fmt: skip
    for process, found in zip(some, json.loads(answer.stdout), strict=True):
        made = {name: value for name, value in found.items() if name not in _platform(wanted, hosts, process.host)}
        assert made, "torch_xla made nothing of it"
        assert made.items() <= process.env.items(), process


def _platform(wanted: Slice, hosts: list[str], host: int) -> dict[str, str]:
    """What GKE sets on a host."""
    return {
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_ACCELERATOR_TYPE": wanted.accelerator_type,
        "TPU_HOST_BOUNDS": ",".join(map(str, wanted.host_bounds)),
        "TPU_CHIPS_PER_HOST_BOUNDS": ",".join(map(str, wanted.chip_bounds)),
        "TPU_WORKER_ID": str(host),
        "TPU_WORKER_HOSTNAMES": ",".join(hosts),
    }
