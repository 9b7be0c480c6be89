"""LitAutoEncoder: Lightning's first example, 784→64→3→64→784, its two halves given as constructor arguments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn, optim
from torch.nn import functional as F


class Encoder(nn.Module):
    """Flat images (N, in_features) to codes (N, latent), both float."""

    def __init__(self, hidden: int = 64, latent: int = 3, in_features: int = 28 * 28) -> None:
        super().__init__()
        self.hidden, self.latent, self.in_features = hidden, latent, in_features
        self.l1 = nn.Sequential(nn.Linear(in_features, hidden), nn.ReLU(), nn.Linear(hidden, latent))

    def forward(self, x: Tensor) -> Tensor:
        return self.l1(x)  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """Codes (N, latent) to flat images (N, out_features), both float."""

    def __init__(self, hidden: int = 64, latent: int = 3, out_features: int = 28 * 28) -> None:
        super().__init__()
        self.hidden, self.latent, self.out_features = hidden, latent, out_features
        self.l1 = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, out_features))

    def forward(self, x: Tensor) -> Tensor:
        return self.l1(x)  # type: ignore[no-any-return]


class LitAutoEncoder(L.LightningModule):
    """Reconstructs flattened images under the mean squared error, with Adam. Logs ``train_loss val_loss test_loss``.

    Checkpoints hold the halves' own arguments as plain values, so ``LitAutoEncoder.load_from_checkpoint(path)``
    rebuilds an ``Encoder`` and a ``Decoder``. Other modules, and subclasses, are given again when reloading:
    ``load_from_checkpoint(path, encoder=..., decoder=...)``.

    Args:
        encoder: flat images to codes.
        decoder: codes to flat images.
        learning_rate: Adam's.

    Raises ValueError where the two do not fit together.
    """

    def __init__(self, encoder: Encoder, decoder: Decoder, learning_rate: float = 1e-3) -> None:
        super().__init__()
        self.save_hyperparameters(ignore=["encoder", "decoder"])
        # A checkpoint gives the arguments where the caller gives the module.
        self.encoder: nn.Module = Encoder(**encoder) if isinstance(encoder, Mapping) else encoder
        self.decoder: nn.Module = Decoder(**decoder) if isinstance(decoder, Mapping) else decoder
        _check_fit(self.encoder, self.decoder)
        self.hparams.update(_plain_arguments(self.encoder, self.decoder))
        self.learning_rate = learning_rate

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, ...) float to reconstructions (N, features) float."""
        return self.decoder(self.encoder(x.flatten(1)))  # type: ignore[no-any-return]

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return self._step(batch, "train")

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._step(batch, "val")

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self._step(batch, "test")

    def predict_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The code of each image: (N, latent) float."""
        return self.encoder(batch[0].flatten(1))  # type: ignore[no-any-return]

    def _step(self, batch: tuple[Tensor, Tensor], stage: str) -> Tensor:
        images = batch[0].flatten(1)
        loss = F.mse_loss(self(images), images)
        self.log(
            f"{stage}_loss",
            loss.detach(),
            on_step=False,
            on_epoch=True,
            prog_bar=stage == "val",
            batch_size=len(images),
            sync_dist=stage != "train" and torch.distributed.is_available() and torch.distributed.is_initialized(),
        )
        return loss

    def configure_optimizers(self) -> optim.Optimizer:
        return optim.Adam(self.parameters(), lr=self.learning_rate)


def _check_fit(encoder: nn.Module, decoder: nn.Module) -> None:
    for ours, theirs in (("latent", "latent"), ("in_features", "out_features")):
        left, right = getattr(encoder, ours, None), getattr(decoder, theirs, None)
        if left != right and left is not None and right is not None:
            raise ValueError(
                f"`encoder.{ours} == decoder.{theirs}` must hold, "
                f"but got encoder.{ours}={left}, decoder.{theirs}={right}"
            )


def _plain_arguments(encoder: nn.Module, decoder: nn.Module) -> dict[str, Any]:
    """What rebuilds the two halves, where they are our own classes and so hold nothing but sizes."""
    found: dict[str, Any] = {}
    if type(encoder) is Encoder:
        found["encoder"] = {name: getattr(encoder, name) for name in ("hidden", "latent", "in_features")}
    if type(decoder) is Decoder:
        found["decoder"] = {name: getattr(decoder, name) for name in ("hidden", "latent", "out_features")}
    return found
