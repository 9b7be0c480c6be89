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
from conftest import ROOT
from test_data import write_mnist

from orchestrator.models import LitModel
from orchestrator.results import Results
from orchestrator.seeds import trial_seed
from orchestrator.spec import apply, load, shipped
from orchestrator.sweep import launch
from orchestrator.training import components, resolve_precision

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")

FEW = ["trainer.limit_train_batches=3", "trainer.limit_val_batches=2", "trainer.max_epochs=2", "budget.trials=2"]


@pytest.fixture(scope="session")
def cifar10(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Path:
    """The official CIFAR-10 files."""
    folder = tmp_path_factory.mktemp("cifar10")
    subprocess.run([sys.executable, str(shared / "data" / "unpack_cifar10.py"), str(folder)], check=True)
    return folder


@pytest.fixture
def data_dir(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    """Where the named system finds its data."""
    if request.param == "cifar10":
        return Path(request.getfixturevalue("cifar10"))
    if "mnist" in request.param:
        write_mnist(tmp_path / "data", train=400, test=20)
        return tmp_path / "data"
    return None


@pytest.mark.parametrize("name", sorted(shipped()))
def test_every_shipped_file_validates(name: str) -> None:
    assert components.check(load(name)) == []


@pytest.mark.parametrize(("name", "data_dir"), [(name, name) for name in sorted(shipped())], indirect=["data_dir"])
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


def test_one_trial_is_a_plain_trainer_weight_for_weight(cifar10: Path, tmp_path: Path) -> None:
    """The reference: Lightning's Trainer, the same module, data and seed, nothing of ours between them."""
    few = ["trainer.limit_train_batches=12", "trainer.limit_val_batches=2", "trainer.max_epochs=2", "budget.trials=1"]
    overrides = [*few, "scheduler=fifo", f"data.init_args.data_dir={cifar10}", "space={}"]
    spec = load("cifar10", overrides)
    swept = Results(launch(spec, tmp_path, local=True).run)

    model, data, trainer = apply(spec, {})
    assert data is not None
    L.seed_everything(trial_seed(spec.seed, 0), verbose=False)
    reference = LitModel(**model.init_args)
    datamodule: Any = components.build(data.model_dump())
    options = {**trainer, "precision": resolve_precision(trainer["precision"])}
    plain = L.Trainer(
        **options,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    plain.fit(reference, datamodule)

    last = max(swept.state.trials[0].checkpoints.values(), key=lambda checkpoint: checkpoint.epoch)
    weights = torch.load(swept.run.resolve(last.path), weights_only=True)["state_dict"]
    assert weights.keys() == reference.state_dict().keys()
    for name, tensor in reference.state_dict().items():
        assert torch.equal(weights[name], tensor), name


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
