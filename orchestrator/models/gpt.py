"""LitGPT: a small language model over characters, with the layers of GPT-2.

Source: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"; layers normalised before attention.
"""

from __future__ import annotations

import math
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import functional as F


class CausalAttention(nn.Module):
    """Attention of each position to itself and to earlier ones: (N, time, width) float to the same shape."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.project_in = nn.Linear(width, 3 * width)
        self.project_out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the attended values."""
        parts = self.project_in(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        queries, keys, values = parts.unbind(0)
        mixed = F.scaled_dot_product_attention(queries, keys, values, dropout_p=dropout, is_causal=True)
        return self.project_out(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class Block(nn.Module):
    """A transformer layer: attention and a network of two layers, each added to its input."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = CausalAttention(width, heads, dropout)
        self.network = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, time, width) float, as the input."""
        x = x + self.drop(self.attention(self.norm_1(x)))
        return x + self.drop(self.network(self.norm_2(x)))  # type: ignore[no-any-return]


class LitGPT(L.LightningModule):
    """Predicts the next character of a text, with AdamW, a linear warm-up and a cosine decay by steps.

    Logs ``train_loss``, ``val_loss`` and ``test_loss``: cross-entropy in nats a token; and ``tokens_seen``: how many
    tokens the trial was trained on. Batches are (inputs (N, time) int64, targets (N, time) int64), the targets being
    the inputs shifted by one.

    Args:
        vocabulary: number of tokens.
        context: the most positions of an input.
        width: numbers in a token's representation, a multiple of ``heads``.
        layers: number of transformer layers.
        heads: attention heads in a layer.
        dropout: share of the numbers that are dropped in training.
        learning_rate: the highest learning rate, reached at the end of the warm-up.
        weight_decay: decoupled decay of the matrices; biases and norms are not decayed.
        warmup: share of the optimizer steps in which the rate rises.
        final_rate: the rate at the end, as a share of the highest.

    Raises:
        ValueError: an argument is out of range, or an input is longer than ``context``.

    Example:
        >>> import torch
        >>> from orchestrator.models import LitGPT
        >>> LitGPT(width=64, layers=2, heads=2)(torch.zeros(8, 32, dtype=torch.int64)).shape
        torch.Size([8, 32, 97])
    """

    def __init__(
        self,
        vocabulary: int = 97,
        context: int = 128,
        width: int = 128,
        layers: int = 4,
        heads: int = 4,
        dropout: float = 0.0,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.1,
        warmup: float = 0.1,
        final_rate: float = 0.1,
    ) -> None:
        super().__init__()
        if width % heads or min(vocabulary, context, width, layers, heads) < 1:
            raise ValueError(f"sizes must be >= 1 and `width` a multiple of `heads`, but got {width} and {heads}")
        if not 0 <= warmup < 1:
            raise ValueError(f"`0 <= warmup < 1` must hold, but got {warmup}")
        self.save_hyperparameters()
        self.context = context
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.warmup, self.final_rate = warmup, final_rate
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(context, width)
        self.drop = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*(Block(width, heads, dropout) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        self.scores = nn.Linear(width, vocabulary, bias=False)
        self.scores.weight = self.tokens.weight  # one table for input and output
        self._initialize(layers)
        self.tokens_seen = 0

    def _initialize(self, layers: int) -> None:
        """Draw weights as GPT-2 does: what is added to the residual path is smaller the more layers there are."""
        for name, weight in self.named_parameters():
            if weight.ndim < 2:
                continue
            added = name.endswith(("project_out.weight", "network.2.weight"))
            nn.init.normal_(weight, std=0.02 / math.sqrt(2 * layers) if added else 0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Return the scores (N, time, vocabulary) float of the token after each position of (N, time) int64."""
        if x.shape[1] > self.context:
            raise ValueError(f"an input has {x.shape[1]} positions, and the model {self.context}")
        places = torch.arange(x.shape[1], device=x.device)
        embedded = self.drop(self.tokens(x) + self.positions(places))
        return self.scores(self.norm(self.blocks(embedded)))  # type: ignore[no-any-return]

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the mean loss of the batch, a scalar to minimise."""
        loss = self._loss(batch)
        self.log("train_loss", loss, on_step=True, on_epoch=False, batch_size=len(batch[0]))
        return loss

    def on_train_batch_end(self, outputs: Any, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Count the batch's tokens, over all processes, and log how many there were so far."""
        self.tokens_seen += batch[0].numel() * self.trainer.world_size
        self.log("tokens_seen", float(self.tokens_seen), batch_size=len(batch[0]))

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log the batch's ``val_loss``."""
        self.log("val_loss", self._loss(batch), batch_size=len(batch[0]), sync_dist=True)

    def test_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log the batch's ``test_loss``."""
        self.log("test_loss", self._loss(batch), batch_size=len(batch[0]), sync_dist=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the number of tokens."""
        checkpoint["tokens_seen"] = self.tokens_seen

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore the number of tokens."""
        self.tokens_seen = checkpoint.get("tokens_seen", 0)

    def _loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        inputs, targets = batch
        return F.cross_entropy(self(inputs).flatten(0, 1), targets.flatten())

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return AdamW, whose matrices alone decay, and its schedule by steps."""
        matrices = [weight for weight in self.parameters() if weight.ndim >= 2]
        others = [weight for weight in self.parameters() if weight.ndim < 2]
        groups = [{"params": matrices, "weight_decay": self.weight_decay}, {"params": others, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=self.learning_rate, betas=(0.9, 0.95))
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: self._rate(step, steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _rate(self, step: int, steps: int) -> float:
        """Return the learning rate of a step as a share of the highest."""
        rising = math.ceil(self.warmup * steps)
        if step < rising:
            return (step + 1) / rising
        done = min(1.0, (step - rising) / max(1, steps - rising))
        return self.final_rate + (1 - self.final_rate) * (1 + math.cos(math.pi * done)) / 2
