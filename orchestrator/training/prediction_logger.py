"""Show validation images with their predicted and true labels after each validation epoch."""

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

    With a W&B logger, the images are logged there with captions. Otherwise a grid is saved as
    ``<log folder>/predictions/epoch=0003.png``. The samples are the first of the validation loader, kept while
    validation runs, so nothing is loaded twice and no random number is drawn. The module predicts these few again, in
    evaluation mode, with its own precision and without gradients.

    Batches must be ``(images, labels)``: images (N, channels, height, width) with 1 or 3 channels, float or uint8, and
    labels (N,) of an integer type. Other batches are skipped with a warning. If the module's output is not
    (N, classes), only the true labels are shown. If the datamodule has ``class_names``, they replace the class numbers;
    its ``mean`` and ``std``, or those of its ``pixels``, undo the normalisation.

    Args:
        num_samples: the number of images, at least 1.
        every_n_epochs: the number of epochs from one picture to the next, at least 1.

    Raises:
        ValueError: an argument is below 1.

    Example:
        >>> import lightning
        >>> from orchestrator.data import DigitsDataModule
        >>> from orchestrator.models import LitModel
        >>> from orchestrator.training import ImagePredictionLogger
        >>> trainer = lightning.Trainer(
        ...     max_epochs=1, limit_train_batches=2, limit_val_batches=1, accelerator="cpu", logger=False,
        ...     enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        ...     num_sanity_val_steps=0, callbacks=[ImagePredictionLogger(num_samples=8)],
        ... )
        >>> trainer.fit(LitModel(), datamodule=DigitsDataModule())  # saves predictions/epoch=0001.png
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
        """Discard the images of an earlier validation."""
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
        """Keep the batch's images until there are ``num_samples``."""
        missing = self.num_samples - sum(len(images) for images in self._images)
        if missing <= 0 or dataloader_idx or not self._is_due(trainer):
            return
        if not _is_labelled_images(batch):
            if batch_idx == 0:
                log.warning(
                    "ImagePredictionLogger shows nothing: the batches are not (images, labels) with 1 or 3 channels"
                )
            return
        self._images.append(batch[0][:missing])
        self._labels.append(batch[1][:missing])

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Predict the kept images and show them."""
        if not self._images:
            return
        images, labels = torch.cat(self._images), torch.cat(self._labels)
        self._images, self._labels = [], []
        guesses = _predict(trainer, pl_module, images)
        data = getattr(trainer, "datamodule", None)
        scale = getattr(data, "pixels", data)
        pictures = to_pictures(images, mean=getattr(scale, "mean", None), std=getattr(scale, "std", None))
        names = getattr(data, "class_names", None)
        truths = [_class_name(label, names) for label in labels.tolist()]
        predictions = [None if guess is None else _class_name(guess, names) for guess in guesses]
        self._show(trainer, pictures, truths, predictions)

    def _is_due(self, trainer: L.Trainer) -> bool:
        is_due = (trainer.current_epoch + 1) % self.every_n_epochs == 0
        return is_due and not trainer.sanity_checking and trainer.is_global_zero

    def _show(
        self, trainer: L.Trainer, pictures: Sequence[Image.Image], truths: Sequence[str], guesses: Sequence[str | None]
    ) -> None:
        wandb_logger = next((logger for logger in trainer.loggers if isinstance(logger, WandbLogger)), None)
        if wandb_logger is not None:
            captions = [_caption(truth, guess) for truth, guess in zip(truths, guesses, strict=True)]
            wandb_logger.log_image("examples", list(pictures), step=trainer.global_step, caption=captions)
            return
        folder = Path(trainer.log_dir or trainer.default_root_dir) / "predictions"
        folder.mkdir(parents=True, exist_ok=True)
        epoch = trainer.current_epoch + 1
        draw_grid(pictures, truths, guesses, title=f"epoch {epoch}").save(folder / f"epoch={epoch:04d}.png")


def to_pictures(images: Tensor, *, mean: Any = None, std: Any = None) -> list[Image.Image]:
    """Convert images (N, 1 or 3, height, width), float or uint8, to PIL images.

    ``mean`` and ``std`` (a number, or one per channel) undo the normalisation. Without them, each float image is
    scaled from its smallest to its largest value.
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


def _class_name(label: int, names: Sequence[str] | None) -> str:
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


def _predict(trainer: L.Trainer, module: L.LightningModule, images: Tensor) -> list[int | None]:
    """Return the most probable class of each image; None if the output is not (N, classes), as in an autoencoder."""
    with isolate_rng(), torch.no_grad(), trainer.precision_plugin.forward_context():
        output = module(images)
    if not isinstance(output, Tensor) or output.ndim != 2 or output.shape[1] == images[0].numel():
        return [None] * len(images)
    return list(output.argmax(dim=1).tolist())
