"""A picture, each validation epoch, of what the model says about some validation images."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities.seed import isolate_rng
from PIL import Image
from torch import Tensor

from orchestrator.training.image_grid import draw_grid

log = logging.getLogger(__name__)


class ImagePredictionLogger(L.Callback):
    """Shows validation images with their predicted and true labels after each validation.

    With a W&B logger the images go there, each with a caption; without, a grid goes to
    ``<log folder>/predictions/epoch=0003.png``. The samples are the first of the validation loader, taken as validation
    runs over them, so nothing is loaded twice and no random number is drawn; the module is asked once more for these
    few, in evaluation mode, under its own precision and without gradients.

    Args:
        num_samples: images shown.
        every_n_epochs: epochs between pictures.

    Batches have to be ``(images, labels)`` with images (N, channels, height, width), channels 1 or 3. Where the
    module's output is not (N, classes) only the true labels are shown. If the datamodule has them, ``class_names``
    gives names to the classes, and ``mean`` and ``std`` (its own or its ``pixels``') undo the normalisation.
    """

    def __init__(self, num_samples: int = 32, every_n_epochs: int = 1) -> None:
        if num_samples < 1 or every_n_epochs < 1:
            raise ValueError(
                f"`num_samples >= 1` and `every_n_epochs >= 1` must hold, but got {num_samples} and {every_n_epochs}"
            )
        self.num_samples = num_samples
        self.every_n_epochs = every_n_epochs
        self._images: list[Tensor] = []
        self._labels: list[Tensor] = []

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._images, self._labels = [], []

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        missing = self.num_samples - sum(len(images) for images in self._images)
        if missing <= 0 or dataloader_idx or not self._due(trainer):
            return
        if not _is_labelled_images(batch):
            self._complain(batch_idx)
            return
        self._images.append(batch[0][:missing])
        self._labels.append(batch[1][:missing])

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not self._images:
            return
        images, labels = torch.cat(self._images), torch.cat(self._labels)
        self._images, self._labels = [], []
        guesses = _guesses(trainer, pl_module, images)
        data = getattr(trainer, "datamodule", None)
        scale = getattr(data, "pixels", data)
        pictures = to_pictures(images, mean=getattr(scale, "mean", None), std=getattr(scale, "std", None))
        names = getattr(data, "class_names", None)
        truths = [_name(label, names) for label in labels.tolist()]
        captions = [None if guess is None else _name(guess, names) for guess in guesses]
        self._show(trainer, pictures, truths, captions)

    def _due(self, trainer: L.Trainer) -> bool:
        due = (trainer.current_epoch + 1) % self.every_n_epochs == 0
        return due and not trainer.sanity_checking and trainer.is_global_zero

    def _complain(self, batch_idx: int) -> None:
        if batch_idx == 0:
            log.warning("ImagePredictionLogger shows (images, labels) batches of 1 or 3 channels; these are others")

    def _show(
        self, trainer: L.Trainer, pictures: Sequence[Image.Image], truths: Sequence[str], guesses: Sequence[str | None]
    ) -> None:
        board = next((logger for logger in trainer.loggers if isinstance(logger, WandbLogger)), None)
        if board is not None:
            captions = [_caption(truth, guess) for truth, guess in zip(truths, guesses, strict=True)]
            board.log_image("examples", list(pictures), step=trainer.global_step, caption=captions)
            return
        folder = Path(trainer.log_dir or trainer.default_root_dir) / "predictions"
        folder.mkdir(parents=True, exist_ok=True)
        epoch = trainer.current_epoch + 1
        draw_grid(pictures, truths, guesses, title=f"epoch {epoch}").save(folder / f"epoch={epoch:04d}.png")


def to_pictures(images: Tensor, *, mean: Any = None, std: Any = None) -> list[Image.Image]:
    """Images (N, 1 or 3, height, width), float or uint8, as PIL images.

    ``mean`` and ``std`` (a number or one per channel) undo the normalisation; without them each image is stretched
    from its smallest to its largest value.
    """
    pixels = images.detach().float().cpu()
    if images.dtype == torch.uint8:
        pixels = pixels / 255
    elif mean is not None and std is not None:
        pixels = pixels * torch.as_tensor(std).float().reshape(-1, 1, 1) + torch.as_tensor(mean).float().reshape(
            -1, 1, 1
        )
    else:
        low, high = pixels.amin((1, 2, 3), keepdim=True), pixels.amax((1, 2, 3), keepdim=True)
        pixels = (pixels - low) / (high - low).clamp_min(1e-8)
    bytes_ = pixels.clamp(0, 1).mul(255).round().to(torch.uint8).expand(-1, 3, -1, -1).permute(0, 2, 3, 1)
    return [Image.fromarray(picture.contiguous().numpy()) for picture in bytes_]


def _caption(truth: str, guess: str | None) -> str:
    return f"Label: {truth}" if guess is None else f"Pred: {guess}, Label: {truth}"


def _name(label: int, names: Sequence[str] | None) -> str:
    return names[label] if names is not None and 0 <= label < len(names) else str(label)


def _is_labelled_images(batch: Any) -> bool:
    if not isinstance(batch, list | tuple) or len(batch) < 2:
        return False
    images, labels = batch[0], batch[1]
    tensors = isinstance(images, Tensor) and isinstance(labels, Tensor)
    return (
        tensors
        and images.ndim == 4
        and images.shape[1] in (1, 3)
        and labels.ndim == 1
        and not labels.is_floating_point()
    )


def _guesses(trainer: L.Trainer, module: L.LightningModule, images: Tensor) -> list[int | None]:
    """The most probable class of each image, or None where the output is no (N, classes): a reconstruction, say."""
    with isolate_rng(), torch.no_grad(), trainer.precision_plugin.forward_context():
        output = module(images)
    if not isinstance(output, Tensor) or output.ndim != 2 or output.shape[1] == images[0].numel():
        return [None] * len(images)
    return list(output.argmax(dim=1).tolist())
