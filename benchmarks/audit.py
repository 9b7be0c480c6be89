"""Measure the coverage of an audit's interval of lost winners, and the calibration of its probabilities.

    python -m benchmarks.audit [--sweeps 1000] [--trials 60] [--scheduler guarded_asha,asha]
                             [--curves FILE.npz [--variant late]]

Each sweep trains trials drawn at random as its scheduler says, one at a time. What a trial that ended early would have
come to is known, so the winners that were lost can be counted. The curves are synthetic ones, of a family a sweep, or
rows of a table. In a synthetic family a loss is a mixture of what counts in the end and of something else; how soon the
former shows is drawn for each sweep, from hardly before the end to the first epoch.

Printed for each scheduler: the share of the intervals that hold the truth (of those of sweeps that lost a winner,
too), the mean number lost and forecast, and the probabilities against outcomes in bins, for a stopped trial.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.search import VARIANTS, Task, load, make_task
from benchmarks.search_policies import Product
from orchestrator.policies.rungs import rung_places
from orchestrator.results.audit import Audit, audited, binned

EPOCHS = 27
SCHEDULERS: dict[str, dict[str, Any]] = {
    "guarded_asha": {"name": "guarded_asha", "reduction_factor": 3},
    "asha": {"name": "asha", "promote": True, "reduction_factor": 3},
}
Floats = NDArray[np.float64]


def synthetic(trials: int, random: np.random.Generator) -> Task:
    """Return one sweep's trials: normal final losses, normal early ones, and how soon the former show."""
    late = math.exp(random.uniform(math.log(0.1), math.log(3.0)))
    end, early = random.standard_normal((2, trials, 1))
    share = (np.log1p(np.arange(1, EPOCHS + 1)) / math.log1p(EPOCHS)) ** late
    losses = share * end + np.sqrt(1 - share**2) * early + 3 * (1 - share)
    losses[:, :-1] += 0.05 * random.standard_normal((trials, EPOCHS - 1))
    return make_task("synthetic", losses, random.random((trials, 1)))


def of_table(task: Task, trials: int, random: np.random.Generator) -> Task:
    """Return a table of some of a table's rows."""
    rows = random.choice(len(task.losses), min(trials, len(task.losses)), replace=False)
    return make_task(task.name, np.array(task.losses)[rows], task.points[rows])


def played(task: Task, scheduler: dict[str, Any], seed: int) -> Floats:
    """Return the epochs that a sweep trained each row for."""
    rows = len(task.losses)
    policy = Product(task.points, task.epochs, list(range(rows)), seed, scheduler=scheduler)
    done = np.zeros(rows)
    while (row := policy.next()) is not None:
        going = True
        while going and done[row] < task.epochs:
            done[row] += 1
            going = policy.report(row, int(done[row]), task.losses[row][int(done[row]) - 1])
    return done


def audit(task: Task, done: Floats, scheduler: dict[str, Any], seed: int) -> tuple[Audit, Floats]:
    """Return the audit of a sweep, and for each trial that it stopped whether it would have beaten the winner."""
    places = rung_places(1, scheduler["reduction_factor"], task.epochs)
    curves = np.array(task.losses)
    seen = np.where(np.arange(1, task.epochs + 1) <= done[:, None], curves, np.nan)
    kept = np.flatnonzero(np.isfinite(seen[:, 0]) & np.isfinite(seen[np.arange(len(seen)), done.astype(int) - 1]))
    best = np.array([[_lowest(seen[row], int(place)) for place in places] for row in kept])
    share, random = 1 / scheduler["reduction_factor"], np.random.default_rng(seed)
    result = audited(best, places, done[kept], numbers=kept.tolist(), share=share, random=random)
    winner = np.nanmin(best)
    return result, np.array([float(task.best[number] < winner) for number in result.probabilities])


def _lowest(seen: Floats, place: int) -> float:
    """Return the best loss up to a place; NaN if it was not reached."""
    return math.nan if np.isnan(seen[place - 1]) else float(np.nanmin(seen[:place]))


def sweeps(tasks: list[Task] | None, trials: int, count: int) -> Iterator[tuple[int, Task]]:
    for seed in range(count):
        random = np.random.default_rng(seed)
        yield seed, of_table(tasks[seed % len(tasks)], trials, random) if tasks else synthetic(trials, random)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=1000)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--scheduler", default=",".join(SCHEDULERS))
    parser.add_argument("--curves", type=Path)
    parser.add_argument("--variant", default="", choices=VARIANTS, help="of the table, as in benchmarks.search")
    args = parser.parse_args()
    tasks = load(args.curves, args.variant) if args.curves else None
    for name in args.scheduler.split(","):
        scheduler, held, counts, forecasts, unknown = SCHEDULERS[name], [], [], [], 0
        pairs: list[tuple[Floats, Floats]] = []
        for seed, task in sweeps(tasks, args.trials, args.sweeps):
            result, outcomes = audit(task, played(task, scheduler, seed), scheduler, seed)
            if result.lost is None or result.low is None or result.high is None:
                unknown += 1
                continue
            counts.append(float(outcomes.sum()))
            held.append(result.low <= counts[-1] <= result.high)
            forecasts.append(result.lost)
            pairs.append((np.array([*result.probabilities.values()]), outcomes))
        with_losses = [inside for inside, count in zip(held, counts, strict=True) if count]
        print(f"{name}: {len(held)} sweeps of {args.trials} trials, {unknown} with too few finished to say")
        print(
            f"  intervals that hold the truth: {np.mean(held):.1%}"
            + (f"; of the {len(with_losses)} sweeps with losses {np.mean(with_losses):.1%}" if with_losses else "")
        )
        print(f"  winners lost: {np.mean(counts):.3f} a sweep, forecast {np.mean(forecasts):.3f}")
        print(f"  {'forecast':>10}{'observed':>10}{'n':>8}")
        for each in binned(pairs, 10):
            print(f"  {each.forecast:>10.1%}{each.observed:>10.1%}{each.n:>8}")


if __name__ == "__main__":
    main()
