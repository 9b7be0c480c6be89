"""Measure what a sweep adds to a training at default settings: reporting and progress, and apart from them checkpoints.

Usage: python -m benchmarks.sweep_overhead [--epochs 2] [--batches 600] [--rounds 3] [--pairs 0] [--script]

LitModel trains on random images of CIFAR-10's shape in batches of 64, on the CPU with one thread, as the one trial of
a ``sweep launch --local``: with live progress, the journal, and checkpoints at each report and every so often between.
Timed is each call of the project's own code in the Trainer: its callbacks, what it does between two batches, the place
in the data, its logger, and the engine's answer to a report; and so are the steps between. Of both the sums are
compared, once by the clock, in which writing the journal is waited for, and once by the processor's time, which other
programs on the machine do not change. The thread of live progress counts by its processor time. What a checkpoint takes
is counted apart, from collecting the state to the durable file that was read again. The worst round counts. With
``--pairs`` so many trainings in a sweep and by a plain Trainer are paired, in turn; the median ratio of the process's
time a step is a check of the first share. With ``--script`` the trial is a script that makes the same Trainer.

Prints a line for people and one of JSON; exits with 1 if a share is above its target.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar
from unittest.mock import patch

import lightning as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, TensorDataset

from orchestrator.engine.controller import SweepController
from orchestrator.models import LitModel
from orchestrator.spec import SweepSpec, from_mapping
from orchestrator.sweep import launch
from orchestrator.training import data_position
from orchestrator.training.csv_logger import EpochCSVLogger
from orchestrator.training.epoch_seed import EpochSeed
from orchestrator.training.exact_resume import ExactResume
from orchestrator.training.finders import Finders
from orchestrator.training.live_writer import LiveWriter
from orchestrator.training.progress_meter import ProgressMeter
from orchestrator.training.report_callback import ReportCallback
from orchestrator.training.trial_files import OwnFolder

PROGRESS, CHECKPOINTS = 0.01, 0.05  # targets, as shares of the time
Times = NDArray[np.float64]
_SCRIPT = """
import argparse
import lightning as L
from benchmarks.sweep_overhead import Images, Steps
from orchestrator.models import LitModel

parser = argparse.ArgumentParser()
for name, kind in (("epochs", int), ("batches", int), ("learning-rate", float)):
    parser.add_argument("--" + name, type=kind)
args = parser.parse_args()
trainer = L.Trainer(max_epochs=args.epochs, accelerator="cpu", callbacks=[Steps()])
trainer.fit(LitModel(learning_rate=args.learning_rate), Images(args.batches))
"""
_CALLBACKS = (EpochSeed, ExactResume, OwnFolder, Finders, ProgressMeter, ReportCallback)
_BETWEEN_BATCHES = ("_before_first_batch", "_validates_end", "_after_batch")
_LOGGER = ("log_metrics", "log_hyperparams", "flush", "save", "finalize")


class Images(L.LightningDataModule):
    """Random images of CIFAR-10's shape, in batches of 64.

    Args:
        batches: of an epoch.
    """

    def __init__(self, batches: int) -> None:
        super().__init__()
        self.batches = batches

    def train_dataloader(self) -> Any:
        return _loader(self.batches)

    def val_dataloader(self) -> Any:
        return _loader(1)


def _loader(batches: int) -> Any:
    return DataLoader(TensorDataset(torch.rand(batches * 64, 3, 32, 32), torch.randint(10, (batches * 64,))), 64)


@dataclass
class Costs:
    """Of one training: seconds of all steps, and of the calls of each kind, by the clock and by the processor."""

    count: int = 0
    steps: Times = field(default_factory=lambda: np.zeros(3))  # clock, this thread's processor time, the process's
    calls: dict[str, Times] = field(default_factory=lambda: defaultdict(lambda: np.zeros(2)))
    saves: int = 0
    thread: float = 0.0
    _open: list[list[Any]] = field(default_factory=list)  # kind, and the times of other kinds within it

    def timed(self, kind: str, original: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, timed without what is timed within it; what a checkpoint calls is part of it."""

        def call(*args: Any, **kwargs: Any) -> Any:
            if self._open and self._open[-1][0] == "checkpoint":
                return original(*args, **kwargs)
            frame: list[Any] = [kind, np.zeros(2)]
            self._open.append(frame)
            began = _now()
            try:
                return original(*args, **kwargs)
            finally:
                took = _now() - began
                self._open.pop()
                self.calls[kind] += took - frame[1]
                self.saves += kind == "checkpoint"
                if self._open:
                    self._open[-1][1] += took

        return call

    def figures(self) -> dict[str, Any]:
        """Return the shares, and what they are made of."""
        steps = self.steps[:2]
        ours = {kind: took for kind, took in self.calls.items() if kind not in ("checkpoint", "data")}
        hooks = sum(ours.values(), np.zeros(2)) + np.array([0.0, self.thread])
        saving = self.calls["checkpoint"]
        costly = sorted(ours, key=lambda kind: -ours[kind][1])[:5]
        return {
            "progress": (hooks / steps).tolist(),
            "checkpoints": (saving / (saving + steps)).tolist(),
            "step": (steps / self.count).tolist(),
            "saves": self.saves,
            "save": (saving / max(1, self.saves)).tolist(),
            "steps": self.count,
            "most": {kind: (ours[kind][1] / steps[1]).round(5) for kind in costly},
        }


def _now() -> Times:
    return np.array([time.perf_counter(), time.thread_time()])


class Steps(L.Callback):
    """Times the training steps."""

    costs: ClassVar[Costs]

    def __init__(self) -> None:
        self._since = np.zeros(3)

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *args: Any) -> None:
        now = np.array([*_now(), time.process_time()])
        if args[-1]:  # the first batch of an epoch comes after a validation
            self.costs.steps += now - self._since
            self.costs.count += 1
        self._since = now


class _TimedIterator(Iterator[Any]):
    """The user's data: what they take is no cost of the project's."""

    def __init__(self, iterator: Iterator[Any], costs: Costs) -> None:
        self._next = costs.timed("data", iterator.__next__)

    def __next__(self) -> Any:
        return self._next()


def _patched(costs: Costs) -> Iterator[Any]:
    """Yield a patch for each function that is timed."""
    owned: list[tuple[Any, str]] = []
    owned += [
        (owner, name) for owner in _CALLBACKS for name in vars(owner) if name.startswith("on_") or name == "setup"
    ]
    owned += [(ReportCallback, name) for name in _BETWEEN_BATCHES]
    owned += [(EpochCSVLogger, name) for name in _LOGGER if name in vars(EpochCSVLogger)]
    for source in (data_position._Source, data_position._Indexed):
        owned += [(source, name) for name in ("fetch", "__iter__") if name in vars(source)]
    for owner, name in owned:
        yield patch.object(owner, name, costs.timed(f"{owner.__name__}.{name}", getattr(owner, name)))
    for name in ("on_report", "on_interim", "must_stop"):
        yield patch.object(SweepController, name, costs.timed(name, getattr(SweepController, name)))
    yield patch.object(ReportCallback, "_save", costs.timed("checkpoint", ReportCallback._save))
    counted, run = data_position._Counted.__init__, LiveWriter._run

    def begin(self: Any, source: Any, iterator: Iterator[Any]) -> None:
        counted(self, source, _TimedIterator(iterator, costs))

    def thread(writer: LiveWriter) -> None:
        run(writer)
        costs.thread += time.thread_time()

    yield patch.object(data_position._Counted, "__init__", begin)
    yield patch.object(LiveWriter, "_run", thread)


def in_sweep(epochs: int, batches: int, *, timed: bool = True, script: bool = False) -> Costs:
    """Train LitModel as a sweep's trial, by its class or in a script, and return what its parts took."""
    costs = Steps.costs = Costs()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as patches:
        for each in _patched(costs) if timed else ():
            patches.enter_context(each)
        program = Path(folder, "train.py")
        program.write_text(_SCRIPT)
        spec = _spec(epochs, batches, str(program) if script else "")
        outcome = launch(spec, Path(folder), local=True, preflight=False)
    if outcome.exit_code:
        raise SystemExit(f"error: the sweep ended with exit code {outcome.exit_code}")
    return costs


def _spec(epochs: int, batches: int, program: str) -> SweepSpec:
    common = {"name": "overhead", "objective": {"metric": "val_loss", "mode": "min"}, "searcher": "random",
              "budget": {"trials": 1}}  # fmt: skip
    rates = {"log_uniform": [1e-4, 1e-3]}
    if program:
        args = {"epochs": epochs, "batches": batches}
        return from_mapping({**common, "program": program, "args": args, "space": {"learning-rate": rates}})
    callbacks = [{"class_path": f"{__name__}.Steps", "init_args": {}}]
    return from_mapping(
        {
            **common,
            "model": "orchestrator.models.LitModel",
            "data": {"class_path": f"{__name__}.Images", "init_args": {"batches": batches}},
            "trainer": {"max_epochs": epochs, "accelerator": "cpu", "callbacks": callbacks},
            "space": {"model.learning_rate": rates},
        }
    )


def plain(epochs: int, batches: int) -> Costs:
    """Train the same by a plain Trainer, which saves nothing."""
    costs = Steps.costs = Costs()
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    L.seed_everything(1, verbose=False)
    trainer = L.Trainer(max_epochs=epochs, accelerator="cpu", callbacks=[Steps()], **quiet)  # type: ignore[arg-type]
    trainer.fit(LitModel(), Images(batches))
    return costs


def ratio(epochs: int, batches: int, pairs: int) -> float:
    """Return the median ratio of processor time a step, in a sweep to a plain Trainer."""
    ratios = []
    for number in range(pairs):
        order: list[Callable[[], Costs]] = [
            lambda: in_sweep(epochs, batches, timed=False),
            lambda: plain(epochs, batches),
        ]
        first, second = (train() for train in (order if number % 2 else order[::-1]))
        swept, bare = (first, second) if number % 2 else (second, first)
        ratios.append(float(swept.steps[2] / swept.count / (bare.steps[2] / bare.count)))
    return statistics.median(ratios)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batches", type=int, default=600, help="of an epoch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pairs", type=int, default=0, help="of trainings in a sweep and by a plain Trainer")
    parser.add_argument("--script", action="store_true", help="the trial is a script")
    args = parser.parse_args()
    torch.set_num_threads(1)
    rounds = [in_sweep(args.epochs, args.batches, script=args.script).figures() for _ in range(args.rounds)]
    worst = {
        name: np.max([one[name] for one in rounds], axis=0) for name in ("progress", "checkpoints", "step", "save")
    }
    print(
        f"reporting and progress: {worst['progress'][0]:.2%} of a step by the clock, {worst['progress'][1]:.2%} by the "
        f"processor's time, target {PROGRESS:.0%}; checkpoints: {worst['checkpoints'][0]:.2%} and "
        f"{worst['checkpoints'][1]:.2%}, target {CHECKPOINTS:.0%}; {rounds[0]['saves']} checkpoints in "
        f"{rounds[0]['steps']} steps, of {1e3 * worst['save'][0]:.0f} ms and {1e3 * worst['step'][0]:.0f} ms; "
        f"the worst of {args.rounds} rounds"
    )
    results: dict[str, Any] = {"rounds": rounds}
    if args.pairs:
        results["ratio"] = ratio(args.epochs, args.batches, args.pairs)
        print(f"processor time a step, in a sweep to a plain Trainer: {results['ratio']:.4f}, n = {args.pairs}")
    machine = {"machine": platform.machine(), "torch": version("torch"), "lightning": version("lightning")}
    print(json.dumps({"targets": {"progress": PROGRESS, "checkpoints": CHECKPOINTS}, **results, **machine}))
    return 0 if worst["progress"].max() <= PROGRESS and worst["checkpoints"].max() <= CHECKPOINTS else 1


if __name__ == "__main__":
    from benchmarks.sweep_overhead import main as imported  # a spec names classes of this module by their import path

    sys.exit(imported())
