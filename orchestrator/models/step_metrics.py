"""Log a classifier's loss and accuracy, weighted so that the epoch's values are exact means over samples."""

from __future__ import annotations

import lightning as L
import torch
from torch import Tensor


def log_loss_and_accuracy(module: L.LightningModule, stage: str, loss: Tensor, scores: Tensor, labels: Tensor) -> None:
    """Log ``{stage}_loss`` and ``{stage}_acc`` for one batch.

    Lightning weighs each batch by N, so the epoch's value is the mean over samples even if the last batch is smaller.
    Only epoch values are logged: a sweep does not read step values, and reading them waits for the device. All values
    stay tensors on the module's device.

    Args:
        module: the module to log by.
        stage: ``train``, ``val`` or ``test``.
        loss: the batch's mean, a scalar.
        scores: (N, classes) float.
        labels: (N,) int64.
    """
    accuracy = (scores.detach().argmax(dim=1) == labels).float().mean()
    module.log_dict(
        {f"{stage}_loss": loss.detach(), f"{stage}_acc": accuracy},
        on_step=False,
        on_epoch=True,
        prog_bar=stage == "val",
        batch_size=len(labels),
        sync_dist=stage != "train" and torch.distributed.is_available() and torch.distributed.is_initialized(),
    )
