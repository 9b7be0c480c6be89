"""LitModel: the small convolutional network of W&B's tutorial for Lightning, with arguments to sweep.

Source: "Image Classification Using PyTorch Lightning and Weights & Biases", by Ayush Thakur, https://wandb.ai.
"""

from __future__ import annotations

from typing import Any, Literal

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from orchestrator.models import optimizers
from orchestrator.models.step_metrics import log_loss_and_accuracy

SMALLEST_SIDE = 16


class LitModel(L.LightningModule):
    """Classifies images: convolutions c→32→32, pool, 32→64→64, pool, fully connected n→512→128→classes, log-softmax.

    The defaults give the tutorial's module: the same layers and names, 952,234 parameters for (3, 32, 32) and 10
    classes, and the same initial weights for the same seed. Batches are (images (N, *input_shape) float, labels (N,)
    int64).

    Logs ``train_loss``, ``train_acc``, ``val_loss``, ``val_acc``, ``test_loss`` and ``test_acc``: negative
    log-likelihood in nats and accuracy in [0, 1], each an exact mean over the epoch's samples.

    Args:
        input_shape: channels, height, width; height and width at least 16 pixels.
        num_classes: width of the output.
        learning_rate: the optimizer's; the highest one if ``lr_schedule`` is ``onecycle``.
        weight_decay: L2 penalty (decoupled for ``adamw``).
        dropout: probability after each hidden fully connected layer, in [0, 1); the tutorial has 0.
        optimizer: the tutorial has ``adam``.
        momentum: used by ``sgd`` alone.
        lr_schedule: the tutorial has None, a constant rate. See :func:`orchestrator.models.optimizers.schedule`.
        lr_step_size: epochs between the steps of the ``step`` schedule.
        lr_gamma: factor of each step of the ``step`` schedule.

    Raises:
        ValueError: the shape is too small for four unpadded convolutions and two pools, or ``dropout`` is out of range.

    Example:
        >>> import torch
        >>> from orchestrator.models import LitModel
        >>> model = LitModel(input_shape=(1, 28, 28), learning_rate=1e-3, dropout=0.1)
        >>> model(torch.zeros(8, 1, 28, 28)).shape
        torch.Size([8, 10])
    """

    def __init__(
        self,
        input_shape: tuple[int, int, int] = (3, 32, 32),
        num_classes: int = 10,
        learning_rate: float = 2e-4,
        weight_decay: float = 0.0,
        dropout: float = 0.0,
        optimizer: Literal["adam", "adamw", "sgd"] = "adam",
        momentum: float = 0.9,
        lr_schedule: Literal["cosine", "step", "onecycle"] | None = None,
        lr_step_size: int = 10,
        lr_gamma: float = 0.1,
    ) -> None:
        super().__init__()
        input_shape = _check_shape(input_shape)
        if not 0.0 <= dropout < 1.0:
            raise ValueError(f"`0 <= dropout < 1` must hold, but got dropout={dropout}")
        self.save_hyperparameters()
        self.learning_rate = learning_rate  # where Lightning's learning-rate finder looks for it

        self.conv1 = nn.Conv2d(input_shape[0], 32, 3, 1)
        self.conv2 = nn.Conv2d(32, 32, 3, 1)
        self.conv3 = nn.Conv2d(32, 64, 3, 1)
        self.conv4 = nn.Conv2d(64, 64, 3, 1)
        self.pool1 = nn.MaxPool2d(2)
        self.pool2 = nn.MaxPool2d(2)

        # The tutorial passes a random image through the convolutions here to find n. Here n is computed, and the same
        # random numbers are drawn: otherwise the layers below would have other initial weights for the same seed.
        torch.rand(1, *input_shape)
        self.fc1 = nn.Linear(64 * _side_after(input_shape[1]) * _side_after(input_shape[2]), 512)
        self.fc2 = nn.Linear(512, 128)
        self.fc3 = nn.Linear(128, num_classes)
        self.drop = nn.Dropout(dropout) if dropout else nn.Identity()

        self.example_input_array = torch.zeros(1, *input_shape)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """Return the log-probabilities (N, num_classes) of images (N, *input_shape), both float."""
        # Pooling before the ReLU gives the same values and gradients as the tutorial's ReLU before pooling, bit for
        # bit, as both are monotonic, over a quarter of the elements.
        x = F.relu(self.conv1(x))
        x = F.relu(self.pool1(self.conv2(x)))
        x = F.relu(self.conv3(x))
        x = F.relu(self.pool2(self.conv4(x)))
        x = x.flatten(1)
        x = self.drop(F.relu(self.fc1(x)))
        x = self.drop(F.relu(self.fc2(x)))
        return F.log_softmax(self.fc3(x), dim=1)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the mean loss of the batch, a scalar to minimise, and log the metrics."""
        return self._step(batch, "train")

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log the batch's ``val_`` metrics."""
        self._step(batch, "val")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log the batch's ``test_`` metrics."""
        self._step(batch, "test")

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the most probable class of each image: (N,) int64."""
        return self(batch[0]).argmax(dim=1)  # type: ignore[no-any-return]

    def _step(self, batch: tuple[Tensor, Tensor], stage: str) -> Tensor:
        images, labels = batch
        log_probabilities = self(images)
        loss = F.nll_loss(log_probabilities, labels)
        log_loss_and_accuracy(self, stage, loss, log_probabilities, labels)
        return loss

    def configure_optimizers(self) -> Any:
        """Return the optimizer, with its scheduler if one is chosen."""
        hparams = self.hparams
        optimizer = optimizers.optimizer(
            self,
            hparams["optimizer"],
            learning_rate=self.learning_rate,
            weight_decay=hparams["weight_decay"],
            momentum=hparams["momentum"],
        )
        if hparams["lr_schedule"] is None:
            return optimizer
        step_size, gamma = hparams["lr_step_size"], hparams["lr_gamma"]
        schedule = optimizers.schedule(self, optimizer, hparams["lr_schedule"], step_size=step_size, gamma=gamma)
        return {"optimizer": optimizer, "lr_scheduler": schedule}


def _side_after(side: int) -> int:
    """Return the side's pixels after two 3x3 convolutions, a pool, two more convolutions and a pool."""
    return ((side - 4) // 2 - 4) // 2


def _check_shape(shape: tuple[int, ...]) -> tuple[int, int, int]:
    if len(shape) != 3 or shape[0] < 1 or min(shape[1:]) < SMALLEST_SIDE:
        raise ValueError(
            "`input_shape` must be (channels, height, width) with height and width "
            f">= {SMALLEST_SIDE}, but got {tuple(shape)}"
        )
    channels, height, width = (int(size) for size in shape)
    return channels, height, width
