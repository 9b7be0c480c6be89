"""A module and a callback whose state is what people write: numpy's numbers, deques, enums, arrays, dataclasses."""

from __future__ import annotations

import collections
import dataclasses
import enum
import pathlib
from typing import Any

import lightning as L
import numpy as np
import torch

from tests.support.tiny import Tiny


class Phase(enum.Enum):
    WARM = 1
    LATE = 2


@dataclasses.dataclass
class Best:
    value: float = float("inf")
    where: pathlib.Path = pathlib.Path("none")


class OddLoop(Tiny):
    """Its learning rate is a number of numpy, and its own hooks keep more."""

    def __init__(self, learning_rate: float = 0.1) -> None:
        super().__init__(learning_rate)
        self.seen: Any = collections.defaultdict(list)
        self.phase = Phase.WARM

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.hparams["learning_rate"])
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda e: 0.5 * (1 + np.cos(np.pi * e / 10)))
        return [optimizer], [schedule]

    def on_train_epoch_end(self) -> None:
        self.seen[np.int64(self.current_epoch)].append(np.float32(self.current_epoch))
        self.phase = Phase.LATE

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["mine"] = {"seen": self.seen, "phase": self.phase, 1: {"folder": pathlib.Path("a")}}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.seen, self.phase = checkpoint["mine"]["seen"], checkpoint["mine"]["phase"]
        assert checkpoint["mine"][1] == {"folder": pathlib.Path("a")}


class Keep(L.Callback):
    """A callback's state as people write it."""

    kept: list[Any] = []  # noqa: RUF012

    def __init__(self) -> None:
        self.losses: Any = collections.deque(maxlen=2)
        self.best = Best()
        self.array = np.zeros(3)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        loss = float(trainer.callback_metrics["val_loss"])
        self.losses.append(loss)
        self.best = Best(min(self.best.value, loss), pathlib.Path(f"epoch{trainer.current_epoch}"))
        self.array += 1
        self.kept.append((self.losses.copy(), self.best, self.array.copy()))

    def state_dict(self) -> dict[str, Any]:
        return {"losses": self.losses, "best": self.best, "array": self.array}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.losses, self.best, self.array = state_dict["losses"], state_dict["best"], state_dict["array"]


class Unwritable(L.Callback):
    """Keeps what only unpickling could restore."""

    def state_dict(self) -> dict[str, Any]:
        return {"rules": [{"f": lambda x: x}]}


class Strict(Tiny):
    """Trains only if its arguments have the types that Python gave."""

    def __init__(self, dims=(16,), rate=None, act=None, table=None, phase=None) -> None:  # type: ignore[no-untyped-def]
        super().__init__(float(rate))
        seen = tuple(map(type, (dims, rate, act, table, phase)))
        expected = (tuple, np.float64, type, dict, Phase)
        if seen != expected or set(map(type, table)) != {int, str}:
            raise TypeError(f"{seen}, {table}")
