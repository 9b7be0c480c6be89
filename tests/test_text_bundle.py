"""A language model is exported and read back like every other: the same scores, and a text that it continues."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from orchestrator.bundle import Bundle, load_bundle
from orchestrator.bundle.continuation import continue_text
from orchestrator.cli import app
from orchestrator.data.python_text import CHARACTERS, encode
from orchestrator.errors import UsageError
from orchestrator.export import export
from orchestrator.spec import from_mapping
from orchestrator.sweep import launch

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")

SPEC: dict[str, Any] = {
    "name": "text",
    "objective": {"metric": "val_loss", "mode": "min"},
    "model": {
        "class_path": "orchestrator.models.LitGPT",
        "init_args": {"context": 16, "width": 16, "layers": 1, "heads": 2},
    },
    "data": {"class_path": "orchestrator.data.PythonTextDataModule", "init_args": {"context": 16}},
    "trainer": {"max_epochs": 1, "limit_train_batches": 4, "limit_val_batches": 1},
    "space": {"model.learning_rate": {"const": 0.01}},
    "budget": {"trials": 1},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = launch(from_mapping(SPEC), tmp_path_factory.mktemp("runs"), local=True).run
    return export(run.name, run.root.parent).folder


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Bundle:
    return load_bundle(folder)


@pytest.mark.slow
def test_every_format_is_written_and_the_characters_are_on_record(bundle: Bundle) -> None:
    assert bundle.manifest.missing == {}
    assert bundle.preprocessing.characters == CHARACTERS
    assert (bundle.preprocessing.input_type, bundle.preprocessing.input_shape) == ("int64", (None, 16))


@pytest.mark.slow
def test_a_text_that_is_shorter_than_the_input_has_the_scores_of_the_module(bundle: Bundle) -> None:
    tokens = encode("class")
    padded = np.zeros((1, 16), np.int64)
    padded[0, :5] = tokens
    with torch.no_grad():
        expected = bundle.module()(tokens.unsqueeze(0))[0, -1]
    np.testing.assert_allclose(bundle.outputs(padded)[0, 4], expected, atol=1e-5)


@pytest.mark.slow
def test_a_text_is_continued_the_same_for_the_same_seed(bundle: Bundle) -> None:
    first = continue_text(bundle, "The class ", 30, seed=1)
    assert first.startswith("The class ")
    assert len(first) == 40
    assert set(first) <= set(CHARACTERS)
    assert first == continue_text(bundle, "The class ", 30, seed=1)
    assert first != continue_text(bundle, "The class ", 30, seed=2)
    assert continue_text(bundle, "\N{EURO SIGN}", 3).startswith("\N{EURO SIGN}"), "an unknown character has a token"
    with pytest.raises(UsageError, match="no text"):
        continue_text(bundle, "", 3)


@pytest.mark.slow
def test_the_command_prints_what_the_model_writes(folder: Path, bundle: Bundle) -> None:
    expected, command = continue_text(bundle, "def ", 8), ["predict", str(folder), "def ", "--length", "8"]
    printed = CliRunner().invoke(app, command, catch_exceptions=False)
    assert (printed.exit_code, printed.stdout) == (0, expected + "\n")
    printed = CliRunner().invoke(app, [*command, "--json"], catch_exceptions=False)
    assert json.loads(printed.stdout) == [{"text": "def ", "continued": expected}]
