"""LitClassifier: Lightning's "organise your PyTorch" guide, a classifier around any nn.Module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import lightning as L
from torch import Tensor, nn
from torch.nn import functional as F

from orchestrator.models import optimizers
from orchestrator.models.step_metrics import log_loss_and_accuracy


class MLP(nn.Module):
    """The guide's network: images (N, ...) float, flattened, through one hidden layer to scores (N, out_features)."""

    def __init__(self, in_features: int = 28 * 28, hidden: int = 128, out_features: int = 10) -> None:
        super().__init__()
        self.in_features, self.hidden, self.out_features = in_features, hidden, out_features
        self.layer_1 = nn.Linear(in_features, hidden)
        self.layer_2 = nn.Linear(hidden, out_features)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer_2(F.relu(self.layer_1(x.flatten(1))))  # type: ignore[no-any-return]


class LitClassifier(L.LightningModule):
    """Cross-entropy over the scores of ``encoder``, with Adam and a learning-rate scheduler.

    Logs ``train_loss train_acc val_loss val_acc test_loss test_acc``. A checkpoint holds an ``MLP``'s arguments as
    plain values, so ``LitClassifier.load_from_checkpoint(path)`` rebuilds it; any other encoder is given again when
    reloading: ``load_from_checkpoint(path, encoder=...)``.

    Args:
        encoder: images (N, ...) to unnormalised scores (N, num_classes).
        num_classes: how many scores ``encoder`` must give.
        learning_rate: Adam's.
        lr_scheduler: the guide's is ``step``; None keeps the rate; see :func:`orchestrator.models.optimizers.schedule`.
        step_size: epochs between the steps of ``step``.
        gamma: factor of each step of ``step`` and ``exponential``.

    The first batch raises ValueError where ``encoder`` gives another number of scores.
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
        # A checkpoint gives the arguments where the caller gives the module.
        self.encoder = MLP(**encoder) if isinstance(encoder, Mapping) else encoder
        if type(self.encoder) is MLP:
            sizes = ("in_features", "hidden", "out_features")
            self.hparams["encoder"] = {name: getattr(self.encoder, name) for name in sizes}
        self.num_classes = num_classes
        self.learning_rate = learning_rate

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, ...) float to unnormalised scores (N, num_classes) float."""
        scores: Tensor = self.encoder(x)
        if scores.shape[1:] != (self.num_classes,):
            raise ValueError(
                f"`encoder` must give (N, num_classes) = (N, {self.num_classes}) scores, but gave {tuple(scores.shape)}"
            )
        return scores

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return self._step(batch, "train")

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._step(batch, "val")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._step(batch, "test")

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The most probable class of each image: (N,) int64."""
        return self(batch[0]).argmax(dim=1)  # type: ignore[no-any-return]

    def _step(self, batch: tuple[Tensor, Tensor], stage: str) -> Tensor:
        images, labels = batch
        scores = self(images)
        loss = F.cross_entropy(scores, labels)
        log_loss_and_accuracy(self, stage, loss, scores, labels)
        return loss

    def configure_optimizers(self) -> Any:
        chosen = self.hparams
        optimizer = optimizers.optimizer(self, "adam", learning_rate=self.learning_rate)
        if chosen["lr_scheduler"] is None:
            return optimizer
        step_size, gamma = chosen["step_size"], chosen["gamma"]
        schedule = optimizers.schedule(self, optimizer, chosen["lr_scheduler"], step_size=step_size, gamma=gamma)
        return {"optimizer": optimizer, "lr_scheduler": schedule}
