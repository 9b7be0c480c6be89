"""Modules that can be exported in some ways and not in others. Imported by path, as a user's own would be."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, random_split

from tests.support.tiny import Tiny, TinyData


class Line(Tiny):
    """Tiny with a ``forward``: (N, 2) float to (N, 1) float."""

    def forward(self, x: Tensor) -> Any:
        return self.layer(x)


class Branching(Line):
    """Python decides by what the data are: no trace holds for all of them."""

    def forward(self, x: Tensor) -> Any:
        return self.layer(x) * 2 if x.sum() > 0 else self.layer(x)


class Unusual(Line):
    """An operation that ONNX has not got."""

    def forward(self, x: Tensor) -> Any:
        return torch.special.i1e(self.layer(x))


class Noisy(Line):
    def forward(self, x: Tensor) -> Any:
        return self.layer(x) + torch.randn(1)


class Two(Line):
    def forward(self, x: Tensor) -> Any:
        return self.layer(x), x


class Tied(Line):
    """Two names for one weight, and one that ``load_from_checkpoint`` is not told of."""

    def __init__(self, layer: nn.Module, learning_rate: float = 0.1) -> None:
        super().__init__(learning_rate)
        self.hparams.pop("layer", None)
        self.layer = layer  # type: ignore[assignment]  # Tiny's is a Linear
        self.same = self.layer

    def forward(self, x: Tensor) -> Any:
        return self.layer(x) + self.same(x)


class Keeps(Line):
    """As forecasting libraries do: what only unpickling restores, also as a hyperparameter that a hook adds."""

    def __init__(self, loss: nn.Module | None = None, learning_rate: float = 0.1) -> None:
        super().__init__(learning_rate)
        self.hparams.pop("loss", None)
        self.loss = loss or nn.SmoothL1Loss(beta=0.25)

    def test_step(self, batch: Any, index: int) -> None:
        self.log("test_loss", self.loss(self(batch[0]), torch.zeros(len(batch[0]), 1)))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["their loss"] = self.loss
        checkpoint.setdefault("hyper_parameters", {})["loss"] = self.loss

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.loss = checkpoint["their loss"]


class TestedData(TinyData):
    """TinyData with a test set."""

    def test_dataloader(self) -> Any:
        return self.val_dataloader()


class OwnLoaders(Line):
    """Brings its data itself."""

    def __init__(self, learning_rate: float = 0.1) -> None:
        super().__init__(learning_rate)
        self.source = TinyData()

    def setup(self, stage: str) -> None:
        self.source.setup(stage)

    def train_dataloader(self) -> Any:
        return self.source.train_dataloader()

    def val_dataloader(self) -> Any:
        return self.source.val_dataloader()


class Vanishing(TinyData):
    """Data that are there for the sweep and gone when it is exported."""

    gone = False

    def setup(self, stage: str) -> None:
        if type(self).gone:
            raise FileNotFoundError("the d1sk with the data is not mounted")
        super().setup(stage)


class Split(TinyData):
    """Splits by the process's own random numbers, as ``random_split`` without a generator does."""

    def setup(self, stage: str) -> None:
        super().setup(stage)
        self.kept, self.points = random_split(self.points, [20, 44])  # type: ignore[assignment]

    def val_dataloader(self) -> Any:
        return DataLoader(self.kept, 64)


class Exemplary(Line):
    """Says by example what it takes."""

    def __init__(self, learning_rate: float = 0.1) -> None:
        super().__init__(learning_rate)
        self.example_input_array = torch.zeros(1, 2)
