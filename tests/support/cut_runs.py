"""Trainings drawn at random, cut after any batch and resumed: what comes out must be that of the unbroken one."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
import torchmetrics
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from orchestrator.training import Interim, Job, Report, fit
from orchestrator.training.checkpoints import DurableCheckpointIO

POINTS = 23
_OURS = "orchestrator"


class Points(Dataset[Any]):
    """Points of a line, moved at random by a generator: ``torch``, ``numpy`` or ``python``; by none if empty."""

    def __init__(self, source: str = "", count: int = POINTS) -> None:
        generator = torch.Generator().manual_seed(1)
        self.x = torch.randn(count, 3, generator=generator)
        self.y = self.x @ torch.tensor([[1.0], [-2.0], [0.5]])
        self.source = source

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> Any:
        return self.x[index] + (0.1 * drawn(self.source) if self.source else 0.0), self.y[index]


def drawn(source: str) -> float:
    """Return a random number of a generator."""
    if source == "torch":
        return float(torch.rand(()))
    return random.random() if source == "python" else float(np.random.rand())


class Stream(IterableDataset[Any]):
    """The same points, one after another."""

    def __init__(self, source: str = "", count: int = POINTS) -> None:
        self.points = Points(source, count)

    def __iter__(self) -> Iterator[Any]:
        worker = torch.utils.data.get_worker_info()
        order = range(len(self.points))
        for index in order[worker.id :: worker.num_workers] if worker else order:
            yield self.points[index]


class Sized(Stream):
    """With a length."""

    def __len__(self) -> int:
        return len(self.points)


class Remembering(Stream):
    """With a state: the order, drawn at the start, and the place in it."""

    def __init__(self, source: str = "", count: int = POINTS) -> None:
        super().__init__(source, count)
        self.order: list[int] = []
        self.place = 0
        self.reads = 0

    def __iter__(self) -> Iterator[Any]:
        if not self.order:
            self.order = torch.randperm(len(self.points)).tolist()
        while self.place < len(self.order):
            self.place += 1
            self.reads += 1
            yield self.points[self.order[self.place - 1]]
        self.order, self.place = [], 0

    def state_dict(self) -> dict[str, Any]:
        return {"order": list(self.order), "place": self.place}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.order, self.place = list(state["order"]), state["place"]


class Data(L.LightningDataModule):
    """Loaders as ``plan`` says: kind, source, workers, persistent, generator, second."""

    def __init__(self, plan: dict[str, Any]) -> None:
        super().__init__()
        self.plan = plan

    def train_dataloader(self) -> Any:
        loader = self._loader(POINTS)
        return {"one": loader, "two": self._loader(8)} if self.plan.get("second") else loader

    def val_dataloader(self) -> Any:
        loaders = [DataLoader(Points(), 8) for _ in range(self.plan.get("val_loaders", 1))]
        return loaders if len(loaders) > 1 else loaders[0]

    def _loader(self, count: int) -> Any:
        plan, workers = self.plan, self.plan.get("workers", 0)
        options: dict[str, Any] = {
            "num_workers": workers,
            "persistent_workers": bool(workers and plan.get("persistent")),
        }
        kinds = {"stream": Stream, "sized": Sized, "state": Remembering}
        if plan["kind"] in kinds:
            return DataLoader(kinds[plan["kind"]](plan["source"], count), 3, **options)
        if plan.get("generator"):
            options["generator"] = torch.Generator().manual_seed(3)
        return DataLoader(Points(plan["source"], count), 3, shuffle=True, **options)


class Model(L.LightningModule):
    """Trains as ``plan`` says: manual, scheduler, monitor, norm."""

    def __init__(self, plan: dict[str, Any]) -> None:
        super().__init__()
        self.plan = plan
        self.automatic_optimization = not plan.get("manual")
        self.body, self.head = nn.Linear(3, 4), nn.Linear(4, 1)
        self.norm = nn.BatchNorm1d(4) if plan.get("norm") else nn.Identity()
        self.dropout = nn.Dropout(0.3)
        self.error = torchmetrics.MeanSquaredError()
        self.seen: Tensor
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.dropout(torch.relu(self.norm(self.body(x)))))  # type: ignore[no-any-return]

    def loss(self, batch: Any) -> Tensor:
        if isinstance(batch, dict):
            return self.loss(batch["one"]) + self.loss(batch["two"])
        return nn.functional.mse_loss(self(batch[0]), batch[1])

    def training_step(self, batch: Any, index: int) -> Any:
        loss = self.loss(batch)
        first = batch["one"] if isinstance(batch, dict) else batch
        self.seen += len(first[0])
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        self.log("largest", loss, on_step=False, on_epoch=True, reduce_fx="max")
        self.log("seen", self.seen, on_step=True, on_epoch=False)
        self.error(self(first[0]).detach(), first[1])
        self.log("error", self.error, on_step=False, on_epoch=True)
        if self.automatic_optimization:
            return loss
        self._step_by_hand(loss / 2, index)
        return None

    def _step_by_hand(self, loss: Tensor, index: int) -> None:
        optimizers: Any = self.optimizers()
        self.manual_backward(loss)
        if index % 2:
            optimizers[0].step()
            optimizers[0].zero_grad()
            if self.plan.get("scheduler") == "step":
                schedulers: Any = self.lr_schedulers()
                schedulers.step()
        optimizers[1].step()
        optimizers[1].zero_grad()

    def validation_step(self, batch: Any, index: int, dataloader_idx: int = 0) -> None:
        self.log("val_loss", nn.functional.mse_loss(self(batch[0]), batch[1]) + 0.01 * torch.rand(()))

    def configure_optimizers(self) -> Any:
        if self.plan.get("manual"):
            optimizers: list[Any] = [
                torch.optim.Adam(self.body.parameters(), lr=0.05),
                torch.optim.SGD(self.head.parameters(), lr=0.05, momentum=0.9),
            ]
        else:
            optimizers = [torch.optim.Adam(self.parameters(), lr=0.05)]
        kind = self.plan.get("scheduler")
        if not kind:
            return optimizers
        if kind == "plateau" and not self.plan.get("manual"):
            plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizers[0], patience=0, factor=0.5)
            watched = {"monitor": self.plan.get("monitor", "train_loss"), "strict": False}
            return {"optimizer": optimizers[0], "lr_scheduler": {"scheduler": plateau, **watched}}
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizers[0], 0.9)
        return optimizers, [{"scheduler": schedule, "interval": "step" if kind == "step" else "epoch"}]


@dataclass(frozen=True)
class Plans:
    """What a training is made of: plans of data and model, the Trainer's arguments, and the rest of its job."""

    data: dict[str, Any]
    model: dict[str, Any]
    trainer: dict[str, Any]
    seed: int = 0
    metric: str = "val_loss"
    progress: dict[str, Any] = field(default_factory=dict)
    workers: int = 1


@dataclass
class Outcome:
    """What a training gave: its reports, the checkpoint of the last one, and how many batches it took."""

    reports: list[tuple[Any, ...]] = field(default_factory=list)
    last: dict[str, Any] = field(default_factory=dict)
    batches: int = 0
    segments: list[int] = field(default_factory=list)

    def add(self, report: Report, job: Job) -> None:
        """Keep a report, its numbers to the bit, and the content of its checkpoint."""
        metrics = {name: _bits(value) for name, value in report.metrics.items()}
        self.reports.append((report.epoch, report.step, report.samples, report.counters, metrics))
        assert report.checkpoint is not None
        self.last = DurableCheckpointIO().load_checkpoint(job.run_directory / report.checkpoint.path)


def draw(seed: int) -> Plans:
    """Return the plans that belong to a seed."""
    rng = random.Random(f"cut {seed}")
    data: dict[str, Any] = {"kind": rng.choice(["map", "map", "map", "stream", "sized", "state"])}
    data |= {"source": rng.choice(["", "torch", "numpy", "python"])}
    data |= {"second": rng.random() < 0.2 and data["kind"] != "state", "generator": rng.random() < 0.2}
    model: dict[str, Any] = {"manual": rng.random() < 0.3, "norm": rng.random() < 0.5}
    model |= {"scheduler": rng.choice(["", "step", "epoch", "plateau"])}
    trainer: dict[str, Any] = {"max_epochs": 3}
    if not model["manual"]:
        trainer["accumulate_grad_batches"] = rng.choice([1, 1, 4])
    endless = data["kind"] in ("stream", "state")
    trainer |= {"val_check_interval": rng.choice([3, 1.0] if endless else [0.4, 3, 1.0])}
    if rng.random() < 0.3 and data["kind"] != "state":  # whose next pass would depend on the one before: see the docs
        trainer["limit_train_batches"] = 5
    progress: dict[str, Any] = {"unit": "steps"} if endless else {}
    if rng.random() < 0.2:
        trainer |= {"check_val_every_n_epoch": None, "val_check_interval": 4, "max_steps": 17, "max_epochs": -1}
        progress = {"unit": "steps"}
    return Plans(data, model, trainer, seed, progress=progress)


def job(folder: Path, plans: Plans, segment: int = 0, start: Any = None) -> Job:
    """Return the job of a segment that starts from a checkpoint."""
    quiet = {"accelerator": "cpu", "limit_val_batches": 1, "precision": "32-true"}
    return Job(
        trial=0,
        segment=segment,
        seed=plans.seed,
        metric=plans.metric,
        model={"class_path": f"{__name__}.Model", "init_args": {"plan": plans.model}},
        data={"class_path": f"{__name__}.Data", "init_args": {"plan": plans.data}},
        trainer=quiet | plans.trainer,
        folder=str(folder / "run/trials/0000"),
        checkpoint=asdict(start) if start else None,
        threads=1,
        save_every=None,
        progress=plans.progress,
        workers=plans.workers,
    )


def run(
    folder: Path, plans: Plans, cuts: tuple[int, ...] = (), before: Callable[[int, Any], None] = lambda *_: None
) -> Outcome:
    """Train, stopped after the batches ``cuts`` (counted over the whole training) and resumed each time.

    ``before`` is called before each segment with its number and the checkpoint that it starts from.
    """
    outcome, latest = Outcome(), None
    for segment, cut in enumerate([*cuts, 1 << 30]):
        each = job(folder, plans, segment, latest)
        before(segment, latest)
        saved: list[Any] = [latest]
        batches = 0

        def report(report: Report, saved: list[Any] = saved, each: Job = each) -> bool:
            saved.append(report.checkpoint)
            outcome.add(report, each)
            return True

        def interim(interim: Interim, saved: list[Any] = saved) -> None:
            saved.append(interim.checkpoint)

        def stop(cut: int = cut) -> bool:
            nonlocal batches
            batches += 1
            return outcome.batches + batches >= cut

        fit(each, report, interim=interim, stop=stop)
        outcome.batches += batches
        outcome.segments.append(batches)
        latest = saved[-1]
    return outcome


def _bits(value: float) -> str:
    return float(value).hex()


def differences(one: Any, other: Any, at: str = "") -> list[str]:
    """Return the places at which two checkpoints' contents differ, to the bit."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return [] if one.dtype == other.dtype and torch.equal(one, other) else [at]
    if isinstance(one, dict) and isinstance(other, dict):
        missing = [f"{at}.{key}" for key in one.keys() ^ other.keys()]
        return missing + [
            place for key in one.keys() & other.keys() for place in differences(one[key], other[key], f"{at}.{key}")
        ]
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        if len(one) != len(other):
            return [at]
        return [
            place for n, pair in enumerate(zip(one, other, strict=True)) for place in differences(*pair, f"{at}[{n}]")
        ]
    return [] if one == other else [f"{at}: {one} is {other}"]


def compared(unbroken: Outcome, cut: Outcome) -> list[str]:
    """Return how a cut training differs from the unbroken one; empty if it does not."""
    found = [f"{one} is {other}" for one, other in zip(unbroken.reports, cut.reports, strict=False) if one != other]
    if len(unbroken.reports) != len(cut.reports):
        found.append(f"{len(unbroken.reports)} reports are {len(cut.reports)}")
    if unbroken.batches != cut.batches:
        found.append(f"{unbroken.batches} batches are {cut.batches}")
    places = differences(_comparable(unbroken.last), _comparable(cut.last))
    return found + [place for place in places if "seconds" not in place]


def _comparable(state: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in state.items() if name != "hyper_parameters"}
