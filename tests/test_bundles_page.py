"""docs/bundles.md: its commands, its Python and its Triton configuration, on the model that it names."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from PIL import Image

from orchestrator import cli
from orchestrator.bundle import load_bundle
from orchestrator.bundle.bundle_manifest import CARD
from orchestrator.data import DigitsDataModule
from orchestrator.spec import load
from orchestrator.sweep import launch
from tests.support.page_blocks import blocks
from tests.support.paths import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::UserWarning:lightning")]

PAGE = "docs/bundles.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page's reader is: a sweep that has ended, some pictures, and the same in folders of their classes."""
    folder = tmp_path_factory.mktemp("reader")
    launch(load("quickstart", ["budget.trials=1", "trainer.max_epochs=1"]), folder / "runs", local=True)
    data = DigitsDataModule(image_size=20)
    data.setup("fit")
    images, labels = data._arrays("fit")
    for number in range(12):
        picture = Image.fromarray(images[number].numpy())
        for path in (folder / "pictures" / f"{number}.png", folder / "by_class" / str(int(labels[number])) / "a.png"):
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path)
    return folder


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """The reader's folder as the working directory, and the page's bundle in it."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SWEEP_RUNS", "runs")
    if not (folder / "digits").exists():
        run(blocks(PAGE, "console")[0].strip(), monkeypatch)
        assert capsys.readouterr().out == "digits\n"
    return folder


def run(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", shlex.split(line.removeprefix("$ ")))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code in (0, None), line


def test_the_commands_work(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line for block in blocks(PAGE, "console")[1:] for line in block.strip().splitlines()]
    assert len(lines) == 6
    for line in lines:
        run(line, monkeypatch)
        assert capsys.readouterr().out.strip(), line
    assert (here / "answers.png").exists()


def test_the_python_works_and_agrees(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = []
    for code in blocks(PAGE, "python"):
        said: dict[str, Any] = {}
        exec(code, said)
        answers.append(said["outputs"])
    first, plain, _ = answers
    assert abs(torch.as_tensor(first) - torch.as_tensor(plain)).max() < 1e-5
    label = load_bundle("digits").predict("pictures/0.png")[0].label
    assert capsys.readouterr().out.splitlines()[-1] == label


def test_triton_s_configuration_fits_the_model(here: Path) -> None:
    text = next(block for block in blocks(PAGE, "text") if "max_batch_size" in block)
    graph = onnx.load(here / "digits" / "model.onnx").graph
    assert 'backend: "onnxruntime"' in text
    for part, (value,) in (("input", graph.input), ("output", graph.output)):
        said = re.search(rf'^{part} \[ {{ name: "(\w+)" data_type: TYPE_(\w+) dims: \[ ([\d, ]+) \] }} \]$', text, re.M)
        assert said
        tensor = value.type.tensor_type
        sizes = [size.dim_value for size in tensor.shape.dim]
        assert (said[1], said[2], tensor.elem_type) == (value.name, "FP32", onnx.TensorProto.FLOAT)
        assert [int(size) for size in said[3].split(",")] == sizes[1:]
        assert tensor.shape.dim[0].dim_param, "batches of any size"


def test_the_card_s_own_snippets_work(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here / "digits")
    Image.new("RGB", (9, 9)).save("picture.png")
    text = (here / "digits" / CARD).read_text()
    found = re.findall(r"^```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert [language for language, _ in found] == ["console", "python", "python"]
    for language, code in found:
        if language == "console":
            run(code.strip(), monkeypatch)
        else:
            exec(code, {})


def test_the_page_names_every_file(here: Path) -> None:
    text = (ROOT / PAGE).read_text()
    assert all(f"`{path.name}`" in text for path in (here / "digits").iterdir() if path.name != "picture.png")
