"""LitAutoEncoder: Lightning's first example, 784→64→3→64→784, with encoder and decoder as constructor arguments.

Source: https://lightning.ai/docs/pytorch/stable/starter/introduction.html.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn, optim
from torch.nn import functional as F


class Encoder(nn.Module):
    """Encodes flat images (N, in_features) float as codes (N, latent) float.

    Args:
        hidden: width of the hidden layer.
        latent: width of the code.
        in_features: numbers in an image: channels x height x width.

    Example:
        >>> import torch
        >>> from orchestrator.models import Encoder
        >>> Encoder(latent=3)(torch.zeros(8, 784)).shape
        torch.Size([8, 3])
    """

    def __init__(self, hidden: int = 64, latent: int = 3, in_features: int = 28 * 28) -> None:
        super().__init__()
        self.hidden, self.latent, self.in_features = hidden, latent, in_features
        self.l1 = nn.Sequential(nn.Linear(in_features, hidden), nn.ReLU(), nn.Linear(hidden, latent))

    def forward(self, x: Tensor) -> Tensor:
        """Return the codes (N, latent) of flat images (N, in_features)."""
        return self.l1(x)  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """Decodes codes (N, latent) float to flat images (N, out_features) float.

    Args:
        hidden: width of the hidden layer.
        latent: width of the code.
        out_features: numbers in an image: channels x height x width.

    Example:
        >>> import torch
        >>> from orchestrator.models import Decoder
        >>> Decoder(latent=3)(torch.zeros(8, 3)).shape
        torch.Size([8, 784])
    """

    def __init__(self, hidden: int = 64, latent: int = 3, out_features: int = 28 * 28) -> None:
        super().__init__()
        self.hidden, self.latent, self.out_features = hidden, latent, out_features
        self.l1 = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, out_features))

    def forward(self, x: Tensor) -> Tensor:
        """Return the flat images (N, out_features) of codes (N, latent)."""
        return self.l1(x)  # type: ignore[no-any-return]


class LitAutoEncoder(L.LightningModule):
    """Reconstructs flattened images, with the mean squared error and Adam.

    Logs ``train_loss``, ``val_loss`` and ``test_loss``: mean squared errors per pixel value, averaged over the epoch's
    samples. Batches are (images (N, ...) float, labels), of which the labels are ignored.

    Checkpoints hold the arguments of an ``Encoder`` and a ``Decoder`` as plain values, so that
    ``LitAutoEncoder.load_from_checkpoint(path)`` rebuilds them. Pass other modules, and subclasses, again when loading:
    ``load_from_checkpoint(path, encoder=..., decoder=...)``.

    Args:
        encoder: maps flat images (N, features) to codes (N, latent).
        decoder: maps codes (N, latent) to flat images (N, features).
        learning_rate: Adam's.

    Raises:
        ValueError: the sizes of encoder and decoder differ.

    Example:
        >>> import torch
        >>> from orchestrator.models import Decoder, Encoder, LitAutoEncoder
        >>> model = LitAutoEncoder(Encoder(latent=8), Decoder(latent=8), learning_rate=1e-3)
        >>> model(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 784])
    """

    def __init__(self, encoder: Encoder, decoder: Decoder, learning_rate: float = 1e-3) -> None:
        super().__init__()
        self.save_hyperparameters(ignore=["encoder", "decoder"])
        # From a checkpoint these are the arguments of the module, from a caller the module itself.
        self.encoder: nn.Module = Encoder(**encoder) if isinstance(encoder, Mapping) else encoder
        self.decoder: nn.Module = Decoder(**decoder) if isinstance(decoder, Mapping) else decoder
        _check_sizes(self.encoder, self.decoder)
        self.hparams.update(_plain_arguments(self.encoder, self.decoder))
        self.learning_rate = learning_rate

    def forward(self, x: Tensor) -> Tensor:
        """Return the reconstructions (N, features) of images (N, ...), both float."""
        return self.decoder(self.encoder(x.flatten(1)))  # type: ignore[no-any-return]

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
        """Return the code of each image: (N, latent) float."""
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
        """Return Adam over all parameters."""
        return optim.Adam(self.parameters(), lr=self.learning_rate)


def _check_sizes(encoder: nn.Module, decoder: nn.Module) -> None:
    for encoder_name, decoder_name in (("latent", "latent"), ("in_features", "out_features")):
        size, decoder_size = getattr(encoder, encoder_name, None), getattr(decoder, decoder_name, None)
        if size != decoder_size and size is not None and decoder_size is not None:
            raise ValueError(
                f"`encoder.{encoder_name} == decoder.{decoder_name}` must hold, "
                f"but got encoder.{encoder_name}={size}, decoder.{decoder_name}={decoder_size}"
            )


def _plain_arguments(encoder: nn.Module, decoder: nn.Module) -> dict[str, Any]:
    """Return the arguments that rebuild an Encoder and a Decoder; other classes are left out."""
    arguments: dict[str, Any] = {}
    if type(encoder) is Encoder:
        arguments["encoder"] = {name: getattr(encoder, name) for name in ("hidden", "latent", "in_features")}
    if type(decoder) is Decoder:
        arguments["decoder"] = {name: getattr(decoder, name) for name in ("hidden", "latent", "out_features")}
    return arguments
