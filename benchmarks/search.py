"""Measure how soon searches find the best configurations on tables of real learning curves.

    python -m benchmarks.search --curves taskset.npz|FOLDER [--seeds 100] [--workers 1,16] [--only NAME,NAME]
                                [--jobs 2] [--variant misleading,uninformative,noisy,short]

Each table (.npz; of a folder, every one) holds, for each task, ``<task>/valid`` (configurations × epochs, the
validation loss, NaN where training diverged) and ``<task>/params`` (configurations × parameters).

What is measured
  A run draws the table's configurations without replacement until a goal is met or all have been tried. Goals: the
  first of the best 1 %, and of the best 0.2 %, of configurations (by the best finite loss of their curve) has been seen
  at its level, that is, has reported its own best loss.
Time
  An epoch takes a worker one unit. All workers start at once; within a unit they report in their own order, each at
  once followed by a decision and the next assignment. Resuming a set-aside trial is free, as are decisions.
Score
  Geometric mean, over tasks and seeds, of random search's time (every trial trained to its end) over the policy's, for
  the same number of workers. A run that never arrives counts with the time of training the whole table; the share of
  such runs is given too.
Candidates
  Every policy may take only rows of the table that it has not tried. Random ones take a seeded shuffle. The default
  draws 64 untried rows at random, where in a sweep it draws 64 points from the space, and takes the one its model
  prefers; its scheduler and its model are the product's own, which observe a sweep's events. Optuna proposes a point of
  the unit cube and receives the nearest untried row with its parameters. A parameter's coordinate is its
  quantile in the table: in a sweep, its quantile under the space's distribution.
Variants
  The same curves made harder: with early epochs in which the best row has the worst one's loss (misleading) or any
  other's (uninformative), with an error on every loss (noisy), or cut off after nine epochs (short).

Standard output: for each table and variant the figures (mean and worst task, share of runs that never arrive), and one
line of JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.search_policies import POLICIES, Policy

GOALS = (0.01, 0.002)
HEADINGS = f"{'best 1 %':>9}{'0.2 %':>9}{'worst 1%':>9}{'0.2 %':>9}{'never 1%':>9}{'0.2 %':>9}"


@dataclass
class Task:
    """One table of curves; ``points`` are the parameters as quantiles, ``goals`` the rows that are sought."""

    name: str
    losses: list[list[float]]
    best: list[float]
    points: NDArray[np.float64]
    goals: list[frozenset[int]]

    @property
    def epochs(self) -> int:
        return len(self.losses[0])


def load(path: Path, variant: str = "") -> list[Task]:
    """Return the table's tasks in its order, with the variant applied to their curves."""
    change = VARIANTS[variant]
    with np.load(path) as table:
        names = [key.removesuffix("/valid") for key in table.files if key.endswith("/valid")]
        curves = {name: change(table[f"{name}/valid"].astype(float)) for name in names}
        return [make_task(name, curves[name], table[f"{name}/params"]) for name in names]


def misleading(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Reverse the ranking in the first epochs: the best row has the worst one's loss, and so on."""
    return _rearranged(losses, lambda rows: rows[::-1])


def uninformative(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shuffle the losses of the first epochs among the rows."""
    random = np.random.default_rng(0)
    return _rearranged(losses, random.permutation)


def _rearranged(losses: NDArray[np.float64], rearrange: Callable[[Any], Any]) -> NDArray[np.float64]:
    changed = losses.copy()
    for epoch in range(min(EARLY, losses.shape[1] - 1)):
        rows = np.argsort(losses[:, epoch], kind="stable")
        rows = rows[np.isfinite(losses[rows, epoch])]
        changed[rows, epoch] = losses[rearrange(rows), epoch]
    return changed


def noisy(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Add a normal error to each loss, a tenth as wide as the middle half of the rows' best losses."""
    best: NDArray[np.float64] = np.where(np.isfinite(losses), losses, np.inf).min(axis=1)
    low, high = np.quantile(best[np.isfinite(best)], [0.25, 0.75])
    error: NDArray[np.float64] = np.random.default_rng(0).normal(0.0, 0.1 * (high - low), losses.shape)
    return losses + error


def short(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keep the first nine epochs."""
    return losses[:, :9]


EARLY = 3
"""Epochs that ``misleading`` and ``uninformative`` change."""
VARIANTS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "": lambda losses: losses,
    "misleading": misleading,
    "uninformative": uninformative,
    "noisy": noisy,
    "short": short,
}


def make_task(name: str, losses: NDArray[Any], params: NDArray[np.float64]) -> Task:
    losses = losses.astype(float)
    best = np.where(np.isfinite(losses), losses, np.inf).min(axis=1)
    order = np.argsort(best, kind="stable")
    ranks = np.argsort(np.argsort(params, axis=0, kind="stable"), axis=0, kind="stable")
    goals = [frozenset(order[: max(1, round(share * len(order)))].tolist()) for share in GOALS]
    return Task(name, losses.tolist(), best.tolist(), (ranks + 0.5) / len(params), goals)


def simulate(task: Task, policy: Policy, workers: int) -> list[float]:
    """Return when each goal is met, in units of time; infinity if all rows were tried without it."""
    times, done = [math.inf] * len(task.goals), dict.fromkeys(range(len(task.losses)), 0)
    slots: list[int | None] = [policy.next() for _ in range(workers)]
    clock = 0
    while any(row is not None for row in slots) and math.inf in times:
        clock += 1
        for worker, row in enumerate(slots):
            if row is not None:
                done[row] += 1
                loss = task.losses[row][done[row] - 1]
                if loss <= task.best[row]:
                    times = [min(t, clock) if row in goal else t for t, goal in zip(times, task.goals, strict=True)]
                continues = policy.report(row, done[row], loss)
                if continues and done[row] < task.epochs:
                    continue
            slots[worker] = policy.next()
    return times


def runs(task: Task, name: str, workers: int, seeds: int) -> NDArray[np.float64]:
    """Return the times of all seeds, shape (seeds, goals)."""
    make: Callable[..., Policy] = POLICIES[name]
    size = len(task.losses)
    shuffled = (np.random.default_rng(seed).permutation(size).tolist() for seed in range(seeds))
    return np.array(
        [simulate(task, make(task.points, task.epochs, order, seed), workers) for seed, order in enumerate(shuffled)]
    )


def log_times(task: Task, times: NDArray[np.float64], workers: int) -> NDArray[np.float64]:
    """Return the mean log time; a run that never arrives counts as if it trained the whole table."""
    whole = len(task.losses) * task.epochs / workers
    logs: NDArray[np.float64] = np.log(np.where(np.isfinite(times), times, whole)).mean(axis=0)
    return logs


def measure(tasks: list[Task], names: list[str], workers: list[int], seeds: int, jobs: int) -> list[dict[str, Any]]:
    """Return one row of figures for each policy and number of workers."""
    rows = []
    with ProcessPoolExecutor(jobs) as pool:
        for count in workers:
            random = None
            for name in ["random", *(n for n in names if n != "random")]:
                start = time.perf_counter()
                futures = [pool.submit(runs, task, name, count, seeds) for task in tasks]
                times = [future.result() for future in futures]
                logs = np.array([log_times(task, t, count) for task, t in zip(tasks, times, strict=True)])
                random = logs if random is None else random
                row = figures(name, count, random - logs, np.concatenate(times))
                rows.append(row | {"seeds": seeds, "seconds": round(time.perf_counter() - start, 1)})
                print(line(row), file=sys.stderr, flush=True)
    return [row for row in rows if row["policy"] in names]


def figures(name: str, workers: int, gains: NDArray[np.float64], times: NDArray[np.float64]) -> dict[str, Any]:
    return {
        "policy": name,
        "workers": workers,
        "speed_up": np.exp(gains.mean(axis=0)).round(2).tolist(),
        "by_task": np.exp(gains).round(2).tolist(),
        "never": (~np.isfinite(times)).mean(axis=0).round(4).tolist(),
    }


def line(row: dict[str, Any]) -> str:
    gains = "".join(f"{gain:8.1f}x" for gain in row["speed_up"])
    worst = "".join(f"{min(task[goal] for task in row['by_task']):8.1f}x" for goal in range(len(GOALS)))
    return f"{row['policy']:<18}{row['workers']:>8}{gains}{worst}" + "".join(f"{share:9.1%}" for share in row["never"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--curves", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--workers", default="1,16")
    parser.add_argument("--only", default=",".join(POLICIES))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--variant", default="", help=f"curves that are harder in some way: {', '.join(VARIANTS)[2:]}")
    args = parser.parse_args()
    names, variants = args.only.split(","), args.variant.split(",")
    for kind, given, known in (("policy", names, list(POLICIES)), ("variant", variants, list(VARIANTS))):
        if unknown := sorted(set(given) - set(known)):
            parser.error(f"no {kind} named {', '.join(unknown)}; known: {', '.join(filter(None, known))}")
    workers = [int(count) for count in args.workers.split(",")]
    for path in sorted(args.curves.glob("*.npz")) if args.curves.is_dir() else [args.curves]:
        for variant in variants:
            rows = measure(load(path, variant), names, workers, args.seeds, args.jobs)
            print(f"{path.name} {variant}\n{'policy':<18}{'workers':>8}" + HEADINGS)
            print("\n".join(line(row) for row in rows))
            print(json.dumps({"curves": path.name, "variant": variant, "results": rows}), flush=True)


if __name__ == "__main__":
    main()
