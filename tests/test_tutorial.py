"""docs/tutorial.md, run as a script: each file, command and snippet of the page in its order, on fewer epochs."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import cli, load_results
from orchestrator.bundle import load_bundle
from orchestrator.results.verify import check
from orchestrator.safe_text import show
from orchestrator.spec import load
from orchestrator.training import class_loading
from tests.support.doc_blocks import Block, blocks_of, words
from tests.support.paths import ROOT

pytestmark = [pytest.mark.filterwarnings("ignore::UserWarning:lightning"), pytest.mark.timeout(600)]

PAGE = "docs/tutorial.md"
EXAMPLE = ROOT / "docs/examples/tutorial"
BLOCKS = list(blocks_of(ROOT / PAGE, ROOT))
# What makes it fit for a test: no Ray, and few steps. The commands are the page's otherwise.
SMALL = {
    "launch": [
        *("--local", "--set", "budget.trials=6", "--set", "trainer.max_epochs=2"),
        *("--set", "trainer.limit_train_batches=6", "--set", "trainer.limit_val_batches=2"),
        *("--set", "trainer.callbacks=[{class_path: orchestrator.training.ImagePredictionLogger}]"),
    ],
    "confirm": ["--local", "--top", "1", "--trials", "3"],
}


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = Path(shutil.copytree(EXAMPLE, tmp_path / "reader", ignore=shutil.ignore_patterns("__pycache__")))
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SWEEP_RUNS", "runs")
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield folder
    sys.modules.pop("lit", None)


def run(command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What a command of the page prints."""
    parts = words(command)
    monkeypatch.setattr(sys, "argv", [*parts, *SMALL.get(parts[1], [])])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    assert ended.value.code in (0, None), (command, err)
    return out


def is_code_of_the_example(block: Block) -> bool:
    return block.text.startswith(" ")


@pytest.mark.slow
def test_the_whole_page(reader: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    said: dict[str, str] = {}
    told: dict[str, Any] = {}
    for block in BLOCKS:
        if block.language == "python" and not is_code_of_the_example(block):
            exec(compile(block.text, block.page, "exec"), told)
        for command in block.commands():
            if command.startswith("sweep") and "cifar10" not in command:
                said[command] = run(command, monkeypatch, capsys)
    plan = next(block for block in BLOCKS if "$ sweep plan" in block.text)
    assert said["sweep plan digits.yaml"] in plan.text
    found = load_results("tutorial")
    assert len(found.state.trials) == 6
    assert found.best().value > 0.15, "it has learned something"
    assert told["best"]["trial"] == found.trials.iloc[0]["trial"]
    assert list((reader / "runs/tutorial/trials/0000/logs").rglob("epoch=0001.png"))
    assert check(found.run).violations == []
    assert re.search(r"^winner: the parameters of trial \d+", said["sweep confirm tutorial --trials 9"], re.M)
    look = show(found.state.test_evaluations[0]["metrics"]["test_acc"])
    assert f"test_acc: {look}" in said["sweep test tutorial"]
    assert [len(said[command]) > 40 for command in said if "why" in command] == [True, True]
    bundle = load_bundle(reader / "digits")
    assert not bundle.manifest.missing
    predicted = [line.split(": ")[1].split()[0] for line in said["sweep predict digits pictures"].splitlines()[:4]]
    assert predicted == [answer.label for answer in bundle.predict(sorted((reader / "pictures").iterdir()))]
    assert json.loads((reader / "digits/preprocessing.json").read_text())["input"]["mean"] == [0.5, 0.5, 0.5]


def test_the_page_shows_its_files_as_they_are() -> None:
    module, sweep = (EXAMPLE / "lit.py").read_text(), (EXAMPLE / "digits.yaml").read_text()
    shown = [block.text for block in BLOCKS if block.language == "python" and is_code_of_the_example(block)]
    assert len(shown) == 2
    assert all(text in module for text in shown)
    whole, tracking = (block.text for block in BLOCKS if block.language == "yaml")
    assert whole == sweep.partition("\n")[2]
    assert tracking in (EXAMPLE / "cifar10.yaml").read_text()


def test_the_network_is_the_tutorial_s(reader: Path) -> None:
    """Layer by layer that of the shipped LitModel, which is held to the tutorial's."""
    from orchestrator.models import LitModel

    spec = load(reader / "cifar10.yaml")
    assert class_loading.check(spec) == []
    assert class_loading.check(load(reader / "digits.yaml")) == []
    theirs = class_loading.build(spec.model.model_dump())
    ours = LitModel((3, 32, 32), 10)
    assert [tuple(part.shape) for part in theirs.parameters()] == [tuple(part.shape) for part in ours.parameters()]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_same_on_cifar10(
    cifar10: Path, reader: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(SMALL, "launch", ["--local", "--set", f"data.init_args.data_dir={cifar10}"])
    (line,) = (line for block in BLOCKS for line in block.commands() if "cifar10.yaml --set" in line)
    few = line.replace("max_epochs=3", "max_epochs=1").replace("budget.trials=4", "budget.trials=1")
    assert few != line
    assert "finished" in run(few, monkeypatch, capsys)
    assert load_results("tutorial-cifar10").best().value > 0.2
