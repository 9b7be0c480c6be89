"""The code's own ModelCheckpoint over several segments of a trial: it keeps what it has found best."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.training import Job, Report
from tests.support.segment_reports import reports_of

PROGRAM = """
import json
import pathlib
import lightning as L
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from tests.support.tiny import Tiny, TinyData
class Worse(Tiny):
    def validation_step(self, batch, index):
        self.log("val_loss", float(self.current_epoch))
saver = ModelCheckpoint(monitor="val_loss", filename="best-{epoch}"%(folder)s)
trainer = L.Trainer(max_epochs=3, accelerator="cpu", callbacks=[EarlyStopping("val_loss", patience=9), saver])
trainer.fit(Worse(0.05), TinyData())
pathlib.Path(__file__).with_suffix(".json").write_text(
    json.dumps([pathlib.Path(saver.best_model_path).name, float(saver.best_model_score), saver.best_model_path])
)
"""


def job_of(folder: Path, command: list[str] | None = None, **args: Any) -> Job:
    model = {"train": "", "program": str(folder / "program.py"), "command": command or [], "args": args}
    return Job(trial=0, segment=0, seed=1, metric="val_loss", model=model, data=None, trainer={},
               folder=str(folder / "run/trials/0000"))  # fmt: skip


def resumed(job: Job) -> list[Report]:
    """Return the reports of a second segment, after a first one that ended with its first report."""
    saved = reports_of(job, 1)[-1].checkpoint
    assert saved is not None
    return reports_of(replace(job, segment=1, checkpoint=asdict(saved)), 9)


CLI = """
from lightning.pytorch.cli import LightningCLI
from tests.support.tiny import Tiny, TinyData
LightningCLI(Tiny, TinyData, trainer_defaults={"max_epochs": 3, "accelerator": "cpu"})
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_script_of_lightning_cli_continues_in_a_second_segment(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(CLI)
    job = job_of(tmp_path, ["python", "${program}", "fit", "${args}"], **{"model.learning_rate": 0.05})
    assert [each.epoch for each in resumed(job)] == [2, 3]
    (config,) = tmp_path.rglob("config.yaml")
    assert "learning_rate: 0.05" in config.read_text()


@pytest.mark.slow
@pytest.mark.filterwarnings("error:The dirpath has changed")
@pytest.mark.parametrize("folder", ["", ", dirpath='mine'"], ids=["where Lightning puts it", "in a folder of its own"])
def test_a_resumed_script_keeps_its_best_checkpoint(folder: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM % {"folder": folder})
    assert [each.epoch for each in resumed(job_of(tmp_path))] == [2, 3]
    name, score, path = json.loads((tmp_path / "program.json").read_text())
    assert (name, score) == ("best-epoch=0.ckpt", 0.0)
    assert Path(path).is_relative_to(tmp_path / "run/trials/0000")
    assert Path(path).is_file()
