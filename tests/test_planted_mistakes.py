"""Realistic mistakes in scripts and functions: each is found before the first trial, with the fix in its hint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import SpecError
from orchestrator.spec import from_mapping
from orchestrator.sweep import launch
from orchestrator.training.doors.code_checks import check_code

SCRIPT = """\
import argparse
import lightning as L
import torch
from torch.utils.data import DataLoader, TensorDataset


class Net(L.LightningModule):
    def __init__(self, lr):
        super().__init__()
        self.lr, self.net = lr, torch.nn.Linear(2, 1)

    def step(self, batch, name):
        loss = self.net(batch[0]).square().mean()
        self.log(name, loss)
        return loss

    def training_step(self, batch, index):
        return self.step(batch, "train_loss")

    def validation_step(self, batch, index):
        self.step(batch, "val_loss")

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)


parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--opt", choices=["adam", "sgd"], default="sgd")
parser.add_argument("--amp", action="store_true")
args = parser.parse_args()
loader = DataLoader(TensorDataset(torch.randn(8, 2)), batch_size=4)
trainer = L.Trainer(max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False)
trainer.fit(Net(args.lr), loader, loader)
"""
FUNCTION = """\
import orchestrator


def main(lr: float, epochs: int = 2):
    for epoch in range(epochs):
        orchestrator.report(step=epoch + 1, loss=lr)
"""
PRINTS = """\
import sys

for epoch in range(2):
    print("val_loss", sys.argv[1:])
"""
BASE: dict[str, Any] = {
    "name": "planted", "program": "train.py", "objective": {"metric": "val_loss", "mode": "min"},
    "space": {"lr": {"uniform": [0.1, 0.2]}}, "budget": {"trials": 2}, "scheduler": "fifo",
}  # fmt: skip
AS_FUNCTION: dict[str, Any] = {"program": None, "train": "train:main", "objective": {"metric": "loss", "mode": "min"}}


def problems(folder: Path, text: str, fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> str:
    """What is said of a sweep in a folder with this ``train.py``, before anything is started."""
    (folder / "train.py").write_text(text)
    monkeypatch.chdir(folder)
    merged = {name: value for name, value in {**BASE, **fields}.items() if value is not None}
    try:
        found = check_code(from_mapping(merged))
    except SpecError as error:
        found = list(error.problems)
    return "\n".join(f"{problem.message} | {problem.hint}" for problem in found)


@pytest.mark.parametrize(
    ("text", "fields", "words", "fix"),
    [
        (SCRIPT, {"program": "trian.py"}, "no script 'trian.py'", "the path counts from"),
        (SCRIPT.replace("):", ")", 1), {}, "train.py", "correct the script"),
        (SCRIPT, {"command": ["torchrun", "${program}", "${args}"]}, "'torchrun', not Python", "[python, train.py"),
        (SCRIPT, {"command": ["python", "${program}", "--amp"]}, "no ${args}", "add ${args}"),
        (FUNCTION, {**AS_FUNCTION, "space": {"learning_rate": {"uniform": [0, 1]}}}, "'learning_rate'", "it takes lr"),
        (FUNCTION, {**AS_FUNCTION, "args": {"epochs": "two"}}, "`epochs` must be int", "of type int"),
        (FUNCTION, {**AS_FUNCTION, "train": "train:mian"}, "no 'mian'", "did you mean train.main?"),
    ],
    ids=["path", "syntax", "torchrun", "no args", "unknown argument", "type", "function"],
)
def test_a_mistake_is_found_without_running_the_code(
    text: str, fields: dict[str, Any], words: str, fix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = problems(tmp_path, text, fields, monkeypatch)
    assert words in said
    assert fix in said.partition("|")[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "fields", "words", "fix"),
    [
        (SCRIPT, {"space": {"learning-rate": {"uniform": [0.1, 1]}}}, "--learning-rate", "it takes amp, lr, opt"),
        (
            SCRIPT,
            {"space": {"opt": {"choice": ["sgd", "adamw"]}}},
            "invalid choice: 'adamw'",
            "see the script's --help",
        ),
        (SCRIPT, {"args": {"amp": True}}, "--amp", "${args_no_boolean_flags}"),
        (SCRIPT, {"objective": {"metric": "val_acc", "mode": "max"}}, "never reported 'val_acc': it logs", "log it in"),
        (f"{SCRIPT}print(trainer.callback_metrics['test_loss'])\n", {}, "KeyError: 'test_loss'", "correct the code"),
        (f"{SCRIPT}trainer.fit(Net(0.1), loader)\n", {}, "fits a second Trainer", "fit once"),
        (f"{SCRIPT}import sys\nsys.exit(1.5)\n", {}, "SystemExit: 1.5", "call main() without it"),
        (SCRIPT.replace("parser.parse_args()", "parser.parse_args([])"), {}, "lr would change nothing", "let it read"),
        (SCRIPT.replace('"--lr"', '"lr"'), {}, "are required: lr", "${lr}, ${args}]"),
        (f"import sys\nfloat(sys.argv[1])\n{SCRIPT}", {}, "an option for a value", "${lr}, ${args}]"),
        (f"import os\nfloat(os.environ['LR'])\n{SCRIPT}", {}, "has no LR", "[LR=${lr}, python"),
        (f"get_ipython().magic('matplotlib')\n{SCRIPT}", {}, "'get_ipython' is not defined", "lines of a notebook"),
        (f"{SCRIPT}trainer.tune(Net(0.1))\n", {}, "Trainer.tune is of an earlier Lightning", "correct the code"),
        (PRINTS, {}, "never reported 'val_loss'", "orchestrator.report(val_loss=…)"),
        (FUNCTION.replace("epoch + 1", "1"), AS_FUNCTION, "after it was called", "step="),
    ],
    ids=[
        "unknown option",
        "choice",
        "flag",
        "objective",
        "after fit",
        "two Trainers",
        "sys.exit",
        "constants",
        "by place",
        "sys.argv",
        "environment",
        "notebook",
        "tune",
        "prints",
        "order",
    ],
)
def test_a_mistake_is_found_by_a_run_before_the_first_trial(
    text: str, fields: dict[str, Any], words: str, fix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "train.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("SWEEP_NO_PREFLIGHT", raising=False)
    monkeypatch.setattr("orchestrator.sweep.code_run._PATIENCE_SECONDS", 120.0)
    merged = {name: value for name, value in {**BASE, **fields}.items() if value is not None}
    with pytest.raises(SpecError) as raised:
        launch(from_mapping(merged), tmp_path / "runs", local=True)
    (problem,) = raised.value.problems
    assert words in problem.message
    assert fix in problem.hint
    assert not (tmp_path / "runs/planted/trials").exists()
