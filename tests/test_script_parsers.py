"""Every configuration's arguments are tried on a script's own parser, where the script calls it."""

from __future__ import annotations

from collections import UserList
from pathlib import Path
from typing import Any

import lightning as L
import pytest

from orchestrator.spec.command_line import Invocation
from orchestrator.training.doors.parser_probe import RefusedError, probing
from orchestrator.training.doors.script_run import invocation_of, run_script
from orchestrator.training.doors.trainer_takeover import without_bars
from orchestrator.training.job import Job

ARGPARSE = """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
parser.add_argument("--opt", choices=["adam", "sgd"])
parser.parse_args()
raise SystemExit(7)
"""
CLICK = """
import click
@click.command()
@click.option("--lr", type=float)
@click.option("--opt", type=click.Choice(["adam", "sgd"]))
def main(lr, opt):
    raise SystemExit(7)
main()
"""
TYPER = """
import enum, typer
class Opt(str, enum.Enum):
    adam = "adam"
    sgd = "sgd"
def main(lr: float = 0.1, opt: Opt = Opt.adam):
    raise SystemExit(7)
typer.run(main)
"""
JSONARGPARSE = """
from typing import Literal
import jsonargparse
def main(lr: float = 0.1, opt: Literal["adam", "sgd"] = "adam"):
    raise SystemExit(7)
jsonargparse.CLI(main)
"""
LIGHTNING = """
import lightning as L
from lightning.pytorch.cli import LightningCLI
from typing import Literal
class Net(L.LightningModule):
    def __init__(self, lr: float = 0.1, opt: Literal["adam", "sgd"] = "adam"):
        super().__init__()
class CLI(LightningCLI):
    def instantiate_classes(self):
        raise SystemExit(7)
CLI(Net, run=False)
"""
SCRIPTS = {"argparse": ARGPARSE, "click": CLICK, "typer": TYPER, "jsonargparse": JSONARGPARSE}


def tried(script: str, folder: Path, own: list[str], probes: list[list[str]]) -> BaseException:
    """Run a script that ends with code 7 once it has its arguments; return what ended it."""
    (folder / "script.py").write_text(script)
    with pytest.raises((RefusedError, SystemExit)) as raised, probing(probes):
        run_script(Invocation(str(folder / "script.py"), "", own))
    return raised.value


@pytest.mark.parametrize("kind", SCRIPTS)
@pytest.mark.parametrize(
    ("probe", "words"),
    [
        (["--lr=0.5", "--opt=sgd"], ""),
        (["--lr=half"], "lr"),
        (["--opt=adm"], "adm"),
        (["--rate=0.5"], "--rate"),
    ],
)
def test_a_parser_tries_all_configurations(kind: str, probe: list[str], words: str, tmp_path: Path) -> None:
    ended: Any = tried(SCRIPTS[kind], tmp_path, ["--lr=0.1"], [["--lr=0.2", "--opt=adam"], probe])
    if not words:
        assert (type(ended), ended.code) == (SystemExit, 7)
    else:
        assert ended.number == 1
        assert words in ended.said


@pytest.mark.parametrize(("probe", "words"), [("--model.lr=half", "half"), ("--model.rate=1", "rate")])
def test_lightning_cli_tries_all_configurations(probe: str, words: str, tmp_path: Path) -> None:
    ended: Any = tried(LIGHTNING, tmp_path, ["--model.lr=0.1"], [["--model.opt=sgd"], [probe]])
    assert ended.number == 1
    assert words in ended.said


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ([], ["lr=0.5", "hydra.run.dir='{folder}/files/outputs'"]),
        (["python", "${program}", "${args_no_hyphens}", "hydra.run.dir=x"], ["lr=0.5", "hydra.run.dir=x"]),
        (["python", "${program}", "-m", "${args_no_hyphens}"], ["-m", "lr=0.5"]),
    ],
)
def test_hydra_writes_into_the_trial_s_folder(
    command: list[str], words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "app.py").write_text("@hydra.main(config_path=None)\ndef main(cfg): ...")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "run/trials/0003"
    code = {"train": "", "program": str(tmp_path / "app.py"), "command": command, "args": {"lr": 0.5}}
    job = Job(trial=3, segment=0, seed=1, metric="loss", model=code, data=None, trainer={}, folder=str(folder))
    assert invocation_of(job, {}).words == [word.format(folder=folder) for word in words]


def test_callbacks_may_come_in_a_list_of_somebody_else_s() -> None:
    """Hydra passes OmegaConf's lists on."""
    own, bar = L.Callback(), L.pytorch.callbacks.TQDMProgressBar()
    assert without_bars(UserList([own, bar])) == [own]
    assert without_bars(own) == [own]
    assert without_bars(None) == []


def test_without_a_probe_parsers_are_as_they_were(tmp_path: Path) -> None:
    ended: Any = tried(ARGPARSE, tmp_path, ["--lr=0.1"], [])
    assert ended.code == 7
