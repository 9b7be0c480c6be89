"""What a user's loggers and callbacks write stays within the trial, and loggers work as under a plain Trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.spec import load
from orchestrator.spec.importers import import_file
from orchestrator.sweep import launch
from orchestrator.training import Job, fit
from orchestrator.training.trial_files import own_place
from tests.support.small_sweeps import spec

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning", "ignore:.*LeafSpec:FutureWarning")

CHECKPOINT = "lightning.pytorch.callbacks.ModelCheckpoint"
CSV = "lightning.pytorch.loggers.CSVLogger"


def job(tmp_path: Path, trial: int = 0, model: str = "tests.support.tiny.Tiny", **trainer: Any) -> Job:
    return Job(
        trial, 0, 7, "val_loss", {"class_path": model, "init_args": {}},
        {"class_path": "tests.support.tiny.TinyData", "init_args": {}},
        {"max_epochs": 1, "accelerator": "cpu", **trainer}, str(tmp_path / f"run/trials/{trial:04d}"),
    )  # fmt: skip


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_trials_with_one_dirpath_write_to_their_own_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = {"dirpath": "ckpts", "filename": "best", "monitor": "val_loss", "save_last": True}
    callbacks = [{"class_path": CHECKPOINT, "init_args": arguments}]
    described = spec(trainer={"max_epochs": 1, "callbacks": callbacks}, budget={"trials": 2}, scheduler="fifo")
    outcome = launch(described, tmp_path / "runs", local=True)
    assert outcome.exit_code == 0
    for trial in (0, 1):
        assert files(outcome.run.trial(trial) / "files") == {"ckpts/best.ckpt", "ckpts/last.ckpt"}
    assert not (tmp_path / "ckpts").exists()
    notice = "each trial writes to files/ in its own folder instead of ModelCheckpoint's dirpath 'ckpts'"
    assert capfd.readouterr().err.count(notice) == 1


def test_a_callback_that_the_module_configures_is_moved_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fit(job(tmp_path, 3, "tests.support.logging_module.Configured"), lambda report: True)
    assert files(tmp_path / "run/trials/0003/files") == {"configured/best.ckpt"}
    assert not (tmp_path / "configured").exists()


def test_loggers_with_one_folder_write_to_the_trials_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    described = [{"class_path": CSV, "init_args": {"save_dir": str(tmp_path / "logs"), "name": "mine"}}]
    fit(job(tmp_path, 1, "tests.support.logging_module.FirstLogger", logger=described), lambda report: True)
    written = files(tmp_path / "run/trials/0001/files")
    assert written == {"logs/mine/version_0/metrics.csv", "logs/mine/version_0/hparams.yaml"}
    assert not (tmp_path / "logs").exists()


def test_the_experiment_of_the_default_logger_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = files(tmp_path)
    fit(job(tmp_path, 2, "tests.support.logging_module.Histograms", max_epochs=2), lambda report: True)
    events = list((tmp_path / "run/trials/0002").rglob("events.out.tfevents.*"))
    assert events
    assert b"weights" in events[0].read_bytes()
    assert all(path.startswith("run/trials/0002/") for path in files(tmp_path) - before)


def test_a_module_that_uses_no_experiment_writes_no_event_file(tmp_path: Path) -> None:
    fit(job(tmp_path), lambda report: True)
    assert not list(tmp_path.rglob("events.out*"))


def test_a_place_is_moved_once_and_stays_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    one, two = job(tmp_path, 1), job(tmp_path, 2)
    places = ("ckpts", "./a/../ckpts", str(tmp_path / "other/ckpts"), "/scratch/ckpts", "s3://bucket/x", "~/ckpts")
    own = [own_place(one, place) for place in places]
    assert own[0] == own[1] == f"{one.folder}/files/ckpts"
    assert len(set(own)) == len(places) - 1
    assert not set(own) & {own_place(two, place) for place in places}
    assert [own_place(one, place) for place in own] == own
    assert own[4] == "s3://bucket/x/run/0001"


def test_a_sweep_file_may_name_loggers(tmp_path: Path) -> None:
    from orchestrator.training import class_loading

    good = spec(trainer={"max_epochs": 1, "logger": [{"class_path": CSV, "init_args": {"save_dir": "logs"}}]})
    assert class_loading.check(good) == []
    bad = spec(trainer={"max_epochs": 1, "logger": [{"class_path": CSV, "init_args": {"savedir": "logs"}}]})
    assert "savedir" in class_loading.check(bad)[0].message


def test_an_import_says_where_fixed_folders_are_moved_to(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        "trainer:\n  callbacks:\n    - class_path: lightning.pytorch.callbacks.ModelCheckpoint\n"
        "      init_args: {dirpath: ckpts}\nmodel: {class_path: tests.support.tiny.Tiny}\n"
    )
    text = import_file(config)
    assert "instead of ModelCheckpoint's dirpath 'ckpts'" in text
    written = tmp_path / "sweep.yaml"
    written.write_text(text)
    assert load(written).trainer["callbacks"][0]["init_args"] == {"dirpath": "ckpts"}
