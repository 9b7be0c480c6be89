"""A script as it stands: its command line, the Trainer that it makes, W&B, and a kill at any moment."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.engine.segment_runner import attempt
from orchestrator.errors import SpecError
from orchestrator.journal import read
from orchestrator.rundir import RunDirectory
from orchestrator.spec import SweepSpec, from_mapping
from orchestrator.spec.command_line import invocation
from orchestrator.sweep import launch, resume
from orchestrator.training import Job
from orchestrator.training.doors.code_checks import check_code
from tests.support.paths import ROOT
from tests.support.segment_reports import reports_of

PROGRAMS = ROOT / "tests/support/programs"


def code(program: str = "train.py", command: list[str] | None = None, **args: Any) -> dict[str, Any]:
    return {"train": "", "program": program, "command": command or [], "args": args}


def spec(program: str, **fields: Any) -> SweepSpec:
    base: dict[str, Any] = {
        "name": "script",
        "seed": 3,
        "program": str(PROGRAMS / program),
        "objective": {"metric": "val/loss", "mode": "min"},
        "space": {"learning-rate": {"log_uniform": [1e-3, 1e-1]}},
        "scheduler": "fifo",
        "budget": {"trials": 2},
    }
    return from_mapping({**base, **fields})


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (None, ["--lr=0.1", "--deep.on=True", '--list=[1, 2]', "--none=null"]),
        (["python", "-u", "${program}", "fit", "${args_no_boolean_flags}"],
         ["fit", "--lr=0.1", "--deep.on", "--list=[1, 2]", "--none=null"]),
        (["${env}", "A=b", "${interpreter}", "${program}", "${args_no_hyphens}"],
         ["lr=0.1", "deep.on=True", "list=[1, 2]", "none=null"]),
        (["python3", "${program}", "--json", "${args_json}"],
         ["--json", json.dumps({"lr": 0.1, "deep": {"on": True}, "list": [1, 2], "none": None})]),
        (["python", "-m", "pkg.train", "--seed", "${seed}"], ["--seed", "7"]),
        (["python", "${program}", "${lr}", "--on=${deep.on}", "${args}"],
         ["0.1", "--on=True", "--list=[1, 2]", "--none=null"]),
    ],
)  # fmt: skip
def test_a_command_is_that_of_a_wandb_sweep(command: list[str] | None, words: list[str]) -> None:
    found = invocation(code(command=command, lr=0.1, deep={"on": True}, list=[1, 2], none=None), {"seed": "7"})
    assert found.words == words
    assert (found.program, found.module) == (("", "pkg.train") if "-m" in (command or ()) else ("train.py", ""))


def test_a_parameter_may_be_a_word_or_a_variable_of_the_environment() -> None:
    found = invocation(code(command=["LR=${lr}", "python", "${program}", "${width}"], lr=0.1, width=8), {})
    assert (found.environment, found.words) == ({"LR": "0.1"}, ["8"])
    by_name = ["python", "${program}", "${learning-rate}"]
    assert spec("argparse_trainer.py", command=by_name).command == by_name


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["torchrun", "${program}", "${args}"], "the command starts 'torchrun', not Python"),
        (["python", "${program}"], "learning-rate would not reach the script"),
        (["python", "${program}", "${learning_rate}"], "which nothing replaces"),
        (["python", "${program}", "${arguments}"], "which nothing replaces"),
        (["python", "-c", "print()", "${args}"], "-c"),
        (["python", "-m"], "no module after -m"),
    ],
)
def test_a_command_that_cannot_run_a_trial_is_refused(command: list[str], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        spec("argparse_trainer.py", command=command)


def test_a_script_that_is_not_there_or_has_a_syntax_error_is_refused(tmp_path: Path) -> None:
    assert "there is no script" in str(check_code(spec("missing.py"))[0])
    (tmp_path / "broken.py").write_text("def main(:\n")
    assert "broken.py:1" in str(check_code(spec(str(tmp_path / "broken.py")))[0])


def job_of(program: Path, folder: Path, metric: str, required: list[str] | None = None) -> Job:
    return Job(
        trial=0, segment=0, seed=1, metric=metric, model=code(str(program), rate=0.25),
        data=None, trainer={}, folder=str(folder / "run/trials/0000"), required=required or [],
    )  # fmt: skip


@pytest.mark.slow
def test_what_wandb_is_told_is_reported_and_its_config_has_the_parameters(tmp_path: Path) -> None:
    reports = reports_of(job_of(PROGRAMS / "wandb_loop.py", tmp_path, "loss"))
    assert [(each.epoch, each.metrics["loss"]) for each in reports] == [(1, 1.25), (2, 0.75), (3, 0.25 + 1 / 3)]
    assert not list(tmp_path.rglob("*wandb*"))


def test_a_file_that_a_script_saves_to_the_folder_of_its_wandb_run_is_the_trials(tmp_path: Path) -> None:
    """In the mode `disabled` W&B names a folder that does not exist, in one that all users share."""
    (tmp_path / "program.py").write_text(
        "import os, torch, wandb\nrun = wandb.init()\n"
        "torch.save({'w': 1}, os.path.join(wandb.run.dir, 'model.pt'))\nrun.log({'loss': run.config.rate})\n"
    )
    (report,) = reports_of(job_of(tmp_path / "program.py", tmp_path, "loss"))
    assert report.metrics["loss"] == 0.25
    (saved,) = (tmp_path / "run/trials/0000/files/wandb").rglob("model.pt")
    assert torch.load(saved, weights_only=True) == {"w": 1}


AGENT = """
import wandb
def train(config=None):
    with wandb.init(config=config):
        for epoch in range(2):
            wandb.log({"val": {"loss": wandb.config.rate / (epoch + 1)}, "epoch": epoch})
wandb.agent(wandb.sweep({"method": "random"}, project="p"), train, count=5)
"""
IN_PARTS = """
import argparse, wandb
run = wandb.init(config=argparse.Namespace(rate=9.0))
for epoch in range(2):
    run.log({"val.loss": run.config.rate / (epoch + 1)}, step=epoch)
    run.log({"accuracy": 0.5}, step=epoch)
"""
SUMMARY = """
import wandb
run = wandb.init()
run.log({"train": 3.0})
run.summary["val.loss"] = 0.25
"""
EVALUATED = """
import wandb
import lightning as L
from lightning.pytorch.loggers import WandbLogger
from tests.support.tiny import Tiny, TinyData
trainer = L.Trainer(max_epochs=2, logger=WandbLogger(), accelerator="cpu")
trainer.validate(Tiny(0.05), TinyData())
model = Tiny(0.05)
trainer.fit(model, TinyData())
trainer.validate(model, TinyData())
wandb.log({"val_loss": 0.0})
"""
TESTED = """
import wandb
import lightning as L
from lightning.pytorch.loggers import WandbLogger
from tests.support.tiny import Tiny, TinyData
L.Trainer(max_epochs=2, logger=WandbLogger(), accelerator="cpu").fit(Tiny(0.05), TinyData())
wandb.log({"test/score": 0.75})
"""
BOARD = """
from tensorboardX import SummaryWriter
writer = SummaryWriter("runs/mine")
for epoch in range(2):
    writer.add_scalar("train/loss", 1.0, epoch)
    writer.add_scalar("val/loss", 0.25 / (epoch + 1), epoch)
writer.close()
"""
MLFLOW = """
import sys
import warnings
warnings.simplefilter("ignore")
import mlflow
mlflow.set_tracking_uri("sqlite:///" + sys.argv[0] + ".db")
mlflow.set_experiment(experiment_id=mlflow.create_experiment("e", artifact_location=sys.argv[0] + ".files"))
with mlflow.start_run():
    for epoch in range(2):
        mlflow.log_metric("train", 1.0, step=epoch)
        mlflow.log_metrics({"val_loss": 0.25 / (epoch + 1)}, step=epoch)
"""
FABRIC = """
from lightning.fabric import Fabric
fabric = Fabric(accelerator="cpu", devices=1)
for epoch in range(2):
    fabric.log("train", 1.0)
    fabric.log_dict({"val_loss": 0.25 / (epoch + 1)}, step=epoch)
"""
AFTER_FIT = """
import lightning as L
from tests.support.tiny import Tiny, TinyData
class Tested(Tiny):
    def test_step(self, batch, index):
        self.log("test_score", 0.75)
trainer = L.Trainer(max_epochs=1, accelerator="cpu")
model = Tested(0.05)
trainer.fit(model, TinyData())
data = TinyData()
data.setup("test")
trainer.test(model, data.val_dataloader())
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "metric", "required", "values"),
    [
        (AGENT, "val.loss", [], [0.25, 0.125]),
        (IN_PARTS, "val.loss", ["accuracy"], [0.25, 0.125]),
        (SUMMARY, "val.loss", [], [0.25]),
        (EVALUATED, "val_loss", [], None),  # a Trainer's validations in fit alone are reports
        (TESTED, "test/score", [], [0.75]),
        (BOARD, "val/loss", [], [0.25, 0.125]),
        (MLFLOW, "val_loss", [], [0.25, 0.125]),
        (FABRIC, "val_loss", [], [0.25, 0.125]),
        (AFTER_FIT, "test_score", [], [0.75]),
    ],
    ids=["agent", "in parts", "summary", "evaluated", "tested", "board", "mlflow", "fabric", "after fit"],
)
def test_a_script_is_judged_by_what_it_logs_wherever_it_logs_it(
    text: str, metric: str, required: list[str], values: list[float] | None, tmp_path: Path
) -> None:
    (tmp_path / "program.py").write_text(text)
    reports = reports_of(job_of(tmp_path / "program.py", tmp_path, metric, required))
    assert [each.epoch for each in reports] == list(range(1, 1 + len(values or [0, 0])))
    assert all({metric, *required} <= each.metrics.keys() for each in reports)
    assert not (ROOT / "runs/mine").exists()
    if values is None:
        assert all(each.metrics[metric] > 0 and each.checkpoint for each in reports)
    else:
        assert [each.metrics[metric] for each in reports] == values


@pytest.mark.slow
def test_a_script_that_is_killed_and_resumed_equals_an_unbroken_one(tmp_path: Path) -> None:
    args = {"kill": str(tmp_path / "mark")}
    program = (
        "from tests.test_script_door import *\n"
        f"launch(spec('argparse_trainer.py', args={args!r}), {str(tmp_path / 'killed')!r}, local=True, preflight=False)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == -9
    killed = resume("script", tmp_path / "killed", local=True).run
    whole = launch(spec("argparse_trainer.py"), tmp_path / "whole", local=True, preflight=False).run
    assert final(killed) == final(whole)
    assert weights(killed).keys() == weights(whole).keys()
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(killed)[name]), name
    reports = [(event["trial"], event["epoch"]) for event in read(killed.journal) if event.type == "segment.reported"]
    assert len(reports) == len(set(reports)), "something finished was repeated"
    assert (killed.trial(0) / "files/checkpoints").is_dir()


def final(run: RunDirectory) -> list[Any]:
    return [
        (event["trial"], event["epoch"], event["metrics"]) for event in read(run.journal)
        if event.type == "segment.reported"
    ]  # fmt: skip


def weights(run: RunDirectory) -> dict[str, torch.Tensor]:
    """The weights of the checkpoint that the first trial has kept, that of its best report."""
    (kept,) = (run.trial(0) / "checkpoints").glob("*.ckpt")
    found: dict[str, torch.Tensor] = torch.load(kept, weights_only=True)["state_dict"]
    return found


def test_a_device_that_the_trial_lacks_is_named_with_the_way_out(tmp_path: Path) -> None:
    text = "import lightning as L\nL.Trainer(accelerator='mps', logger=False)\n"
    (tmp_path / "train.py").write_text(text)
    job = Job(
        trial=0, segment=0, seed=1, metric="loss", model=code(str(tmp_path / "train.py")), data=None, trainer={},
        folder=str(tmp_path / "run/trials/0000"),
    )  # fmt: skip
    failure = attempt(job, lambda report: True)
    assert failure is not None
    assert "asks for accelerator='mps', and the trial has none" in failure.message
    assert "`trainer: {accelerator: auto}` in the sweep file" in failure.message
