"""LitClassifier: the classifier around any nn.Module of Lightning's guide "How to organize PyTorch into Lightning".

Source: https://lightning.ai/docs/pytorch/stable/starter/converting.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import lightning as L
from torch import Tensor, nn
from torch.nn import functional as F

from orchestrator.models import optimizers
from orchestrator.models.step_metrics import log_loss_and_accuracy


class MLP(nn.Module):
    """The guide's network: flattened images (N, ...) float, one hidden layer, scores (N, out_features) float.

    Args:
        in_features: numbers in an image: channels x height x width.
        hidden: width of the hidden layer.
        out_features: number of scores, one a class.

    Example:
        >>> import torch
        >>> from orchestrator.models import MLP
        >>> MLP(hidden=64)(torch.zeros(8, 1, 28, 28)).shape
        torch.Size([8, 10])
    """

    def __init__(self, in_features: int = 28 * 28, hidden: int = 128, out_features: int = 10) -> None:
        super().__init__()
        self.in_features, self.hidden, self.out_features = in_features, hidden, out_features
        self.layer_1 = nn.Linear(in_features, hidden)
        self.layer_2 = nn.Linear(hidden, out_features)

    def forward(self, x: Tensor) -> Tensor:
        """Return the unnormalised scores (N, out_features) of images (N, ...)."""
        return self.layer_2(F.relu(self.layer_1(x.flatten(1))))  # type: ignore[no-any-return]


class LitClassifier(L.LightningModule):
    """Classifies images by the scores of ``encoder``, with cross-entropy, Adam and a learning-rate scheduler.

    Logs ``train_loss``, ``train_acc``, ``val_loss``, ``val_acc``, ``test_loss`` and ``test_acc``: cross-entropy in nats
    and accuracy in [0, 1], averaged over the epoch's samples. Batches are (images (N, ...) float, labels (N,) int64).

    A checkpoint holds an ``MLP``'s arguments as plain values, so that ``LitClassifier.load_from_checkpoint(path)``
    rebuilds it. Pass any other encoder again when loading: ``load_from_checkpoint(path, encoder=...)``.

    Args:
        encoder: maps images (N, ...) to unnormalised scores (N, num_classes).
        num_classes: number of scores that ``encoder`` must return.
        learning_rate: Adam's initial learning rate.
        lr_scheduler: the guide has ``step``; None keeps the rate constant. See
            :func:`orchestrator.models.optimizers.schedule`.
        step_size: epochs between the steps of ``step``.
        gamma: factor of each step of ``step`` and ``exponential``.

    Raises:
        ValueError: at the first batch, if ``encoder`` returns another number of scores.

    Example:
        >>> import torch
        >>> from orchestrator.models import MLP, LitClassifier
        >>> model = LitClassifier(MLP(hidden=64), learning_rate=1e-3, lr_scheduler="cosine")
        >>> model(torch.zeros(8, 1, 28, 28)).shape
        torch.Size([8, 10])
    """

    def __init__(
        self,
        encoder: nn.Module,
        num_classes: int = 10,
        learning_rate: float = 1e-3,
        lr_scheduler: Literal["step", "cosine", "exponential"] | None = "step",
        step_size: int = 1,
        gamma: float = 0.1,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(ignore=["encoder"])
        # From a checkpoint this is the arguments of the module, from a caller the module itself.
        self.encoder = MLP(**encoder) if isinstance(encoder, Mapping) else encoder
        if type(self.encoder) is MLP:
            sizes = ("in_features", "hidden", "out_features")
            self.hparams["encoder"] = {name: getattr(self.encoder, name) for name in sizes}
        self.num_classes = num_classes
        self.learning_rate = learning_rate

    def forward(self, x: Tensor) -> Tensor:
        """Return the unnormalised scores (N, num_classes) of images (N, ...), both float."""
        scores: Tensor = self.encoder(x)
        if scores.shape[1:] != (self.num_classes,):
            raise ValueError(
                f"`encoder` must return (N, num_classes) = (N, {self.num_classes}) scores, "
                f"but returned {tuple(scores.shape)}"
            )
        return scores

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
        scores = self(images)
        loss = F.cross_entropy(scores, labels)
        log_loss_and_accuracy(self, stage, loss, scores, labels)
        return loss

    def configure_optimizers(self) -> Any:
        """Return the optimizer, with its scheduler if one is chosen."""
        hparams = self.hparams
        optimizer = optimizers.optimizer(self, "adam", learning_rate=self.learning_rate)
        if hparams["lr_scheduler"] is None:
            return optimizer
        step_size, gamma = hparams["step_size"], hparams["gamma"]
        schedule = optimizers.schedule(self, optimizer, hparams["lr_scheduler"], step_size=step_size, gamma=gamma)
        return {"optimizer": optimizer, "lr_scheduler": schedule}
