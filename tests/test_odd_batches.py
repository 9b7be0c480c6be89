"""A module whose batches are a mapping, a tuple, graphs or texts is swept and exported, and predicts by itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from orchestrator.bundle import load_bundle
from orchestrator.cli import app
from orchestrator.errors import UsageError
from orchestrator.export import export
from orchestrator.spec import from_mapping
from orchestrator.sweep import launch
from tests.support import odd_batches
from tests.support.odd_batches import PAIRS

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::UserWarning:lightning")]
SUFFIXES = {"Mapping": "Mappings", "Tuple": "Tuples", "Graph": "Graphs", "Text": "Texts"}


def exported(end: str, folder: Path) -> tuple[Path, Any]:
    """Sweep a module, export it; return the bundle and a batch of its data."""
    outcome = launch(
        from_mapping({
            "name": "odd", "objective": {"metric": "val_loss", "mode": "min"},
            "model": f"tests.support.odd_batches.Of{end}", "data": f"tests.support.odd_batches.{SUFFIXES[end]}",
            "trainer": {"max_epochs": 1}, "space": {"model.learning_rate": {"uniform": [0.01, 0.1]}},
            "scheduler": "fifo", "budget": {"trials": 2},
        }),
        folder, local=True, preflight=False,
    )  # fmt: skip
    assert {trial.status for trial in outcome.state.trials.values()} == {"finished"}
    batch = next(iter(getattr(odd_batches, SUFFIXES[end])().val_dataloader()))
    return export("odd", folder, to=folder / "bundle").folder, batch


@pytest.mark.parametrize("kind", PAIRS)
def test_a_bundle_predicts_by_its_module(kind: str, tmp_path: Path) -> None:
    folder, batch = exported(PAIRS[kind], tmp_path)
    bundle = load_bundle(folder)
    assert {"model.ckpt", "model.safetensors", "config.json"} <= {path.name for path in folder.iterdir()}
    for name in ("onnx", "pt2", "preprocessing"):
        assert bundle.manifest.missing[name], "the manifest says why there is none"
    module: Any = bundle.module()
    with torch.no_grad():
        expected = module.predict_step(batch, 0)
    score = expected["score"] if isinstance(expected, dict) else expected
    predicted = bundle.predict(batch)
    assert torch.equal(predicted["score"] if isinstance(predicted, dict) else predicted, score)
    with pytest.raises(UsageError, match=f"Of{PAIRS[kind]} cannot predict it"):
        bundle.predict(3)

    answer = CliRunner().invoke(app, ["predict", str(folder), "--json"])
    assert answer.exit_code == 0, answer.output
    batches = json.loads(answer.stdout)
    assert [each["batch"] for each in batches] == list(range(odd_batches.COUNT // odd_batches.SIZE))
    first = batches[0]["outputs"]
    assert torch.tensor(first["score"] if isinstance(first, dict) else first).equal(score)
    lines = CliRunner().invoke(app, ["predict", str(folder)]).stdout.splitlines()
    assert json.loads(lines[0]) == first
