"""Every shipped sweep file: it validates, and its system trains under a sweep on a few batches of data of its form."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from orchestrator.models import LitModel
from orchestrator.results import Results
from orchestrator.rundir import RunDirectory
from orchestrator.seeds import trial_seed
from orchestrator.spec import SweepSpec, apply, load, shipped
from orchestrator.sweep import launch
from orchestrator.training import class_loading, resolve_precision
from tests.support.few_images import FEW
from tests.support.mnist_files import write_mnist
from tests.support.paths import ROOT

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")


@pytest.fixture
def data_dir(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    """Where the named system finds its data."""
    if request.param == "cifar10":
        return Path(request.getfixturevalue("cifar10"))
    if "mnist" in request.param:
        write_mnist(tmp_path / "data", train=400, test=20)
        return tmp_path / "data"
    return None


SHIPPED = [
    pytest.param(name, name, marks=pytest.mark.slow if name in ("cifar10", "tiny_gpt") else ())
    for name in sorted(shipped())
]


@pytest.mark.parametrize("name", sorted(shipped()))
def test_every_shipped_file_validates(name: str) -> None:
    assert class_loading.check(load(name)) == []


@pytest.mark.parametrize(("name", "data_dir"), SHIPPED, indirect=["data_dir"])
def test_every_system_trains_under_a_sweep(name: str, data_dir: Path | None, tmp_path: Path) -> None:
    overrides = [*FEW, *([f"data.init_args.data_dir={data_dir}"] if data_dir else [])]
    if data_dir and "mnist" in name:
        overrides.append("data.init_args.val_size=100")
    outcome = launch(load(name, overrides), tmp_path / "runs", local=True)
    assert outcome.exit_code == 0
    assert outcome.state.count("failed") == 0
    best = Results(outcome.run).best()
    assert best.checkpoint is not None
    class_path = load(name).model.class_path
    module = getattr(__import__("orchestrator.models", fromlist=["_"]), class_path.rsplit(".", 1)[1])
    assert module.load_from_checkpoint(best.checkpoint).hparams


@pytest.mark.slow
def test_one_trial_is_a_plain_trainer_weight_for_weight(cifar10: Path, tmp_path: Path) -> None:
    few = ["trainer.limit_train_batches=12", "trainer.limit_val_batches=2", "trainer.max_epochs=2"]
    spec = one_trial(cifar10, *few)
    run = launch(spec, tmp_path, local=True).run
    assert_same(last_weights(run), plain_weights(spec, tmp_path))


@pytest.mark.slow
def test_one_trial_under_ray_on_all_of_cifar10_is_a_plain_trainer(cifar10: Path, tmp_path: Path) -> None:
    spec = one_trial(cifar10, "trainer.max_epochs=2")
    run = launch(spec, tmp_path).run
    assert_same(last_weights(run), plain_weights(spec, tmp_path))


def one_trial(cifar10: Path, *overrides: str) -> SweepSpec:
    fixed = ["budget.trials=1", "scheduler=fifo", f"data.init_args.data_dir={cifar10}", "space={}"]
    return load("cifar10", [*overrides, *fixed])


def plain_weights(spec: SweepSpec, folder: Path) -> dict[str, torch.Tensor]:
    """The reference: Lightning's Trainer, the same module, data and seed, nothing of ours between them."""
    model, data, trainer = apply(spec, {})
    assert data is not None
    L.seed_everything(trial_seed(spec.seed, 0), verbose=False)
    module = LitModel(**model.init_args)
    datamodule: Any = class_loading.build(data.model_dump())
    options = {**trainer, "precision": resolve_precision(trainer["precision"])}
    quiet: dict[str, Any] = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    L.Trainer(**options, **quiet, default_root_dir=folder).fit(module, datamodule)
    return module.state_dict()


def last_weights(run: RunDirectory) -> dict[str, torch.Tensor]:
    checkpoint = Results(run).state.trials[0].restart_checkpoints[0]
    weights: dict[str, torch.Tensor] = torch.load(run.resolve(checkpoint.path), weights_only=True)["state_dict"]
    return weights


def assert_same(ours: dict[str, torch.Tensor], reference: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == reference.keys()
    for name, tensor in reference.items():
        assert torch.equal(ours[name], tensor), name


@pytest.mark.slow
def test_quickstart(tmp_path: Path) -> None:
    """The issue's promise: 8 trials or more, one stopped early, 0.95 reached, and the checkpoint reloads."""
    command = [sys.executable, "-m", "orchestrator"]
    subprocess.run([*command, "launch", "quickstart"], cwd=tmp_path, check=True, timeout=280)
    told = subprocess.run(
        [*command, "results", "quickstart", "--json"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    rows = json.loads(told.stdout)
    assert len(rows) >= 8
    assert any(row["status"] == "stopped" for row in rows)
    assert rows[0]["best"] >= 0.95
    LitModel.load_from_checkpoint(rows[0]["checkpoint"])
