"""A LightningModule that uses the features of Lightning that its plan names, as strangers' modules do.

A plan is a mapping of JSON values (`tests.support.random_cases` draws it), so a job can hold it.
"""

from __future__ import annotations

import collections
import datetime
import fractions
import math
import random
from typing import Any

import lightning as L
import numpy as np
import torch
import torchmetrics
from torch import Tensor, nn

from tests.support.exiting import Unprintable
from tests.support.random_callbacks import Draws, Phase, Record
from tests.support.random_data import train_loaders, val_loaders
from tests.support.random_optimizers import OPTIMIZERS, SCHEDULERS, OwnSchedule


class Remembering(nn.Linear):
    """A layer with extra state that is no tensor."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(x)

    def get_extra_state(self) -> Any:
        return {"calls": np.int64(self.calls), "as": (self.calls,)}

    def set_extra_state(self, state: Any) -> None:
        self.calls = int(state["calls"])


class LargeCount(torchmetrics.Metric):
    """A count that a float of 32 bits cannot hold."""

    full_state_update = False
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("count", torch.tensor(2**24 + 1), dist_reduce_fx="sum")

    def update(self, x: Tensor) -> None:
        self.count = self.count + 2 * len(x)

    def compute(self) -> Tensor:
        return self.count


class RandomModule(L.LightningModule):
    """Trains a line of three inputs with a few weights, by what ``plan`` says."""

    def __init__(self, plan: dict[str, Any]) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.plan = plan
        self.learning_rate = float(plan.get("rate", 0.05))
        self.hooks = set(plan.get("hooks", ()))
        self.metrics = set(plan.get("metrics", ()))
        self.automatic_optimization = not plan.get("manual")
        layer = Remembering if "extra_state" in self.hooks else nn.Linear
        body: list[nn.Module] = [layer(3, 4)]
        body += [nn.BatchNorm1d(4)] if plan.get("norm") else []
        body += [nn.Dropout(0.3)] if plan.get("dropout") else []
        self.body = nn.Sequential(*body)
        self.head = nn.Linear(4, 1)
        self.seen: Tensor
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.mean = torchmetrics.MeanMetric()
        self.errors = torchmetrics.MetricCollection([torchmetrics.MeanAbsoluteError(), torchmetrics.MeanSquaredError()])
        self.large = LargeCount()
        self.state: Any = {"history": collections.deque(maxlen=3), "count": np.int64(0)}

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.body(x)))  # type: ignore[no-any-return]

    # Training

    def _loss(self, batch: Any) -> Tensor:
        if isinstance(batch, dict):
            return torch.stack([self._loss(part) for part in batch.values() if part is not None]).mean()
        if isinstance(batch, list | tuple) and isinstance(batch[0], list | tuple):
            return torch.stack([self._loss(part) for part in batch if part is not None]).mean()
        x, y = batch
        return nn.functional.mse_loss(self(x.to(self.head.weight.dtype)), y.to(self.head.weight.dtype))

    def training_step(self, batch: Any, index: int) -> Any:
        self._exit("step", index)
        self.seen += 1
        self.state["history"].append((np.float32(index), self.current_epoch))
        self.state["count"] = self.state["count"] + 1
        if not self.automatic_optimization:
            return self._step_by_hand(batch, index)
        if "no_loss" in self.hooks and index == 1 and self.current_epoch == 1:
            return None
        loss = self._loss(batch)
        if "nan_loss" in self.metrics and self.current_epoch == 1 and index == 1:
            loss = loss * math.nan
        self._log_training(loss)
        return {"loss": loss, "extra": loss.detach()} if "dict_loss" in self.hooks else loss

    def _log_training(self, loss: Tensor) -> None:
        self.log("train_loss", loss, on_step="step_epoch" in self.metrics, on_epoch=True, prog_bar=True)
        if "sum" in self.metrics:
            self.log("train_sum", loss.detach(), on_step=False, on_epoch=True, reduce_fx="sum")
        if "torchmetrics" in self.metrics:
            self.mean.update(loss.detach())
            self.log("train_mean", self.mean, on_step=False, on_epoch=True)
        if "last" in self.metrics:
            self.log("train_last", loss.detach().double(), on_step=True, on_epoch=False)

    def _step_by_hand(self, batch: Any, index: int) -> None:
        optimizers = self.optimizers()
        every = self.plan.get("manual_accumulate", 1)
        listed: list[Any] = list(optimizers) if isinstance(optimizers, list) else [optimizers]
        for optimizer in listed:
            if self.plan.get("toggle"):
                self.toggle_optimizer(optimizer)
            loss = self._loss(batch)
            if every == 1:
                optimizer.zero_grad()
            self.manual_backward(loss / every)
            if (index + 1) % every == 0:
                if self.plan.get("clip_by_hand"):
                    self.clip_gradients(optimizer, gradient_clip_val=0.5, gradient_clip_algorithm="norm")
                optimizer.step()
                if every > 1:
                    optimizer.zero_grad()
            if self.plan.get("toggle"):
                self.untoggle_optimizer(optimizer)
            self._log_training(loss)
        if self.plan.get("schedule_by_hand") == "step":
            self._schedule_by_hand()

    def _schedule_by_hand(self) -> None:
        schedulers = self.lr_schedulers()
        for scheduler in schedulers if isinstance(schedulers, list) else [schedulers] if schedulers else []:
            if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
                if "val_loss" in self.trainer.callback_metrics:
                    scheduler.step(self.trainer.callback_metrics["val_loss"])
            else:
                scheduler.step()

    def configure_optimizers(self) -> Any:
        parts: dict[str, Any] = {"all": [each for each in self.parameters() if each.requires_grad]}
        parts |= {"body": list(self.body.parameters()), "head": list(self.head.parameters())}
        groups = [{"params": parts["body"]}, {"params": parts["head"], "lr": 0.01}]
        optimizers = [
            OPTIMIZERS[each["name"]](groups if each["part"] == "groups" else parts[each["part"]], self.learning_rate)
            for each in self.plan["optimizers"]
        ]
        schedulers = []
        for each in self.plan.get("schedulers", []):
            config = {name: each[name] for name in ("interval", "frequency", "monitor", "name") if name in each}
            config["scheduler"] = SCHEDULERS[each["kind"]](optimizers[each["optimizer"]])
            schedulers.append(config)
        return self._returned(optimizers, schedulers)

    def _returned(self, optimizers: list[Any], schedulers: list[Any]) -> Any:
        """One of the forms that Lightning takes."""
        if len(optimizers) == 1 and not schedulers:
            return optimizers[0] if self.plan.get("returns") == "one" else {"optimizer": optimizers[0]}
        if len(optimizers) == 1 and len(schedulers) == 1 and self.plan.get("returns") == "one":
            return {"optimizer": optimizers[0], "lr_scheduler": schedulers[0]}
        return optimizers, schedulers

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        if isinstance(scheduler, OwnSchedule) or metric is None:
            scheduler.step()
        else:
            scheduler.step(metric.item())  # a tensor, as Lightning gives it

    # Hooks

    def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Any = None) -> None:
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        if "warmup" in self.hooks and self.trainer.global_step < 5:
            for group in optimizer.param_groups:
                group["lr"] = self.learning_rate * (self.trainer.global_step + 1) / 5

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        if "noise" in self.hooks:
            for parameter in self.parameters():
                if parameter.grad is not None:
                    parameter.grad.add_(torch.randn_like(parameter.grad), alpha=0.01)

    def on_train_start(self) -> None:
        self.offset = float(torch.rand(())) if "start_draws" in self.hooks else 0.0

    def on_train_epoch_start(self) -> None:
        self._exit("epoch_start", 0)
        self.scale = random.random() if "epoch_draws" in self.hooks else 1.0
        if "freeze" in self.hooks and self.current_epoch == 1:
            self.body.requires_grad_(False)
            self.body.eval()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
        return -1 if "skip_rest" in self.hooks and batch_idx == 2 and self.current_epoch % 2 == 1 else None

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        if "batch_draws" in self.hooks and self.trainer.training and isinstance(batch, list) and len(batch) == 2:
            x, y = batch
            if isinstance(x, Tensor):
                return [x * (1 + 0.1 * float(np.random.rand()) * self.scale + 0.01 * self.offset), y]
        return batch

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._exit("validation", batch_idx)
        loss = self._loss(batch)
        if dataloader_idx == 0:
            epoch = self.current_epoch
            bad = math.nan if "nan" in self.metrics and epoch == 1 else math.inf if "inf" in self.metrics else 0.0
            self.log("val_loss", loss + bad if bad else loss, add_dataloader_idx=False)
            self._log_odd(batch, loss)
        else:
            self.log("val_other", loss)

    def _log_odd(self, batch: Any, loss: Tensor) -> None:
        same: Any = {"add_dataloader_idx": False}
        if "dtypes" in self.metrics:
            self.log("val_half", loss.half(), **same)
            self.log("val_double", loss.double() / 3, **same)
            self.log("val_int", self.current_epoch, **same)
            self.log("val_numpy", np.float64(0.1) * self.current_epoch, **same)
            self.log("val_one", loss.reshape(1), **same)
        if "collection" in self.metrics:
            dtype = self.head.weight.dtype
            self.errors.update(self(batch[0].to(dtype)), batch[1].to(dtype))
            self.log_dict(self.errors, add_dataloader_idx=False)
        if "large" in self.metrics:
            self.large.update(batch[0])
            self.log("val_large", self.large, **same)
        if "draws" in self.metrics:
            self.log("val_draw", random.random() + float(torch.rand(())), **same)

    def on_validation_epoch_end(self) -> None:
        if "in_hooks" in self.metrics:
            self.log("val_hook", float(self.state["count"]))

    def on_train_epoch_end(self) -> None:
        self._exit("epoch_end", 0)
        if "in_hooks" in self.metrics:
            self.log("epoch_hook", torch.tensor(float(self.current_epoch), dtype=torch.float64) / 3)
        if not self.automatic_optimization and self.plan.get("schedule_by_hand") == "epoch":
            self._schedule_by_hand()

    def configure_callbacks(self) -> Any:
        return [Draws(["epoch_start", "epoch_end"])] if "own_callback" in self.hooks else []

    # State

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if "epoch_draws" in self.hooks:  # within an epoch Lightning does not call its start again
            checkpoint["scale"] = self.scale
        if "state" not in self.hooks:
            return
        epoch = self.current_epoch
        checkpoint["odd"] = {
            "state": self.state,
            "record": Record(np.float32(epoch), {1, (2, "x")}),
            "phase": Phase.LATE,
            "when": datetime.timedelta(seconds=epoch),
            (epoch, np.int64(2)): fractions.Fraction(epoch, 3),
            "array": np.array([(epoch, 0.5)], dtype=[("a", "<i4"), ("b", "<f8")]),
            "infinite": [math.inf, -math.inf, complex(0, 1), b"", range(3)],
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.scale = checkpoint.get("scale", 1.0)
        if "state" in self.hooks:
            self.state = checkpoint["odd"]["state"]

    # Ends

    def _exit(self, place: str, index: int) -> None:
        plan = self.plan.get("exit")
        if plan and (plan["place"], plan["epoch"], plan["index"]) == (place, self.current_epoch, index):
            if self.trainer.sanity_checking:
                return
            raise _ENDS[plan["kind"]]


class RandomModuleWithData(RandomModule):
    """With loaders of its own, and no data module."""

    def __init__(self, plan: dict[str, Any]) -> None:
        super().__init__(plan)
        self.batch_size = 4

    def train_dataloader(self) -> Any:
        return train_loaders({**self.plan["data"], "batch_size": self.batch_size})

    def val_dataloader(self) -> Any:
        return val_loaders(self.plan["data"])


_ENDS: dict[str, BaseException | type[BaseException]] = {
    "exit 0": SystemExit(0),
    "exit text": SystemExit("the data is bad"),
    "interrupt": KeyboardInterrupt("from the module"),
    "unprintable": Unprintable,
    "error": ValueError("the user's own mistake"),
    "stop iteration": StopIteration("at the end"),
}
