"""The winner of a script or a function with a Trainer inside: tested, exported, and loaded by its own class."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from orchestrator.bundle import load_bundle
from orchestrator.bundle.evaluation import validate
from orchestrator.errors import UsageError
from orchestrator.export import export
from orchestrator.spec import from_mapping
from orchestrator.spec.command_line import invocation
from orchestrator.sweep import launch
from orchestrator.sweep import test as on_test_set
from orchestrator.training.doors.code_capture import captured
from orchestrator.training.progress_meter import batch_size
from tests.support.paths import ROOT
from tests.support.small_sweeps import spec as described

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")

PROGRAMS = ROOT / "tests/support/programs"


def code(program: str = "datamodule_trainer.py", **args: Any) -> dict[str, Any]:
    path = str(PROGRAMS / program)
    return {"train": "", "program": path, "command": [], "args": args, "seed": 5, "trial": 2}


@dataclass(slots=True)
class Graphs:
    """A batch of graphs as libraries have it: three graphs with seven nodes, without a __dict__."""

    nodes: torch.Tensor
    size: int = 3

    def __len__(self) -> int:
        return self.size


class Batch(NamedTuple):
    graphs: Graphs
    targets: torch.Tensor


class Counted:
    num_graphs = 5


@pytest.mark.parametrize(
    ("batch", "size"),
    [
        (Batch(Graphs(torch.ones(7, 2)), torch.ones(3)), 3),
        ([Counted(), torch.ones(4)], 5),
        (({"x": torch.ones(6, 2)}, torch.ones(6)), 6),
        ((torch.ones(2), torch.ones(9)), 2),
    ],
)
def test_a_batch_of_objects_has_the_size_that_it_says(batch: Any, size: int) -> None:
    assert batch_size(batch) == size


def test_a_command_that_a_package_has_installed_is_python() -> None:
    found = invocation({"program": "", "command": ["pytest", "run", "${args}"], "args": {"lr": 1}}, {})
    assert "pytest" in found.function
    assert ":" in found.function
    assert found.words == ["run", "--lr=1"]
    for command in ("torchrun", "ray", "no-such-command"):
        with pytest.raises(ValueError, match="not Python"):
            invocation({"program": "", "command": [command, "${args}"], "args": {}}, {})


@pytest.mark.slow
def test_a_module_that_keeps_objects_is_tested_and_loaded_by_its_class(tmp_path: Path) -> None:
    parts = {"model": "tests.support.exportable.Keeps", "data": "tests.support.exportable.TestedData"}
    spec = described(**parts, trainer={"max_epochs": 1}, budget={"trials": 1}, space={})
    launch(spec, tmp_path, local=True)
    assert "test_loss" in on_test_set(spec.name, tmp_path, unconfirmed=True).metrics
    manifest = json.loads((export(spec.name, tmp_path, to=tmp_path / "bundle").folder / "MANIFEST.json").read_text())
    assert (manifest["load_from_checkpoint"], manifest["holds_code"]) == (True, ["lightning.ckpt"])
    kept = torch.load(tmp_path / "bundle/lightning.ckpt", weights_only=False)
    assert kept["hyper_parameters"]["loss"].beta == kept["their loss"].beta == 0.25


@pytest.mark.slow
def test_a_script_s_model_and_data_are_had_without_training(capsys: pytest.CaptureFixture[str]) -> None:
    argv = list(sys.argv)
    found = captured(code(width=6))
    assert found.module.net[0].out_features == 6
    assert len(found.data.test_dataloader().dataset) == 17
    assert found.module.hparams.args.width == 6
    loaders = captured(code("datamodule_trainer.py", width=3), "test")
    assert len(loaders.data.test_dataloader().dataset) == 17
    said = capsys.readouterr()
    assert "a line that no table needs" not in said.out + said.err
    assert sys.argv == argv
    with pytest.raises(UsageError, match="has not fitted a Trainer: SystemExit") as raised:
        captured(code(widht=6))
    assert "unrecognized arguments" in str(raised.value.hint)


def test_hyperparameters_of_classes_beside_a_script_are_those_of_that_script(tmp_path: Path) -> None:
    """Lightning's own checkpoint holds them; another script's modules of the same name are others."""
    for width in (3, 5):
        folder = tmp_path / str(width)
        folder.mkdir()
        (folder / "parts_beside.py").write_text(
            "import torch\nclass Net(torch.nn.Linear):\n"
            f"    def __init__(self):\n        super().__init__({width}, 1)\n"
        )
        (folder / "train.py").write_text(
            "import lightning as L\nfrom parts_beside import Net\nfrom tests.support.tiny import TinyData\n"
            "class Module(L.LightningModule):\n    def __init__(self, net):\n        super().__init__()\n"
            "        self.save_hyperparameters(logger=False)\n        self.net = net\n"
            "L.Trainer(accelerator='cpu', logger=False).fit(Module(Net()), TinyData())\n"
        )
        script = {**code(), "program": str(folder / "train.py")}
        found, again = captured(script), captured(script)
        assert type(found.module.net) is type(again.module.net)
        buffer = io.BytesIO()
        torch.save(dict(found.module.hparams), buffer)
        buffer.seek(0)
        assert torch.load(buffer, weights_only=False)["net"].in_features == width


@pytest.mark.slow
@pytest.mark.parametrize(
    "command", [["python", "${program}", "${args}"], ["python", "${program}", "--loaders", "${args}"]]
)
def test_a_script_s_winner_is_tested_and_exported(command: list[str], tmp_path: Path) -> None:
    spec = from_mapping({
        "name": "code", "seed": 3, "program": str(PROGRAMS / "datamodule_trainer.py"), "command": command,
        "objective": {"metric": "val/loss", "mode": "min"}, "space": {"lr": {"log_uniform": [1e-2, 1e-1]}},
        "scheduler": "fifo", "budget": {"trials": 2},
    })  # fmt: skip
    outcome = launch(spec, tmp_path, local=True, preflight=False)
    tested = on_test_set("code", tmp_path, unconfirmed=True)
    assert tested.metrics.keys() == {"test/loss"}
    folder = export("code", tmp_path, to=tmp_path / "bundle").folder
    manifest = json.loads((folder / "MANIFEST.json").read_text())
    assert manifest["missing"] == {}
    assert (manifest["load_from_checkpoint"], manifest["holds_code"]) == (True, ["lightning.ckpt"])
    kept = torch.load(folder / "lightning.ckpt", weights_only=False)["hyper_parameters"]
    best = outcome.state.trials[tested.winner.trial.number].params["lr"]
    assert (kept["args"].lr, type(kept["act"])) == (best, torch.nn.ReLU)
    loss = validate(load_bundle(folder).manifest)["val/loss"]
    assert loss == pytest.approx(tested.winner.best.value, abs=1e-6)
    weights = load_bundle(folder).module().state_dict()
    assert weights.keys() == torch.load(folder / "model.ckpt", weights_only=True)["state_dict"].keys()
