"""Measure what a sweep adds to a script: to a step of its Trainer, and to the start of a trial.

Usage: python -m benchmarks.script_door [--trials N] [--steps N] [--width N] [--local]

One script with a Trainer is run by two sides at once: as trials of a sweep under Ray, in one slot, and as
``python train.py`` again and again. Both have one thread. A step lasts from one start of a batch to the next, within an
epoch. A start lasts from the last line of a run to the first step of the next one; the first run of each side is left
out. Prints one line for people, then one of JSON; exits with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import lightning as L
import ray
import torch

from orchestrator.spec import from_mapping
from orchestrator.sweep import launch

STEP_TARGET = 1.01
START_TARGET_SECONDS = 0.3
TRAIN = """
import argparse, json, time
import lightning as L
import torch
from torch.utils.data import DataLoader, TensorDataset

class Net(L.LightningModule):
    def __init__(self, width, lr):
        super().__init__()
        self.lr = lr
        self.net = torch.nn.Sequential(torch.nn.Linear(64, width), torch.nn.ReLU(), torch.nn.Linear(width, width),
                                       torch.nn.ReLU(), torch.nn.Linear(width, 1))
    def training_step(self, batch, index):
        return torch.nn.functional.mse_loss(self.net(batch[0]), batch[1])
    def validation_step(self, batch, index):
        self.log("val_loss", torch.nn.functional.mse_loss(self.net(batch[0]), batch[1]))
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)

class Clock(L.Callback):
    def __init__(self):
        self.first, self.clocks, self.cpu = 0.0, [], []
    def on_train_batch_start(self, trainer, pl_module, batch, index):
        now, used = time.time(), time.process_time()
        self.first = self.first or now
        if index:
            self.clocks.append(now - self.now)
            self.cpu.append(used - self.used)
        self.now, self.used = now, used

parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
parser.add_argument("--steps", type=int)
parser.add_argument("--width", type=int)
parser.add_argument("--out")
args = parser.parse_args()
torch.set_num_threads(1)
L.seed_everything(0)
x = torch.randn(256 * args.steps, 64)
data = DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=256)
clock = Clock()
trainer = L.Trainer(max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False,
                    enable_progress_bar=False, enable_model_summary=False, limit_val_batches=2, callbacks=[clock])
trainer.fit(Net(args.width, args.lr), data, data)
with open(args.out, "a") as file:
    told = {"first": clock.first, "clock": sorted(clock.clocks)[len(clock.clocks) // 2],
            "cpu": sum(clock.cpu) / len(clock.cpu), "end": time.time()}
    file.write(json.dumps(told) + "\\n")
"""


def sides(folder: Path, options: argparse.Namespace) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    """Run the sweep, and the bare script meanwhile; return what each run of either wrote, without their first ones.

    Clocks and CPU times of a step are in seconds: the median of one, and the mean of the other.
    """
    program, over = folder / "train.py", threading.Event()
    program.write_text(TRAIN)
    fixed = {"steps": options.steps, "width": options.width}

    def run_bare() -> None:
        words = [f"--{name}={value}" for name, value in {**fixed, "lr": 0.01, "out": folder / "bare"}.items()]
        while not over.is_set():
            subprocess.run([sys.executable, str(program), *words], check=True, stderr=subprocess.DEVNULL,
                           stdout=subprocess.DEVNULL)  # fmt: skip

    bare = threading.Thread(target=run_bare)
    bare.start()
    try:
        spec = from_mapping({
            "name": "script", "program": str(program), "args": {**fixed, "out": str(folder / "ours")},
            "objective": {"metric": "val_loss", "mode": "min"}, "space": {"lr": {"log_uniform": [1e-4, 1e-2]}},
            "scheduler": "fifo", "budget": {"trials": options.trials}, "resources": {"cpus": 1, "concurrent": 1},
        })  # fmt: skip
        launch(spec, folder / "runs", local=options.local, preflight=False)
    finally:
        over.set()
        bare.join()
    return written(folder / "ours"), written(folder / "bare")


def written(file: Path) -> list[dict[str, float]]:
    """Return what each run wrote, in order."""
    return [json.loads(line) for line in file.read_text().splitlines()]


def starts(runs: list[dict[str, float]]) -> list[float]:
    """Return the seconds from the end of each run to the first step of the next."""
    return [after["first"] - before["end"] for before, after in itertools.pairwise(runs)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--steps", type=int, default=200, help="of each of the two epochs")
    parser.add_argument("--width", type=int, default=768, help="of the network's two hidden layers")
    parser.add_argument("--local", action="store_true", help="trials in this process, without Ray")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ours, bare = sides(Path(folder), options)
    medians = {
        f"{side}_{what}": statistics.median(run[what] for run in runs[1:])
        for side, runs in (("ours", ours), ("bare", bare)) for what in ("clock", "cpu")
    }  # fmt: skip
    start, bare_start = statistics.median(starts(ours)), statistics.median(starts(bare))
    cpu, clock = (medians[f"ours_{what}"] / medians[f"bare_{what}"] for what in ("cpu", "clock"))
    print(
        f"a step of {1000 * medians['bare_cpu']:.2f} ms: {cpu:.4f}x the CPU time (target ≤ {STEP_TARGET}), "
        f"{clock:.4f}x by the clock, n = {len(ours) - 1} trials and {len(bare) - 1} bare runs; "
        f"start of a trial: {start:.2f} s, of a bare run: {bare_start:.2f} s (target ≤ + {START_TARGET_SECONDS} s); "
        f"{os.cpu_count()} cores ({platform.machine()}), load {os.getloadavg()[0]:.1f}, "
        f"torch {torch.__version__}, Lightning {L.__version__}, Ray {ray.__version__}"
    )
    figures = {**medians, "start": start, "bare_start": bare_start, "trials": len(ours), "bare_runs": len(bare)}
    print(json.dumps({"script_door": figures}))
    return 0 if cpu <= STEP_TARGET and start <= bare_start + START_TARGET_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
