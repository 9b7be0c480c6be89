"""Measure what a W&B server that refuses, hangs, fails, drops or is slow costs a sweep: training and exit.

    python -m benchmarks.tracking [--rounds 5] [--trials 4] [--epochs 10]

Sweeps without tracking and with each kind of server run in turns, in this process (`--local`). Training is the time
from the first segment to the sweep's end, by the clock and by this process's processor time, which a busy
machine changes little; exit is the time after it. Prints medians, ratios to sweeps without tracking, and the
processor time of the uploader processes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.support.wandb_server import wandb_server

TARGET_RATIO, TARGET_EXIT_SECONDS = 1.01, 10.0
KINDS = ("none", "refuses", "hangs", "errors", "drops", "slow")


@dataclass(frozen=True)
class Times:
    """Seconds of one sweep: of training by the clock and by the processor, of its exit, and of uploader processes."""

    clock: float
    processor: float
    exit: float
    beside: float


def run(kind: str, trials: int, epochs: int) -> Times:
    """Run one sweep against one kind of server."""
    from orchestrator.spec import from_mapping
    from orchestrator.sweep import launch

    at: dict[str, tuple[float, float]] = {}

    def note(state: Any, event: Any) -> None:
        if event.type in ("segment.started", "sweep.completed"):
            at.setdefault(event.type, (time.monotonic(), time.process_time()))

    spec = from_mapping(
        {
            "name": "bench",
            "model": "orchestrator.models.LitModel",
            "data": "orchestrator.data.DigitsDataModule",
            "objective": {"metric": "val_loss", "mode": "min"},
            "trainer": {"max_epochs": epochs, "accelerator": "cpu"},
            "space": {"model.learning_rate": {"log_uniform": [1e-4, 1e-2]}},
            "scheduler": "fifo",
            "budget": {"trials": trials},
            "tracking": {} if kind == "none" else {"wandb": {"project": "p", "mode": "online"}},
        }
    )
    before = _beside()
    with tempfile.TemporaryDirectory() as folder, wandb_server("good" if kind == "none" else kind) as server:
        os.environ.update(WANDB_BASE_URL=server.url, WANDB_API_KEY="0" * 40)
        launch(spec, folder, local=True, observer=note)
        ended = time.monotonic()
    (first, used), (last, used_last) = at["segment.started"], at["sweep.completed"]
    return Times(last - first, used_last - used, ended - last, _beside() - before)


def _beside() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    os.environ.pop("WANDB_MODE", None)
    run("none", 1, 1)
    times: dict[str, list[Times]] = {kind: [] for kind in KINDS}
    for turn in range(options.rounds):
        for kind in KINDS[turn % len(KINDS) :] + KINDS[: turn % len(KINDS)]:
            times[kind].append(seconds := run(kind, options.trials, options.epochs))
            print(f"round {turn + 1}: {kind:8} {seconds}", file=sys.stderr, flush=True)
    figures = {kind: _figures(runs, times["none"]) for kind, runs in times.items()}
    for kind, figure in figures.items():
        print(f"{kind:8}" + "  ".join(f"{name} {value:.4g}" for name, value in figure.items()))
    print(f"n = {options.rounds} each, in turns; {os.cpu_count()} cores ({platform.machine()})")
    print(json.dumps({"tracking": figures}))
    slowest = max(figure["clock_ratio"] for figure in figures.values())
    latest = max(figure["longest_exit_s"] for figure in figures.values())
    return 0 if slowest <= TARGET_RATIO and latest <= TARGET_EXIT_SECONDS else 1


def _figures(runs: list[Times], plain: list[Times]) -> dict[str, float]:
    clock, processor = (statistics.median(getattr(one, name) for one in runs) for name in ("clock", "processor"))
    return {
        "training_s": clock,
        "clock_ratio": clock / statistics.median(one.clock for one in plain),
        "processor_ratio": processor / statistics.median(one.processor for one in plain),
        "longest_exit_s": max(one.exit for one in runs),
        "beside_s": statistics.median(one.beside for one in runs),
    }


if __name__ == "__main__":
    sys.exit(main())
