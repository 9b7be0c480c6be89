"""Modules and data whose batches are no pair of tensors: a mapping, nested tuples, graphs, texts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

COUNT, SIZE = 16, 4


class _Module(L.LightningModule):
    """Regression with one linear layer; ``score`` computes (N, 1) of a batch, ``target`` is its (N, 1)."""

    def __init__(self, learning_rate: float = 0.05, width: int = 2) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer = nn.Linear(width, 1)

    def score(self, batch: Any) -> Any:
        raise NotImplementedError

    def target(self, batch: Any) -> Any:
        raise NotImplementedError

    def forward(self, batch: Any) -> Any:
        return self.score(batch)

    def training_step(self, batch: Any, index: int) -> Any:
        return nn.functional.mse_loss(self.score(batch), self.target(batch))

    def validation_step(self, batch: Any, index: int) -> None:
        self.log("val_loss", nn.functional.mse_loss(self.score(batch), self.target(batch)), batch_size=SIZE)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.hparams["learning_rate"])


def _rows() -> Tensor:
    return torch.linspace(-1, 1, 2 * COUNT).view(COUNT, 2)


class _Data(L.LightningDataModule):
    def items(self) -> list[Any]:
        raise NotImplementedError

    collate: Any = None

    def train_dataloader(self) -> Any:
        return DataLoader(self.items(), SIZE, collate_fn=self.collate)  # type: ignore[arg-type]

    val_dataloader = train_dataloader


class OfMapping(_Module):
    """Its batch is a mapping of tensors, as those of tokenizers are."""

    def score(self, batch: Any) -> Any:
        return self.layer(batch["values"]) * batch["mask"]

    def target(self, batch: Any) -> Any:
        return batch["label"]


class Mappings(_Data):
    def items(self) -> list[Any]:
        return [{"values": row, "mask": torch.ones(1), "label": row.sum()[None]} for row in _rows()]


class OfTuple(_Module):
    """Its batch is ((left, right), label), and ``forward`` takes both of them."""

    def score(self, batch: Any) -> Any:
        (left, right), _ = batch
        return self(left, right)

    def forward(self, left: Any, right: Any = None) -> Any:
        return self.layer(torch.cat([left, right], 1))

    def predict_step(self, batch: Any, index: int) -> Any:
        return self.score(batch)

    def target(self, batch: Any) -> Any:
        return batch[1]


class Tuples(_Data):
    def items(self) -> list[Any]:
        return [((row[:1], row[1:]), row.sum()[None]) for row in _rows()]


@dataclass
class Graph:
    """A batch of graphs, as graph libraries make it: nodes (nodes, 2), edges (2, edges), the graph of each node."""

    x: Tensor
    edge_index: Tensor
    batch: Tensor
    y: Tensor

    def to(self, device: Any, **options: Any) -> Graph:
        moved = {name: value.to(device, **options) for name, value in vars(self).items()}
        return replace(self, **moved)


class OfGraph(_Module):
    """One message along each edge, then the mean over each graph's nodes."""

    def score(self, batch: Any) -> Any:
        start, end = batch.edge_index
        nodes = batch.x.index_add(0, end, batch.x[start])
        count = int(batch.batch.max()) + 1
        sums = torch.zeros(count, nodes.shape[1]).index_add(0, batch.batch, nodes)
        return self.layer(sums / torch.bincount(batch.batch, minlength=count)[:, None])

    def target(self, batch: Any) -> Any:
        return batch.y


class Graphs(_Data):
    def items(self) -> list[Any]:
        return [row.repeat(2 + index % 3, 1) for index, row in enumerate(_rows())]

    @staticmethod
    def collate(items: list[Tensor]) -> Graph:
        """Put graphs beside each other, each a path from its first node to its last."""
        edges, owner, start = [], [], 0
        for number, nodes in enumerate(items):
            edges.append(torch.stack([torch.arange(len(nodes) - 1), torch.arange(1, len(nodes))]) + start)
            owner.append(torch.full((len(nodes),), number))
            start += len(nodes)
        y = torch.stack([nodes[0].sum()[None] for nodes in items])
        return Graph(torch.cat(items), torch.cat(edges, 1), torch.cat(owner), y)


class OfText(_Module):
    """Takes texts as they are, and counts letters."""

    def score(self, batch: Any) -> Any:
        counts = [[text.count("a"), len(text)] for text in batch["text"]]
        return self.layer(torch.tensor(counts, dtype=torch.float32) / 10)

    def target(self, batch: Any) -> Any:
        return batch["length"][:, None]

    def predict_step(self, batch: Any, index: int) -> Any:
        return {"text": batch["text"], "score": self.score(batch)[:, 0]}


class Texts(_Data):
    def items(self) -> list[Any]:
        return [{"text": "banana"[: 1 + n % 6], "length": float(1 + n % 6) / 10} for n in range(COUNT)]


PAIRS = {"a mapping": "Mapping", "nested tuples": "Tuple", "graphs": "Graph", "texts": "Text"}
"""Kind of batch → the end of the names of module and data."""
