"""Callbacks as users write them: with odd state, with random numbers, and those that change the training."""

from __future__ import annotations

import collections
import dataclasses
import enum
import random
from pathlib import Path
from typing import Any, ClassVar

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import BaseFinetuning, LearningRateFinder, ModelCheckpoint


class Phase(enum.Enum):
    WARM = "warm"
    LATE = (1, 2)


@dataclasses.dataclass
class Record:
    epoch: Any
    losses: Any
    where: Path = Path("none")


class OddState(L.Callback):
    """Keeps values of many types, each of which depends on all epochs before."""

    def __init__(self) -> None:
        self.state: dict[Any, Any] = {
            "deque": collections.deque(maxlen=2),
            "set": set(),
            "tuple": (),
            "array": np.zeros(2, np.float32),
            "counts": collections.Counter(),
            "lists": collections.defaultdict(list),
            "record": Record(np.int8(0), ()),
            "phase": Phase.WARM,
            "tensor": torch.zeros(2),
            ("typed", 1): frozenset(),
            3: {"$tuple": [1]},
        }

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        epoch, state = trainer.current_epoch, self.state
        loss = float(trainer.callback_metrics.get("val_loss", torch.tensor(float("nan"))))
        state["deque"].append(np.float64(loss))
        state["set"].add((epoch, np.int64(epoch)))
        state["tuple"] = (*state["tuple"], complex(epoch, loss))
        state["array"] += 1
        state["counts"][f"epoch {epoch}"] += epoch
        state["lists"][np.int16(epoch % 2)].append(b"x" * epoch)
        state["record"] = Record(np.uint8(epoch), (*state["record"].losses, loss), Path(f"e{epoch}"))
        state["phase"] = Phase.LATE
        state["tensor"] = state["tensor"] * 2 + epoch
        state["typed", 1] |= {None, epoch}

    def state_dict(self) -> dict[str, Any]:
        return {"state": self.state}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.state = state_dict["state"]


class Draws(L.Callback):
    """Draws random numbers in its hooks, and moves the weights by them."""

    def __init__(self, hooks: list[str]) -> None:
        self.hooks = hooks
        self.drawn: list[float] = []

    def _draw(self, hook: str, module: L.LightningModule) -> None:
        if hook not in self.hooks:
            return
        self.drawn.append(random.random() + float(np.random.rand()) + float(torch.rand(())))
        with torch.no_grad():
            next(iter(module.parameters())).mul_(1 + 0.01 * self.drawn[-1])

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.current_epoch == 0:
            self._draw("train_start", pl_module)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._draw("epoch_start", pl_module)

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        self._draw("batch_start", pl_module)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._draw("validation_end", pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._draw("epoch_end", pl_module)

    def state_dict(self) -> dict[str, Any]:
        return {"drawn": list(self.drawn)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.drawn = list(state_dict["drawn"])


class SavesToo(L.Callback):
    """Adds to the checkpoint under keys of its own, and expects them back."""

    def __init__(self) -> None:
        self.epochs: Any = ()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.epochs = (*self.epochs, np.int32(trainer.current_epoch))

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["saves too"] = self.epochs

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        self.epochs = checkpoint["saves too"]


class Thaw(BaseFinetuning):
    """Freezes the first layer, and adds it to the optimizer in the third epoch."""

    def freeze_before_training(self, pl_module: L.LightningModule) -> None:
        self.freeze(pl_module.body)

    def finetune_function(self, pl_module: L.LightningModule, epoch: int, optimizer: Any) -> None:
        if epoch == 2:
            self.unfreeze_and_add_param_group(pl_module.body, optimizer, lr=0.01)


class Unwritable(L.Callback):
    """Keeps what only unpickling could restore."""

    def state_dict(self) -> dict[str, Any]:
        return {"rule": lambda x: x}


class Ending(L.Callback):
    """Counts the validations of all segments, and keeps in ``last`` how the last training ended."""

    last: ClassVar[dict[str, Any]] = {}

    def __init__(self) -> None:
        self.validations = 0

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.validations += not trainer.sanity_checking

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        savers = [each for each in trainer.callbacks if isinstance(each, ModelCheckpoint)]  # type: ignore[attr-defined]
        Ending.last = {
            "weights": {name: value.clone() for name, value in pl_module.state_dict().items() if _is_tensor(value)},
            "steps": trainer.global_step,
            "epochs": trainer.current_epoch,
            "validations": self.validations,
            "rates": [group["lr"] for optimizer in trainer.optimizers for group in optimizer.param_groups],
            "best": [(Path(each.best_model_path).name, each.best_model_score) for each in savers],
            "files": [sorted(path.name for path in Path(str(each.dirpath)).glob("*")) for each in savers],
        }

    def state_dict(self) -> dict[str, Any]:
        return {"validations": self.validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.validations = state_dict["validations"]


def _is_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor)  # not a layer's extra state


class StopsAtBatch(L.Callback):
    """Asks for a stop after a batch, counted over all epochs, and takes it back after ``undo``."""

    def __init__(self, at: int, undo: int = 0) -> None:
        self.at, self.undo = at, undo

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        batches = trainer.fit_loop.total_batch_idx + 1
        if batches in (self.at, self.undo):
            trainer.should_stop = batches == self.at


class StopsItself(L.Callback):
    """Asks for a stop after an epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.current_epoch == self.epoch:
            trainer.should_stop = True


class QuickFinder(LearningRateFinder):
    """Finds a learning rate in a few batches."""

    def __init__(self) -> None:
        super().__init__(num_training_steps=20, early_stop_threshold=None)
