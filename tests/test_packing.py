"""`resources.gpus: auto`: as many trials share a GPU as its memory has room for.

No GPU is here. Ray is told of one, and `tests.support.gpu_stand_in` says what a trial takes of it; all else is real.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cluster.manifests.kuberay import Kubernetes, kuberay
from orchestrator.cluster.manifests.slurm import Allocation, slurm
from orchestrator.engine.tune import placement
from orchestrator.errors import SpecError, UsageError
from orchestrator.plan import gpu_sharing, settle
from orchestrator.plan.core_sharing import cores_of_a_trial
from orchestrator.plan.gpu_sharing import share
from orchestrator.spec import Resources, SweepSpec, load
from orchestrator.sweep import launch
from orchestrator.training import Measured
from tests.support.one_host_cluster import one_host
from tests.support.small_sweeps import spec

GB = 10**9
AUTO: dict[str, Any] = {
    "resources": {"cpus": 0.5, "gpus": "auto"},
    "trainer": {"max_epochs": 2, "accelerator": "cpu"},
    "scheduler": "fifo",
    "budget": {"trials": 4},
}


def taken(device: float, *, of: float = 80, host: float = 2) -> Measured:
    return Measured(1.0, int(host * GB), int(device * GB), int(of * GB), 1, 20)


@pytest.mark.parametrize(
    ("measured", "memory", "together"),
    [
        (taken(9), 64 * GB, 8),
        (taken(8.9), 64 * GB, 8),
        (taken(9.1), 64 * GB, 7),
        (taken(36), 64 * GB, 2),
        (taken(36.1), 64 * GB, 1),
        (taken(100), 64 * GB, 1),
        (taken(9, host=10), 64 * GB, 6),
        (taken(9, host=100), 64 * GB, 1),
        (taken(0.01), 64 * GB, 32),
        (taken(0.01), 6400 * GB, 100),
    ],
)
def test_as_many_share_a_gpu_as_fit_into_nine_tenths_of_it_and_into_the_hosts_memory(
    measured: Measured, memory: int, together: int
) -> None:
    found = share(measured, memory)
    assert int(1 / found) == together
    assert found * together <= 1
    assert round(found * 10_000) == pytest.approx(found * 10_000), "Ray counts in ten thousandths"


def test_what_uses_no_gpu_gets_none() -> None:
    assert share(taken(0, of=0), 64 * GB) == 0


def test_a_number_stays_as_it_is() -> None:
    asked = spec(resources={"gpus": 0.3})
    assert settle(asked, address="nobody:1") is asked


def test_a_machine_without_a_gpu_trains_on_its_cpus(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_sharing, "gpu_count", lambda: 0)
    ended = launch(spec(**AUTO), tmp_path, local=True)
    assert ended.exit_code == 0
    assert ended.state.created["spec"]["resources"]["gpus"] == 0
    assert "resources.gpus: auto: 0 here: this machine has no GPU" in capsys.readouterr().err
    assert load(ended.run.spec).resources.gpus == 0


def test_a_budget_of_gpu_hours_wants_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_sharing, "gpu_count", lambda: 0)
    with pytest.raises(SpecError, match="a trial gets no GPU"):
        launch(spec(**{**AUTO, "budget": {"trials": 4, "gpu_hours": 1}}), tmp_path, local=True)
    assert not (tmp_path / "tiny").exists()


@pytest.mark.parametrize(
    ("fields", "where"), [({"resources": {"gpus": "auto", "workers": 2}}, {}), ({}, {"local": True})]
)
def test_a_trial_that_shares_with_nobody_gets_a_whole_one_unmeasured(
    fields: dict[str, Any], where: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu_sharing, "gpu_count", lambda: 4)
    monkeypatch.setattr(gpu_sharing, "largest", None)
    assert settle(spec(**{**AUTO, **fields}), **where).resources.gpus == 1


@pytest.mark.parametrize(
    ("fields", "machine", "cores"),
    [
        ({}, (2, 0, 16), 1),
        ({"budget": {"trials": 1}}, (2, 0, 16), 2),
        ({"budget": {"trials": 64}}, (64, 0, 512), 4),  # a fourth of the trials at once
        ({"budget": {"trials": 64}}, (6, 0, 512), 1),
        ({"budget": {"trials": 64}}, (6, 0, 4), 2),  # a GB of memory for each of at most four
        ({"budget": {"trials": 64}, "resources": {"concurrent": 2}}, (16, 0, 64), 8),
        ({"budget": {"trials": 64}, "resources": {"workers": 2}}, (16, 0, 64), 1),
        ({"budget": {"trials": 64}}, (16, 0.5, 64), 8),  # two share the only GPU
        ({"budget": {"trials": 64}}, (1, 0.5, 64), 1),
    ],
)
def test_auto_shares_out_the_cores(fields: dict[str, Any], machine: tuple[int, float, int], cores: int) -> None:
    has, gpus, memory = machine
    wanted = spec(**{"budget": {"trials": 4}, "space": {"model.pause": {"uniform": [0, 1]}}, **fields})
    assert wanted.resources.is_fitted
    assert cores_of_a_trial(wanted, gpus, cores=has, devices=1, memory=memory * GB) == cores


@pytest.mark.parametrize("written", ["auto", {}, {"concurrent": 2}, {"price": 2.5}, {"workers": 2}])
def test_resources_are_fitted_unless_a_device_is_named(written: Any) -> None:
    wanted = spec(resources=written)
    assert (wanted.resources.cpus, wanted.resources.gpus) == ("auto", "auto")
    assert (wanted.resources.cpu_count, wanted.resources.gpu_count, wanted.resources.gpus_of(3)) == (1, 0, 0)
    assert spec(resources=wanted.resources.model_dump()).resources == wanted.resources
    assert (spec(resources={"gpus": 1}).resources.cpus, spec(resources={"cpus": 2}).resources.gpus) == (1, 0)


def test_auto_is_settled_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(gpu_sharing, "gpu_count", lambda: 0)
    monkeypatch.setattr(gpu_sharing, "cpu_count", lambda: 3)
    wanted = spec(budget={"trials": 2}, space={"model.pause": {"uniform": [0, 1]}})
    fitted = settle(wanted, local=True)
    assert (fitted.resources.cpus, fitted.resources.gpus) == (2, 0)
    assert capsys.readouterr().err == "resources: auto: a trial gets 2 CPU cores here (3 cores, no GPU)\n"
    limited = spec(budget={"trials": 2, "gpu_hours": 1}, space={"model.pause": {"uniform": [0, 1]}})
    with pytest.raises(SpecError, match="a trial gets no GPU"):
        settle(limited)


def test_a_trial_that_trains_on_the_cpu_gets_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_sharing, "gpu_count", lambda: 4)
    monkeypatch.setattr(gpu_sharing, "largest", None)
    on_cpu = spec(trainer={"max_epochs": 1, "accelerator": "cpu"})
    assert settle(on_cpu).resources.gpus == 0
    on_cluster = settle(on_cpu, address="nobody:1").resources
    assert (on_cluster.cpus, on_cluster.gpus) == (1, 0)


def test_both_that_do_not_fit_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "gpu_count", lambda: 0)
    with pytest.raises(UsageError, match=r"needs 4 cpus, and this machine has 2 and 1 gpus, and .* has 0") as error:
        placement.local_slots(Resources(cpus=4, gpus=1), 2)
    assert "--set resources=auto" in error.value.hint


@pytest.mark.slow
def test_what_cannot_be_measured_gets_a_whole_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu_sharing, "gpu_count", lambda: 1)
    hopeless = {"class_path": "tests.support.tiny.TinyData", "init_args": {"batch_size": 0}}
    assert settle(spec(**AUTO, data=hopeless, space={})).resources.gpus == 1
    assert "a trial's resources cannot be measured; the large corner of the space" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("resources", "says"),
    [
        ({"gpus": "all"}, "expected a number or auto"),
        ({"gpus": 0.5, "workers": 2}, "each of several processes needs a GPU of its own"),
        ({"gpus": "auto", "tpu": "v5e-16"}, "auto is measured only if all trials run on GPUs"),
    ],
)
def test_what_cannot_be_meant_is_refused(resources: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError, match=says):
        spec(resources=resources)


def test_a_job_of_another_scheduler_asks_for_one_gpu_on_each_host() -> None:
    wanted = load("quickstart", ["resources.gpus=auto"])
    assert "#SBATCH --gpus-per-node=1\n" in slurm(wanted, Allocation("/mnt/sweeps", trials=8))
    assert "nvidia.com/gpu: '1'" in kuberay(wanted, Kubernetes("image", "claim", trials=8))


@pytest.mark.slow
@pytest.mark.ray
def test_trials_on_a_cluster_share_its_gpu(
    shared_address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def wanted(model: str) -> SweepSpec:
        return spec(**AUTO, model={"class_path": model, "init_args": {"pause": 0.05}})

    with pytest.raises(UsageError, match="a trial with a GPU of its own did not use it"):
        launch(wanted("tests.support.tiny.Tiny"), tmp_path / "plain", address=shared_address)
    ended = launch(wanted("tests.support.gpu_stand_in.Tiny"), tmp_path / "shared", address=shared_address)
    assert ended.exit_code == 0
    assert ended.state.created["spec"]["resources"]["gpus"] == 0.5
    assert ended.state.slots == 2, "its two CPUs would have room for four"
    assert "auto: 0.5 here, so that 2 trials share one: a trial takes 3.0 GB of its 8.0 GB" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.ray
def test_a_cluster_without_a_gpu_is_refused_unless_hosts_are_to_come(tmp_path: Path) -> None:
    with one_host(tmp_path) as there:
        with pytest.raises(
            UsageError, match=r"a trial needs 0\.5 cpus and 1 gpus, and none of the cluster's 1 hosts has that"
        ):
            launch(spec(**AUTO), tmp_path / "runs", address=there)
        calls = itertools.count(1)
        waited = spec(**{**AUTO, "resources": {**AUTO["resources"], "concurrent": 2}})
        assert settle(waited, address=there, until=lambda: next(calls) > 2) is waited
    assert not (tmp_path / "runs").exists()
