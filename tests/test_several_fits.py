"""Code that fits several Trainers, such as a cross-validation: it is judged by what it reports itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.engine.segment_runner import attempt
from orchestrator.errors import SpecError
from orchestrator.journal import read
from orchestrator.spec import from_mapping
from orchestrator.sweep import launch, resume
from orchestrator.training import Interim, Job, Report

FOLDS = """
import lightning as L
import orchestrator
from pathlib import Path
from tests.support.tiny import Tiny, TinyData
scores = []
for fold in range(3):
    trainer = L.Trainer(max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.fit(Tiny(0.05 + fold), TinyData())
    scores.append(trainer.callback_metrics["val_loss"].item())
    with Path("fits").open("a") as file:
        file.write(f"{fold} {scores[-1]}\\n")
"""
AT_THE_END = FOLDS + "orchestrator.report(mean_loss=sum(scores) / 3)\n"
EACH_FOLD = FOLDS + "    orchestrator.report(step=fold + 1, mean_loss=sum(scores) / len(scores))\n"


def job(text: str, folder: Path, metric: str = "mean_loss", **fields: Any) -> Job:
    (folder / "train.py").write_text(text)
    code = {"train": "", "program": str(folder / "train.py"), "command": [], "args": {}}
    return Job(
        trial=0, segment=0, seed=1, metric=metric, model=code, data=None, trainer={},
        folder=str(folder / "run/trials/0000"), **fields,
    )  # fmt: skip


def fits(folder: Path) -> list[float]:
    return [float(line.split()[1]) for line in (folder / "fits").read_text().splitlines()]


@pytest.mark.parametrize(("text", "steps"), [(AT_THE_END, [1]), (EACH_FOLD, [1, 2, 3])], ids=["at the end", "each"])
def test_the_code_s_own_reports_judge_a_cross_validation(
    text: str, steps: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    reports: list[Report] = []

    def report(each: Report) -> bool:
        reports.append(each)
        return True

    assert attempt(job(text, tmp_path), report) is None
    scores = fits(tmp_path)
    assert len(scores) == 3
    assert [each.step for each in reports] == steps
    assert reports[-1].metrics["mean_loss"] == pytest.approx(sum(scores) / 3)


def test_a_trial_ends_after_the_fold_at_which_it_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert attempt(job(EACH_FOLD, tmp_path), lambda each: False) is None
    assert len(fits(tmp_path)) == 1


def test_a_second_training_of_what_the_trial_is_judged_by_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    failure = attempt(job(FOLDS, tmp_path, "val_loss"), lambda each: True)
    assert failure is not None
    assert "fits a second Trainer" in failure.message
    assert "name what the code reports" in failure.message
    assert len(fits(tmp_path)) == 1


def test_a_later_fit_that_logs_the_objective_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its checkpoint would be taken for one of the first fit."""
    monkeypatch.chdir(tmp_path)
    renamed = FOLDS.replace("Tiny(0.05 + fold)", "Named(0.05)").replace(
        "scores = []",
        """
class Named(Tiny):
    def validation_step(self, batch, index):
        super().validation_step(batch, index)
        if fold == 1:
            self.log("late", 1.0)
scores = []
""",
    )
    failure = attempt(job(renamed, tmp_path, "late"), lambda each: True)
    assert failure is not None
    assert "fits a second Trainer" in failure.message


def test_no_checkpoint_is_kept_of_a_training_that_the_code_judges(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its progress is not that of the reports to come; before the first validation nobody can know."""
    monkeypatch.chdir(tmp_path)
    saved: list[Interim] = []
    every = {"progress": 0.5}
    assert attempt(job(AT_THE_END, tmp_path, save_every=every), lambda each: True, interim=saved.append) is None
    assert all(each.epoch < 1 for each in saved)
    assert len(fits(tmp_path)) == 3


@pytest.mark.slow
def test_a_cross_validation_that_is_interrupted_ends_as_an_unbroken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cut = EACH_FOLD.replace("scores = []", "import os, signal\nscores = []").replace(
        "    orchestrator.report", "    if fold == 1 and not Path('cut').exists():\n        Path('cut').touch()\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n    orchestrator.report",
    )  # fmt: skip
    (tmp_path / "train.py").write_text(cut)
    spec = from_mapping({
        "name": "folds", "program": str(tmp_path / "train.py"), "objective": {"metric": "mean_loss", "mode": "min"},
        "space": {}, "scheduler": "fifo", "budget": {"trials": 1},
    })  # fmt: skip
    launch(spec, tmp_path / "runs", local=True, preflight=False)
    run = resume("folds", tmp_path / "runs", local=True).run
    reported = {event["step"]: event["metrics"] for event in read(run.journal) if event.type == "segment.reported"}
    assert len(fits(tmp_path)) > 3, "it was interrupted"
    scores = fits(tmp_path)[-3:]
    assert reported[3]["mean_loss"] == pytest.approx(sum(scores) / 3)


@pytest.mark.slow
def test_the_check_names_the_way_out_of_a_second_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SWEEP_NO_PREFLIGHT", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "train.py").write_text(FOLDS)
    fields = {"name": "folds", "program": "train.py", "space": {}, "budget": {"trials": 1}}
    with pytest.raises(SpecError, match="name what the code reports"):
        launch(from_mapping({**fields, "objective": {"metric": "val_loss", "mode": "min"}}), "runs", local=True)
