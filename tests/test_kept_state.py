"""What plain Lightning can train is kept and resumed without unpickling; the rest is refused by its key path."""

from __future__ import annotations

import random
import re
import tempfile
from collections import Counter, OrderedDict
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from hypothesis import given, settings

from orchestrator.errors import CheckpointError, UsageError
from orchestrator.training import Job, Report, fit
from orchestrator.training.checkpoints import DurableCheckpointIO, restored
from orchestrator.training.epoch_seed import EpochSeed
from tests.support.codec_values import VALUES, Colour, Point, same
from tests.support.markers import examples
from tests.support.odd_state import Keep, OddLoop
from tests.support.tiny import TinyData


def _saved_and_loaded(checkpoint: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.ckpt"
        DurableCheckpointIO().save_checkpoint(checkpoint, path)
        torch.load(path, weights_only=True)  # what stock code reads
        return DurableCheckpointIO().load_checkpoint(path)


@given(VALUES)
@settings(max_examples=examples(60), deadline=None)
def test_a_checkpoint_keeps_any_value_of_a_known_kind(value: Any) -> None:
    state = {"state_dict": {"w": torch.ones(2)}, "callbacks": {"K": {"v": value}}, "mine": [value]}
    loaded = _saved_and_loaded(state)
    assert same(loaded["callbacks"]["K"]["v"], value)
    assert same(loaded["mine"][0], value)
    assert loaded.keys() == state.keys()


@pytest.mark.parametrize("kind", [dict, OrderedDict, Counter])
def test_a_mapping_keeps_its_kind_and_the_odd_values_in_it(kind: type[dict[str, Any]]) -> None:
    value = kind({"a": np.int64(3)})
    assert same(_saved_and_loaded({"mine": value})["mine"], value)


def test_tensors_inside_other_values_stay_tensors() -> None:
    weight = torch.nn.Parameter(torch.randn(3))
    loaded = _saved_and_loaded({"mine": {np.int64(1): (Point(weight, Colour.RED), [weight])}})
    point, [again] = loaded["mine"][np.int64(1)]
    assert torch.equal(point.x, weight)
    assert isinstance(again, torch.nn.Parameter)
    assert point.x.data_ptr() == again.data_ptr()  # one tensor in two places stays one


def test_a_checkpoint_without_odd_values_is_written_as_lightning_writes_it(tmp_path: Path) -> None:
    state = {"state_dict": torch.nn.Linear(1, 1).state_dict(), "epoch": 1, "loops": {"a": (1, 2), "b": {3}}}
    DurableCheckpointIO().save_checkpoint(state, tmp_path / "a.ckpt")
    assert torch.load(tmp_path / "a.ckpt").keys() == state.keys()


def test_a_checkpoint_of_an_older_version_is_not_decoded(tmp_path: Path) -> None:
    torch.save({"mine": {"$tuple": [1]}}, tmp_path / "a.ckpt")
    assert DurableCheckpointIO().load_checkpoint(tmp_path / "a.ckpt") == {"mine": {"$tuple": [1]}}


def test_a_loaded_checkpoint_imports_nothing() -> None:
    with pytest.raises(CheckpointError, match="no imported module has never_imported"):
        _raise_as_checkpoint_error({"mine": {"$function": "never_imported.f"}})


def _raise_as_checkpoint_error(content: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        torch.save({**content, "orchestrator.codec": 1}, Path(folder) / "a.ckpt")
        DurableCheckpointIO().load_checkpoint(Path(folder) / "a.ckpt")


def test_what_cannot_be_kept_is_named_by_its_key_path(tmp_path: Path) -> None:
    state = {"callbacks": {"Rules": {"all": [{"f": lambda x: x}]}}}
    with pytest.raises(UsageError, match=r"(?s)callbacks\.Rules\.all\[0\]\.f.*add_safe_globals") as caught:
        DurableCheckpointIO().save_checkpoint(state, tmp_path / "a.ckpt")
    assert "\n" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_what_can_be_pickled_is_not_blamed_for_what_cannot(tmp_path: Path) -> None:
    kept = {"pattern": re.compile("a"), "draws": random.Random(3)}
    assert _saved_and_loaded({"callbacks": {"Keep": kept}})["callbacks"]["Keep"]["pattern"] == kept["pattern"]
    state = {"callbacks": {"Keep": {**kept, "parts": [re.compile("b"), {"view": memoryview(b"a")}]}}}
    with pytest.raises(
        UsageError, match=r"callbacks\.Keep\.parts\[1\]\.view: an object of memoryview has no plain form"
    ):
        DurableCheckpointIO().save_checkpoint(state, tmp_path / "a.ckpt")


def _job(folder: Path, epochs: int, **more: Any) -> Job:
    trainer = {
        "max_epochs": epochs,
        "accelerator": "cpu",
        "precision": "32-true",
        "callbacks": [{"class_path": "tests.support.odd_state.Keep"}],
    }
    fields: dict[str, Any] = {"trial": 0, "segment": 0, "seed": 5, "metric": "val_loss", "threads": 1}
    fields |= {"model": {"class_path": "tests.support.odd_state.OddLoop"}, "folder": str(folder / "trials/0000")}
    return Job(**{**fields, "data": {"class_path": "tests.support.tiny.TinyData"}, "trainer": trainer, **more})


def _trained(folder: Path, stops: list[int]) -> list[Report]:
    """Train in segments that end after these epochs."""
    reports: list[Report] = []
    for segment, end in enumerate(stops):
        start = {"checkpoint": asdict(reports[-1].checkpoint)} if reports and reports[-1].checkpoint else {}

        def report(epoch: Report, end: int = end) -> bool:
            reports.append(epoch)
            return epoch.epoch < end

        fit(_job(folder, 4, segment=segment, **start), report)
    return reports


def test_with_odd_state_an_interrupted_run_equals_an_unbroken_one_and_plain_lightning(
    tmp_path: Path,
) -> None:
    kept = []
    for name, stops in (("whole", [4]), ("parts", [1, 3, 4])):
        Keep.kept.clear()
        reports = _trained(tmp_path / name, stops)
        kept.append(([r.metrics["val_loss"] for r in reports], _weights(tmp_path / name, reports[-1]), [*Keep.kept]))
    Keep.kept.clear()
    plain = _plainly_trained(tmp_path)
    (losses, weights, states), (losses_in_parts, weights_in_parts, states_in_parts) = kept
    assert losses == losses_in_parts
    assert same(states, states_in_parts)
    assert same(states, Keep.kept)
    for name, weight in plain.state_dict().items():
        assert torch.equal(weights[name], weight)
        assert torch.equal(weights_in_parts[name], weight)


def _weights(folder: Path, report: Report) -> dict[str, Any]:
    assert report.checkpoint
    checkpoint = restored(torch.load(folder / report.checkpoint.path, weights_only=True))
    assert type(checkpoint["optimizer_states"][0]["param_groups"][0]["lr"]) is np.float64
    weights: dict[str, Any] = checkpoint["state_dict"]
    return weights


def _plainly_trained(folder: Path) -> L.LightningModule:
    L.seed_everything(5, verbose=False)
    model = OddLoop()
    trainer = L.Trainer(
        max_epochs=4, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, num_sanity_val_steps=0,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[Keep(), EpochSeed(5)],
        default_root_dir=folder,
    )  # fmt: skip
    trainer.fit(model, datamodule=TinyData())
    return model
