"""Every configuration's arguments are tried on a script's own parser, where the script calls it."""

from __future__ import annotations

from collections import UserList
from pathlib import Path
from typing import Any

import lightning as L
import pytest

from orchestrator.spec.command_line import Invocation
from orchestrator.training.doors.code_trial import two_reports
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
PARENTS = """
import argparse
first = argparse.ArgumentParser(add_help=False, fromfile_prefix_chars="@")
first.add_argument("--config", default="")
known, rest = first.parse_known_args()
def rate(text):
    if not 0 < float(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no rate")
    return float(text)
parser = argparse.ArgumentParser(parents=[first])
parser.add_argument("--lr", type=rate)
parser.add_argument("--opt", choices=["adam", "sgd"])
parser.add_argument("--amp", action=argparse.BooleanOptionalAction)
parser.add_argument("--layers", nargs="+", type=int)
parser.parse_args(rest)
raise SystemExit(7)
"""
SUBPARSERS = """
import argparse
parser = argparse.ArgumentParser()
inner = parser.add_subparsers(required=True).add_parser("train")
inner.add_argument("--lr", type=float)
inner.add_argument("--opt", choices=["adam", "sgd"])
parser.parse_args()
raise SystemExit(7)
"""
CLICK_GROUPS = """
import click
@click.group()
@click.option("--verbose", is_flag=True)
def main(verbose): ...
@main.group()
def model(): ...
@model.command()
@click.option("--lr", type=float)
@click.option("--opt", type=click.Choice(["adam", "sgd"]))
def train(lr, opt):
    raise SystemExit(7)
main()
"""
TYPER_GROUPS = """
import enum, typer
class Opt(str, enum.Enum):
    adam = "adam"
    sgd = "sgd"
app, model = typer.Typer(), typer.Typer()
app.add_typer(model, name="model")
@app.command()
def other(): ...
@model.command()
def info(): ...
@model.command()
def train(lr: float = 0.1, opt: Opt = Opt.adam):
    raise SystemExit(7)
app()
"""
KNOWN = """
import argparse
parser = argparse.ArgumentParser(allow_abbrev=False)
parser.add_argument("--lr", type=float)
parser.parse_known_args()
raise SystemExit(7)
"""
DEEPER = {"a parser with parents": (PARENTS, []), "subparsers": (SUBPARSERS, ["train"]),
          "groups of click": (CLICK_GROUPS, ["model", "train"]),
          "groups of typer": (TYPER_GROUPS, ["model", "train"])}  # fmt: skip
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


@pytest.mark.parametrize("kind", DEEPER)
@pytest.mark.parametrize(
    ("probe", "words"), [("--lr=0.5", ""), ("--lr=half", "lr"), ("--opt=adm", "adm"), ("--rate=1", "--rate")]
)
def test_parsers_of_several_parts_try_all_configurations(kind: str, probe: str, words: str, tmp_path: Path) -> None:
    script, above = DEEPER[kind]
    ended: Any = tried(script, tmp_path, [*above, "--lr=0.1"], [[*above, "--lr=0.2"], [*above, probe]])
    if not words:
        assert (type(ended), ended.code) == (SystemExit, 7)
    else:
        assert ended.number == 1
        assert words in ended.said


@pytest.mark.parametrize(
    ("probe", "words"),
    [
        ("--lr=2", "2 is no rate"),
        ("--no-amp", ""),
        ("--amp=True", "ignored explicit argument"),
        ("--layers=two", "two"),
    ],
)
def test_types_and_flags_of_argparse_are_those_of_the_script(probe: str, words: str, tmp_path: Path) -> None:
    ended: Any = tried(PARENTS, tmp_path, ["--lr=0.1", "--config=c"], [["--config=d"], ["--config=d", probe]])
    assert words in ended.said if words else ended.code == 7


def test_words_that_a_parser_passes_on_are_not_checked(tmp_path: Path) -> None:
    for script, expected in ((KNOWN, ["--rate=2"]), (ARGPARSE, []), ("raise SystemExit(7)", None)):
        (tmp_path / "script.py").write_text(script)
        words = ["--lr=0.2", *(["--rate=2"] if script == KNOWN else [])]
        with probing([words]) as unchecked, pytest.raises(SystemExit):
            run_script(Invocation(str(tmp_path / "script.py"), "", words))
        assert unchecked() == expected
    (tmp_path / "script.py").write_text(KNOWN)
    with pytest.raises(RefusedError, match="half"), probing([["--lr=half"]]):
        run_script(Invocation(str(tmp_path / "script.py"), "", ["--lr=0.1"]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("import argparse\nparser = argparse.ArgumentParser()\nparser.add_argument('--lr')\nparser.parse_known_args()",
         "the script's parser passes on what it does not know: rate; check the names"),
        ("import sys\nvalues = dict(word[2:].split('=') for word in sys.argv[1:])",
         "the script has called no parser that is known, so nobody has checked the names and values of lr, rate"),
    ],
)  # fmt: skip
def test_names_that_nobody_checks_are_said(text: str, note: str, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(f"{text}\nimport orchestrator\norchestrator.report(loss=1.0)\n")
    args = {"lr": 0.1, "rate": 2}
    code = {"train": "", "program": str(tmp_path / "script.py"), "command": [], "args": args}
    job = Job(trial=0, segment=0, seed=1, metric="loss", model=code, data=None, trainer={},
              folder=str(tmp_path / "run/trials/0000"))  # fmt: skip
    finding = two_reports(job, {}, lambda *_, **__: pytest.fail("the code fails"), probes=[args])
    assert finding.outcome == "passed"
    assert note in finding.notes


@pytest.mark.parametrize(("probe", "words"), [("--model.lr=half", "half"), ("--model.rate=1", "rate")])
def test_lightning_cli_tries_all_configurations(probe: str, words: str, tmp_path: Path) -> None:
    ended: Any = tried(LIGHTNING, tmp_path, ["--model.lr=0.1"], [["--model.opt=sgd"], [probe]])
    assert ended.number == 1
    assert words in ended.said


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ([], ["lr=0.5", "words='a,b'", "hydra.run.dir='{folder}/files/outputs'"]),
        (
            ["python", "${program}", "${args_no_hyphens}", "hydra.run.dir=x"],
            ["lr=0.5", "words='a,b'", "hydra.run.dir=x"],
        ),
        (["python", "${program}", "-m", "${args_no_hyphens}"], ["-m", "lr=0.5", "words='a,b'"]),
    ],
)
def test_hydra_writes_into_the_trial_s_folder(
    command: list[str], words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "app.py").write_text("import hydra\n@hydra.main(config_path=None)\ndef main(cfg): ...")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "run/trials/0003"
    code = {"train": "", "program": str(tmp_path / "app.py"), "command": command, "args": {"lr": 0.5, "words": "a,b"}}
    job = Job(trial=3, segment=0, seed=1, metric="loss", model=code, data=None, trainer={}, folder=str(folder))
    found = [word for word in invocation_of(job, {}).words if word != "hydra.mode=RUN"]  # where Hydra is installed
    assert found == [word.format(folder=folder) for word in words]


@pytest.mark.parametrize(
    ("text", "is_hydra"),
    [
        ("from hydra import initialize, main as entry\n@entry()\ndef train(cfg): ...", True),
        ("import hydra as hy\n@hy.main()\ndef train(cfg): ...", True),
        ("import hydra\nhydra.main()(print)", True),
        ("# no longer hydra.main\nimport argparse", False),
        ("from hydra import compose, initialize", False),
        ("def main(:", False),
    ],
)
def test_a_script_of_hydra_is_known_by_what_it_imports(text: str, is_hydra: bool, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(text)
    code = {"train": "", "program": str(tmp_path / "app.py"), "command": [], "args": {"lr": 0.5}}
    job = Job(trial=3, segment=0, seed=1, metric="loss", model=code, data=None, trainer={}, folder=str(tmp_path / "t"))
    assert invocation_of(job, {}).words[0] == ("lr=0.5" if is_hydra else "--lr=0.5")


def test_callbacks_may_come_in_a_list_of_somebody_else_s() -> None:
    """Hydra passes OmegaConf's lists on."""
    own, bar = L.Callback(), L.pytorch.callbacks.TQDMProgressBar()
    assert without_bars(UserList([own, bar])) == [own]
    assert without_bars(own) == [own]
    assert without_bars(None) == []


def test_without_a_probe_parsers_are_as_they_were(tmp_path: Path) -> None:
    ended: Any = tried(ARGPARSE, tmp_path, ["--lr=0.1"], [])
    assert ended.code == 7
