"""Measure how well the time left and the expected progress of a sweep are estimated, on fifty simulated sweeps.

    python -m benchmarks.eta [--curves taskset.npz|FOLDER] [--runs FOLDER] [--jobs 2] [--fitted digits_mlp]

What is measured
  Time left: at each tenth of a sweep's time from the middle on, the estimate (`orchestrator.plan.time_left`) against
  what was really left, as a share of what was really left; and as a share of the sweep's whole time.
  Expected progress: what `sweep plan` expects, against what the sweep has trained in the end.
Sweeps
  With tables of real learning curves (.npz; see benchmarks/search.py for their form) 40 sweeps on their tasks in turn,
  and 10 on synthetic curves; without tables only those. Searcher, scheduler, trials, epochs, slots, the spread of the
  speed over configurations and the time to start a segment differ, all by the sweep's number. Each runs in the
  product's simulator, where durations vary by a tenth at random.
Held out
  Constants of `sweep plan`'s curves were chosen on the synthetic sweeps, on the tables named by --fitted and on six of
  TaskSet's sweeps; the figures of tables not named are printed apart.
Recorded runs
  With --runs, also every completed run in that folder: real journals with real times.
"""

from __future__ import annotations

import argparse
import json
import math
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.engine.learning_curves import synthetic
from orchestrator.engine.recorded_curves import of_table
from orchestrator.engine.simulator import simulate
from orchestrator.journal import Event, read
from orchestrator.plan import plan
from orchestrator.plan.time_left import Forecast
from orchestrator.rundir import list_runs
from orchestrator.spec import SweepSpec, from_mapping
from orchestrator.state import SweepState

MOMENTS = (0.5, 0.6, 0.7, 0.8, 0.9)
TIME_ERROR, PROGRESS_ERROR = 0.25, 0.3
FROM_TABLES, SYNTHETIC = 40, 10
SEARCHERS = ("density_ratio", "density_ratio", "random", "tpe", "density_ratio")
SCHEDULERS = ("guarded_asha", "asha", "guarded_asha", "hyperband", "fifo", "median", "guarded_asha", "asha")
TRIALS = (20, 40, 64, 100, 27)
EPOCHS = (10, 30, 27, 50)
SLOTS = (1, 2, 4, 8)


@dataclass(frozen=True)
class Case:
    """One sweep: its number fixes everything about it. ``file`` and ``task`` are empty for synthetic curves."""

    number: int
    file: str = ""
    task: str = ""

    @property
    def source(self) -> str:
        return Path(self.file).stem if self.file else "synthetic"


@dataclass
class Score:
    """What was estimated and what came: seconds left by the share of the time gone, and progress."""

    case: str
    source: str
    seconds: float
    left: dict[float, tuple[float | None, float]] = field(default_factory=dict)
    progress: tuple[float | None, float] = (None, 0.0)

    @property
    def progress_error(self) -> float:
        expected, trained = self.progress
        return abs(expected / trained - 1) if expected else math.inf

    def time_errors(self, *, whole: bool = False) -> list[float]:
        """Return the errors from the middle on, as shares of what was left, or of the whole time."""
        return [
            abs(estimate - left) / (self.seconds if whole else left) if estimate is not None else math.inf
            for moment, (estimate, left) in self.left.items()
            if moment >= MOMENTS[0]
        ]


def spec_of(case: Case, base: Mapping[str, Any]) -> SweepSpec:
    number = case.number
    return from_mapping(
        {
            **base,
            "seed": number,
            "searcher": {"name": SEARCHERS[number % len(SEARCHERS)]},
            "scheduler": {"name": SCHEDULERS[number % len(SCHEDULERS)]},
            "budget": {"trials": TRIALS[(number // 2) % len(TRIALS)]},
            "trainer": {"max_epochs": EPOCHS[(number // 3) % len(EPOCHS)]},
        }
    )


def synthetic_base() -> dict[str, Any]:
    return {
        "name": "synthetic",
        "objective": {"metric": "loss", "mode": "min"},
        "model": "no.Model",
        "space": {
            "model.learning_rate": {"log_uniform": [1e-4, 1e-1]},
            "model.width": {"log_int": [16, 512]},
            "model.dropout": {"uniform": [0.0, 0.5]},
        },
    }


def score(case: Case) -> Score:
    """Simulate a sweep and compare the estimates with it."""
    number, curve = case.number, synthetic("loss", "min", noise=0.02 + 0.02 * (case.number % 3))
    if case.file:
        recorded = of_table(Path(case.file), case.task)
        spec, curve = spec_of(case, recorded.spec), recorded.metrics
    else:
        spec = spec_of(case, synthetic_base())
    spread = (0.0, 0.3, 0.7)[number % 3]

    def seconds(params: Mapping[str, Any], report: int) -> float:
        """Return a speed that depends smoothly on the first two parameters, and otherwise on all of them by chance."""
        names = sorted(params)[:2]
        smooth = sum(
            math.sin(1 + float(params[name])) if isinstance(params[name], int | float) else 0 for name in names
        )
        chance = zlib.crc32(repr(sorted(params.items())).encode()) / 2**32 - 0.5
        return 10.0 * math.exp(spread * (smooth + chance))

    slots, startup = SLOTS[(number // 5) % len(SLOTS)], (0.0, 4.0, 20.0)[(number // 2) % 3]
    run = simulate(spec, curve=curve, seconds=seconds, slots=slots, seed=number, startup=startup)
    scored = judged(run.events, spec)
    policies = f"{spec.searcher.name}+{spec.scheduler.name}"
    scored.case = f"{case.source}/{case.task} {policies}, {spec.budget.trials} x {spec.horizon:g}, {slots} slots"
    scored.source = case.source
    return scored


def judged(events: list[Event], spec: SweepSpec) -> Score:
    """Compare the estimates with a sweep that has ended."""
    start, end = next(event.time for event in events if event.type == "sweep.launched"), events[-1].time
    scored, state, moments = Score("", "", end - start), SweepState(), list(MOMENTS)
    forecast = Forecast()
    for event in events:
        while moments and event.time > start + moments[0] * (end - start):
            now = start + moments[0] * (end - start)
            scored.left[moments.pop(0)] = (forecast.time_left(state, now).seconds, end - now)
        state.apply(event)
        forecast.observe(event)
    trained = state.trained[spec.progress.unit]
    scored.progress = (plan(spec).expected, trained)
    return scored


def tables(curves: Path | None) -> Iterator[tuple[str, str]]:
    """Yield file and task of every table."""
    if curves is None:
        return
    for file in sorted(curves.glob("*.npz")) if curves.is_dir() else [curves]:
        with np.load(file) as table:
            yield from ((str(file), key.removesuffix("/valid")) for key in table.files if key.endswith("/valid"))


def cases(curves: Path | None) -> list[Case]:
    found = list(tables(curves))
    listed = [Case(number, *found[number % len(found)]) for number in range(FROM_TABLES if found else 0)]
    return listed + [Case(number) for number in range(len(listed), len(listed) + SYNTHETIC)]


def recorded_scores(folder: Path) -> Iterator[Score]:
    """Yield the scores of the completed runs in a folder that were never paused."""
    for run in list_runs(folder):
        events = list(read(run.journal))
        if not events or events[-1].type != "sweep.completed" or sum(e.type == "sweep.launched" for e in events) > 1:
            continue
        scored = judged(events, SweepSpec.model_validate(SweepState(events).spec))
        scored.case, scored.source = f"run {run.name}", "runs"
        yield scored


def summary(scores: list[Score]) -> dict[str, Any]:
    """Return the shares within the bounds, and the middle errors."""
    left = [error for each in scores for error in each.time_errors()]
    whole = [error for each in scores for error in each.time_errors(whole=True)]
    progress = [each.progress_error for each in scores]
    return {
        "sweeps": len(scores),
        "time_left_within_25%": round(float(np.mean(np.array(left) <= TIME_ERROR)), 3),
        "time_left_median_error": round(float(np.median(left)), 3),
        "of_whole_time_within_25%": round(float(np.mean(np.array(whole) <= TIME_ERROR)), 3),
        "of_whole_time_median_error": round(float(np.median(whole)), 3),
        "progress_within_30%": round(float(np.mean(np.array(progress) <= PROGRESS_ERROR)), 3),
        "progress_median_error": round(float(np.median(progress)), 3),
    }


def line(each: Score) -> str:
    errors = " ".join(
        f"{'–' if estimate is None else f'{estimate / left - 1:+.0%}':>6}" for estimate, left in each.left.values()
    )
    expected, trained = each.progress
    return f"{each.case:<80.80} {errors}   {expected or 0:7g} of {trained:7g} ({(expected or 0) / trained - 1:+.0%})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--curves", type=Path, help="a table of learning curves, or a folder of them")
    parser.add_argument("--runs", type=Path, help="a folder of completed runs")
    parser.add_argument("--fitted", default="digits_mlp", help="tables that constants were chosen on")
    parser.add_argument("--only", default="", help="numbers of sweeps")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    with ProcessPoolExecutor(args.jobs) as pool:
        wanted = {int(number) for number in args.only.split(",") if number}
        chosen = [case for case in cases(args.curves) if not wanted or case.number in wanted]
        scores = list(pool.map(score, chosen))
    if args.runs:
        scores += recorded_scores(args.runs)
    print(f"{'sweep':<80} {'errors of the time left at ' + ', '.join(f'{m:.0%}' for m in MOMENTS)}; expected progress")
    print("\n".join(map(line, scores)))
    fitted = {*args.fitted.split(","), "synthetic"}
    for name, group in (
        ("all", scores),
        ("held out", [each for each in scores if each.source not in fitted]),
        ("fitted on", [each for each in scores if each.source in fitted]),
    ):
        if group:
            print(json.dumps({"which": name, **summary(group)}))


if __name__ == "__main__":
    main()
