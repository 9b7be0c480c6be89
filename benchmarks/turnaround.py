"""Measure slot turnaround: from the last report of one trial to the first step of the next, in the same warm slot.

Usage: python benchmarks/turnaround.py [--trials N]

LitModel on the digits under Ray Tune, one slot, the default searcher. The last report's time is the journal's (the
driver has it written); the first step's is taken by a callback in the worker, on the same clock. In between lie the
journal's fsync, the suggestion, Ray's reset of the worker, and all of building model, data and Trainer. The first
trial, which starts the worker, is left out. Beside it, in the same process, plain Ray Tune turns over trials that do
nothing, with workers reused likewise: the rest is ours and Lightning's. Prints one line for people, then one of
JSON; exits with 1 if the median is above the target.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import lightning as L
import ray
from ray import tune

from orchestrator import Sweep, log_uniform
from orchestrator.journal import read

TARGET_MS = 50.0
LOG = "TURNAROUND_LOG"


class FirstStep(L.Callback):
    """Write down when the first batch of a trial begins."""

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == 0:
            with Path(os.environ[LOG]).open("a") as file:
                file.write(f"{time.time()}\n")


def measure(trials: int) -> list[float]:
    """Return the milliseconds from the last report of each trial to the first step of the one after it."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ[LOG] = str(Path(folder, "first_steps"))
        results = Sweep(
            name="turnaround",
            model={"class_path": "orchestrator.models.LitModel", "init_args": {"input_shape": [3, 20, 20]}},
            data={"class_path": "orchestrator.data.DigitsDataModule", "init_args": {"image_size": 20}},
            trainer={"max_epochs": 1, "callbacks": [FirstStep]},
            space={"model.learning_rate": log_uniform(1e-4, 1e-2)},
            objective=("val_acc", "max"),
            scheduler="fifo",
            budget=trials,
            resources={"concurrent": 1},
        ).launch(folder)
        steps = [float(line) for line in Path(os.environ[LOG]).read_text().split()]
        reports = [event.time for event in read(results.run.journal) if event.type == "segment.reported"]
    assert len(steps) == len(reports) == trials
    return [1000 * (step - report) for report, step in zip(reports, steps[1:], strict=False)]


def measure_empty(trials: int) -> list[float]:
    """Return the same for plain Ray Tune and trials that only report: from a report to the next trial's start."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        log = Path(folder, "times")

        def nothing(config: dict[str, Any]) -> None:
            with log.open("a") as file:
                file.write(f"{time.time()}\n")
            tune.report({"at": time.time()})

        ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, _temp_dir=f"{folder}/ray")
        try:
            results = tune.Tuner(
                nothing,
                tune_config=tune.TuneConfig(num_samples=trials, max_concurrent_trials=1, reuse_actors=True),
                run_config=tune.RunConfig(storage_path=f"{folder}/tune", verbose=0),
            ).fit()
        finally:
            ray.shutdown()
        reports = sorted(
            result.metrics["at"] for result in (results[index] for index in range(len(results))) if result.metrics
        )
        starts = sorted(map(float, log.read_text().split()))
    return [1000 * (start - report) for report, start in zip(reports, starts[1:], strict=False)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--trials", type=int, default=25)
    trials = parser.parse_args().trials
    gaps, empty = measure(trials), measure_empty(trials)
    median, floor = statistics.median(gaps), statistics.median(empty)
    where = f"{os.cpu_count()} cores ({platform.machine()}), Ray {ray.__version__}, Lightning {L.__version__}"
    print(
        f"slot turnaround: median {median:.1f} ms (target ≤ {TARGET_MS:.0f} ms), "
        f"{min(gaps):.1f} to {max(gaps):.1f} ms, n = {len(gaps)}; "
        f"{median / floor:.1f}x an empty trial of plain Ray Tune ({floor:.1f} ms, n = {len(empty)}); {where}"
    )
    figures = {"median_ms": median, "empty_ms": floor, "ratio": median / floor, "n": len(gaps), "all_ms": gaps}
    print(json.dumps({"turnaround": figures}))
    return 0 if median <= TARGET_MS else 1


if __name__ == "__main__":
    sys.exit(main())
