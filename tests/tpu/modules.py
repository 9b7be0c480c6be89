"""What the tests train on XLA: a LitModel that tells how its batches are spread, and one with what DDP must sync."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

from orchestrator.models import LitModel


class Spread(LitModel):
    """Logs ``val_pieces``: into how many pieces XLA has cut the validation batch."""

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        super().validation_step(batch, batch_idx)
        if batch_idx == 0:
            self.log("val_pieces", float(pieces(batch[0])))


def pieces(tensor: Tensor) -> int:
    """By XLA's own account, ``{devices=[4,1,1,1]0,1,2,3}``; 1 where it is in one piece."""
    if tensor.device.type != "xla":
        return 1
    import torch_xla

    said = torch_xla._XLAC._get_xla_sharding_spec(tensor)
    return int(said.partition("devices=[")[2].partition(",")[0]) if "devices=[" in said else 1


class Points(L.LightningDataModule):
    """Four classes of points, in unequal shares: 96 to train on, 50 to validate on."""

    def __init__(self, batch_size: int = 8) -> None:
        super().__init__()
        self.batch_size = batch_size

    def setup(self, stage: str) -> None:
        x = torch.randn(146, 6, generator=torch.Generator().manual_seed(1))
        y = (x[:, 0] > 0).long() + 2 * (x[:, 1] > 0.7).long()
        self.train, self.val = TensorDataset(x[:96], y[:96]), TensorDataset(x[96:], y[96:])

    def train_dataloader(self) -> Any:
        return DataLoader(self.train, self.batch_size, shuffle=True)

    def val_dataloader(self) -> Any:
        return DataLoader(self.val, 5)


class Centred(nn.Module):
    """Takes off the mean of what it has seen, which each process sees otherwise: a buffer, as in batch normalisation.

    That itself is no reference: torch_xla 2.9 keeps the variance of n values with n, where torch divides by n - 1.
    """

    mean: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            with torch.no_grad():
                self.mean.mul_(0.9).add_(0.1 * x.mean(dim=0))
        return x - self.mean


class Normed(L.LightningModule):
    """With a buffer that each process changes by its own data, and a metric that counts over all of them."""

    def __init__(self, learning_rate: float = 0.1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(6, 16), Centred(16), nn.ReLU(), nn.Linear(16, 4))
        self.accuracy = MulticlassAccuracy(num_classes=4, average="macro")

    def training_step(self, batch: Any, index: int) -> Any:
        loss = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.log("train_loss", loss, on_step=False, on_epoch=True, sync_dist=True)
        return loss

    def validation_step(self, batch: Any, index: int) -> None:
        scores = self.net(batch[0])
        self.accuracy(scores, batch[1])
        self.log("val_loss", nn.functional.cross_entropy(scores, batch[1]), sync_dist=True)
        self.log("val_acc", self.accuracy)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.hparams["learning_rate"], momentum=0.9)


class Dropping(Normed):
    """Draws its dropout on the device."""

    def __init__(self) -> None:
        super().__init__()
        self.net.append(nn.Dropout(0.3))
