"""What a segment leaves to look at: W&B runs, which cost no trial anything, and pictures of predictions."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import WandbLogger
from PIL import Image

from orchestrator.data import DigitsDataModule
from orchestrator.models import LitModel
from orchestrator.training import ImagePredictionLogger, Job, Report, fit
from orchestrator.training.csv_logger import EpochCSVLogger
from orchestrator.training.image_grid import draw_grid
from orchestrator.training.memory import keep_freed_memory
from orchestrator.training.prediction_logger import to_pictures

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # Lightning 2.6 under torch 2.15

SMALL: dict[str, Any] = {"batch_size": 20, "image_size": 16, "channels": 1}


def job(folder: Path, *callbacks: type, wandb: bool = False, dropout: float = 0.5) -> Job:
    model = {"input_shape": [1, 16, 16], "dropout": dropout}
    classes = [{"class_path": f"{each.__module__}.{each.__qualname__}", "init_args": {}} for each in callbacks]
    limits = {"max_epochs": 2, "limit_train_batches": 4, "limit_val_batches": 2, "accelerator": "cpu"}
    return Job(
        trial=3,
        segment=0,
        seed=11,
        metric="val_acc",
        model={"class_path": "orchestrator.models.LitModel", "init_args": model},
        data={"class_path": "orchestrator.data.DigitsDataModule", "init_args": SMALL},
        trainer={**limits, "callbacks": classes},
        folder=str(folder / "run/trials/0003"),
        tracking={"wandb": {"project": "p", "id": "run-0003", "name": "run-0003", "group": "run"}} if wandb else {},
    )


def run(job: Job) -> list[dict[str, float]]:
    metrics: list[dict[str, float]] = []

    def note(report: Report) -> bool:
        metrics.append(report.metrics)
        return True

    fit(job, note)
    return metrics


@pytest.mark.slow
def test_pictures_are_written_and_training_does_not_notice(tmp_path: Path) -> None:
    plain = run(job(tmp_path / "plain"))
    watched = job(tmp_path / "watched", ImagePredictionLogger)
    assert run(watched) == plain
    pictures = sorted((Path(watched.folder) / "logs").glob("predictions/*.png"))
    assert [path.name for path in pictures] == ["epoch=0001.png", "epoch=0002.png"]
    with Image.open(pictures[0]) as picture:
        assert min(picture.size) > 300
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 24) or []}
    assert len(colours) > 50


@pytest.mark.slow
def test_with_wandb_the_images_go_there_with_captions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[str, int, list[str]]] = []

    def note(self: Any, key: str, images: list[Any], step: int | None = None, **more: Any) -> None:
        sent.append((key, len(images), more["caption"]))

    monkeypatch.setattr(WandbLogger, "log_image", note)
    run(job(tmp_path, ImagePredictionLogger, wandb=True))
    assert [(key, count) for key, count, _ in sent] == [("examples", 32)] * 2
    assert all(caption.startswith("Pred: ") and ", Label: " in caption for caption in sent[0][2])
    assert not list((tmp_path / "run").glob("**/*.png"))


def test_the_module_is_left_in_its_mode_and_the_generators_where_they_were(tmp_path: Path) -> None:
    data = DigitsDataModule(**SMALL)
    model = LitModel((1, 16, 16), dropout=0.5)
    states: list[Any] = []

    class Watch(L.Callback):
        def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            states.append((pl_module.training, torch.get_rng_state().tolist()))

    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        callbacks=[Watch(), ImagePredictionLogger(), Watch()],
        default_root_dir=tmp_path,
        limit_val_batches=2,
    )
    trainer.validate(model, data, verbose=False)
    assert states[0] == states[1]
    assert states[0][0] is False


def test_normalised_pixels_come_back_as_they_were() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    normalised = (pixels.float() / 255 - 0.5) / 0.25
    assert to_pictures(normalised, mean=(0.5,), std=(0.25,))[0].tobytes() == to_pictures(pixels)[0].tobytes()


@pytest.mark.parametrize("guesses", [["a", "a name that is far too long for its tile"], [None, None]])
def test_a_grid_holds_every_picture(guesses: list[str | None]) -> None:
    pictures = to_pictures(torch.rand(2, 3, 8, 8))
    grid = draw_grid(pictures, ["a", "b"], guesses, title="epoch 1")
    assert grid.size[0] > 2 * 90


def test_the_csv_keeps_a_row_a_step_and_takes_new_columns(tmp_path: Path) -> None:
    table = EpochCSVLogger(tmp_path)
    table.log_metrics({"val_acc": 0.5, "epoch": 0}, 9)
    table.flush()
    table.log_metrics({"val_acc": 0.5, "epoch": 0}, 9)
    table.log_metrics({"val_acc": 0.6, "epoch": 1}, 19)
    table.flush()
    table.log_metrics({"train_loss": 0.1}, 19)
    table.finalize("success")
    assert table.path.read_text().splitlines() == ["step,epoch,val_acc,train_loss", "9,0,0.5,", "19,1,0.6,0.1"]


def test_the_allocator_is_told_only_where_the_environment_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1")
    assert keep_freed_memory.__wrapped__() is False
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert keep_freed_memory.__wrapped__() is False
