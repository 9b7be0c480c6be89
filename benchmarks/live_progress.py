"""Measure what live progress costs: the time in its hooks, and in its thread, over the time of a step.

Usage: python -m benchmarks.live_progress [--seconds 20] [--rounds 3] [--pairs 0]

Two modules train by ``orchestrator.training.fit`` on the CPU with one thread: LitModel on random images in batches of
64, and a small perceptron whose step takes about a millisecond, Lightning's own work included. Each hook of a batch in
which `LiveWriter` works is timed, and so is, apart, each of `ProgressMeter`, which counts steps and samples for the
reports, too. Of a hook and of a step the median counts, so that other programs on the machine matter little. The
writer's own thread counts by the processor time that the kernel gives for it. The share is (hooks + thread) / step, and
the worst round counts. With ``--pairs`` so many pairs of segments are trained with and without live progress, in turn;
the median ratio of the process's time a step is a check. Prints a line for people for each module, then one of JSON;
exits with 1 if a share is above the target.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from orchestrator.training import Job, fit
from orchestrator.training.live_writer import LiveWriter
from orchestrator.training.progress_meter import ProgressMeter

TARGET = 0.005
LIVE = ("loaded", "trained", "note")
HOOKS = ("on_train_batch_start", "on_train_batch_end", "on_before_optimizer_step")
MODULES = {"LitModel": ("orchestrator.models.LitModel", "Images"), "perceptron": (f"{__name__}.Perceptron", "Rows")}


class Images(L.LightningDataModule):
    """Random images of CIFAR-10's shape."""

    def train_dataloader(self) -> Any:
        return _loader((3, 32, 32), batches=64, size=64)

    def val_dataloader(self) -> Any:
        return _loader((3, 32, 32), batches=1, size=64)


class Rows(L.LightningDataModule):
    """Random rows of 16 numbers."""

    def train_dataloader(self) -> Any:
        return _loader((16,), batches=1024, size=32)

    def val_dataloader(self) -> Any:
        return _loader((16,), batches=1, size=32)


def _loader(shape: tuple[int, ...], batches: int, size: int) -> Any:
    return DataLoader(TensorDataset(torch.rand(batches * size, *shape), torch.randint(10, (batches * size,))), size)


class Perceptron(L.LightningModule):
    """A perceptron with one hidden layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(16, 128), nn.ReLU(), nn.Linear(128, 10))

    def training_step(self, batch: Any, index: int) -> Any:
        return nn.functional.cross_entropy(self.layers(batch[0]), batch[1])

    def validation_step(self, batch: Any, index: int) -> None:
        self.log("val_loss", nn.functional.cross_entropy(self.layers(batch[0]), batch[1]))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


@dataclass
class Cost:
    """Of one segment: the seconds of each step, of each call of a hook by its name, of the thread, of the process."""

    steps: list[float] = field(default_factory=list)
    calls: dict[str, list[float]] = field(default_factory=dict)
    thread: float = 0.0
    processor: float = 0.0

    def hooks(self, names: Iterable[str]) -> float:
        """Return the seconds a step of these hooks."""
        return sum(statistics.median(calls) * len(calls) for name in names if (calls := self.calls.get(name))) / len(
            self.steps
        )

    def figures(self) -> dict[str, float]:
        """Return the share of live progress in a step, and what it is made of, in seconds a step."""
        step, live, thread = statistics.median(self.steps), self.hooks(LIVE), self.thread / len(self.steps)
        parts = {"step": step, "live": live, "thread": thread, "hooks": self.hooks(HOOKS)}
        return {"share": (live + thread) / step, "steps": len(self.steps), **parts}


class Steps(L.Callback):
    """Times the training steps, and ends the training after so many seconds of them."""

    cost: ClassVar[Cost]

    def __init__(self, seconds: float) -> None:
        self._limit, self._since, self._spent = seconds, (0.0, 0.0), 0.0

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *args: Any) -> None:
        now = time.perf_counter(), time.process_time()
        if args[-1]:  # the first batch of an epoch comes after a validation
            self.cost.steps.append(now[0] - self._since[0])
            self.cost.processor += now[1] - self._since[1]
            self._spent += self.cost.steps[-1]
        self._since = now
        trainer.should_stop = self._spent > self._limit


def train(name: str, seconds: float, *, live: bool = True) -> Cost:
    """Train one segment of a job, and return what its parts took."""
    cost = Steps.cost = Cost()

    def timed(original: Callable[..., Any]) -> Callable[..., Any]:
        calls = cost.calls.setdefault(original.__name__, [])

        def hook(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            result = original(*args, **kwargs)
            calls.append(time.perf_counter() - began)
            return result

        return hook

    run = LiveWriter._run

    def thread(writer: LiveWriter) -> None:
        run(writer)
        cost.thread += time.thread_time()

    with tempfile.TemporaryDirectory() as folder, ExitStack() as patches:
        for owner, names in ((ProgressMeter, HOOKS), (LiveWriter, LIVE)):
            for hook in names:
                patches.enter_context(patch.object(owner, hook, timed(getattr(owner, hook))))
        patches.enter_context(patch.object(LiveWriter, "_run", thread))
        if not live:
            patches.enter_context(patch("orchestrator.training.fit_segment.live_writer", lambda *args: None))
        fit(_job(name, seconds, Path(folder)), lambda report: True)
    return cost


def _job(name: str, seconds: float, folder: Path) -> Job:
    module, data = MODULES[name]
    steps = {"class_path": f"{__name__}.Steps", "init_args": {"seconds": seconds}}
    return Job(
        trial=0,
        segment=0,
        seed=1,
        metric="val_loss",
        model={"class_path": module, "init_args": {}},
        data={"class_path": f"{__name__}.{data}", "init_args": {}},
        trainer={"max_epochs": 100_000, "accelerator": "cpu", "callbacks": [steps]},
        folder=str(folder / "run/trials/0000"),
        threads=1,
    )


def ratio(name: str, seconds: float, pairs: int) -> float:
    """Return the median ratio of processor time a step, with live progress to without."""
    ratios = []
    for _ in range(pairs):
        on, off = (train(name, seconds, live=live) for live in (True, False))
        ratios.append(on.processor / len(on.steps) / (off.processor / len(off.steps)))
    return statistics.median(ratios)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="of training steps in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=0, help="of segments with and without live progress")
    args = parser.parse_args()
    results: dict[str, Any] = {}
    for name in MODULES:
        rounds = [train(name, args.seconds).figures() for _ in range(args.rounds)]
        worst = max(rounds, key=lambda one: one["share"])
        step, live, thread, hooks = (1e6 * worst[part] for part in ("step", "live", "thread", "hooks"))
        print(
            f"{name}: {worst['share']:.3%} of a step of {step / 1e3:.2f} ms: {live:.2f} us in hooks and {thread:.2f} "
            f"us of the thread, in {worst['steps']} steps; the worst of {args.rounds} rounds, target {TARGET:.1%}; "
            f"all hooks of progress: {hooks:.2f} us"
        )
        results[name] = {"rounds": rounds}
        if args.pairs:
            results[name]["ratio"] = ratio(name, args.seconds, args.pairs)
            print(f"{name}: processor time a step, with to without: {results[name]['ratio']:.4f}, n = {args.pairs}")
    machine = {"machine": platform.machine(), "torch": version("torch"), "lightning": version("lightning")}
    print(json.dumps({"target": TARGET, "modules": results, **machine}))
    return 0 if all(one["share"] < TARGET for part in results.values() for one in part["rounds"]) else 1


if __name__ == "__main__":
    from benchmarks.live_progress import main as imported  # a job names classes of this module by their import path

    sys.exit(imported())
