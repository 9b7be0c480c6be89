"""Measure how soon searches find the best configurations on tables of real learning curves.

    python -m benchmarks.search [--curves FILE.npz|FOLDER] [--seeds 100] [--workers 1,4,16,64] [--only NAME,NAME]
                                [--jobs 2] [--variant misleading,uninformative,noisy,short,late]

Policies that ask Optuna take most of the time of a full run, so they have 20 seeds unless ``--only`` names them.

The tables are those of ``benchmarks/curves`` (`benchmarks.make_curves`), or yours. Each (.npz; of a folder, every one)
holds, for each task, ``<task>/valid`` (configurations × epochs, the validation loss, NaN where training diverged) and
``<task>/params`` (configurations × parameters).

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
Regret
  The area under the regret of the best loss so far against time, while the workers train a twentieth of the table's
  epochs: 0 is the table's best, 1 the median of its rows' best losses, and the start. It is a mean, over tasks and
  seeds, and needs no goal. ``saved`` is by how much it is below that of ``one-epoch-then-best`` with the same seeds,
  with a 95 % interval of bootstrap samples of the seeds. A table is a family.
Pairs
  Seeds are paired: every policy has the same shuffle. Against ``asha-promotion`` and ``parzen+promotion`` the ratio of
  times has a 95 % interval, of 1,000 bootstrap samples of the seeds; tables and tasks are what they are.
Candidates
  Every policy may take only rows of the table that it has not tried. Random ones take a seeded shuffle. The default
  draws 64 untried rows at random, where in a sweep it draws 64 points from the space, and takes the one its model
  prefers; its scheduler and its model are the product's own, which observe a sweep's events. Optuna proposes a point of
  the unit cube and receives the nearest untried row with its parameters. A parameter's coordinate is its
  quantile in the table: in a sweep, its quantile under the space's distribution.
Variants
  The same curves made harder: with early epochs in which the best row has the worst one's loss (misleading) or any
  other's (uninformative), with an error on every loss (noisy), cut off after nine epochs (short), or with the best
  rows, and some others, behind two thirds of the table until the eighth epoch (late).
Constants
  A constant that is chosen by these figures has to be chosen on other families than those that it is reported on.

Standard output: for each table and variant the figures (mean and worst task, share of runs that never arrive), and one
line of JSON; at the end, over all tables, the worst task of each policy against ``asha-promotion``, its geometric mean
against both references, and the table on which it saves least regret against ``one-epoch-then-best``.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.search_policies import POLICIES, SLOW, Policy

SHIPPED = Path(__file__).resolve().parent / "curves"
GOALS = (0.01, 0.002)
REGRET_SHARE = 1 / 20
"""The share of the table's epochs in which regret is measured."""
REFERENCES = ("asha-promotion", "parzen+promotion")
REGRET_REFERENCE = "one-epoch-then-best"
SAMPLES = 1000
SLOW_SEEDS = 20
"""Seeds of a policy that takes seconds a run, unless it is asked for by name."""
HEADINGS = f"{'best 1 %':>9}{'0.2 %':>9}{'worst 1%':>9}{'0.2 %':>9}{'never 1%':>9}{'0.2 %':>9}{'regret':>9}  saved"


Row = dict[str, Any]
Gains = dict[tuple[str, int, str], NDArray[np.float64]]
"""By policy, workers and reference: log ratios of times, shape (seeds, goals), as a mean over a table's tasks."""


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

    @property
    def whole(self) -> int:
        """Epochs to train the whole table."""
        return len(self.losses) * self.epochs

    @cached_property
    def _lowest_and_median(self) -> tuple[float, float]:
        finite = [best for best in self.best if math.isfinite(best)]
        return min(finite), float(np.median(finite))

    def regret(self, loss: float) -> float:
        """Return how far a loss is from the table's best, as a share of the median row's distance."""
        lowest, middle = self._lowest_and_median
        return min(1.0, max(0.0, (loss - lowest) / (middle - lowest))) if middle > lowest else float(loss > lowest)


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


def late(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Hold back the best tenth of the rows, and a tenth of the others, behind two thirds of the table at first.

    For ``EARLY`` epochs such a row has the loss of a row between 60 and 80 % of the ranking of that epoch; then it
    comes to its own loss in equal steps until epoch ``LATE``.
    """
    random, changed = np.random.default_rng(0), losses.copy()
    best: NDArray[np.float64] = np.where(np.isfinite(losses), losses, np.inf).min(axis=1)
    order = np.argsort(best, kind="stable")
    tenth = max(1, len(order) // 10)
    rows = np.concatenate([order[:tenth], random.choice(order[tenth:], tenth, replace=False)])
    places = random.uniform(0.6, 0.8, len(rows))
    for epoch in range(min(LATE - 1, losses.shape[1] - 1)):
        finite = np.sort(losses[np.isfinite(losses[:, epoch]), epoch])
        behind = finite[(places * (len(finite) - 1)).astype(int)]
        share = min(1.0, (LATE - 1 - epoch) / (LATE - EARLY))
        changed[rows, epoch] = share * behind + (1 - share) * losses[rows, epoch]
    return changed


EARLY, LATE = 3, 8
"""Epochs that ``misleading`` and ``uninformative`` change."""
VARIANTS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "": lambda losses: losses,
    "misleading": misleading,
    "uninformative": uninformative,
    "noisy": noisy,
    "short": short,
    "late": late,
}


def make_task(name: str, losses: NDArray[Any], params: NDArray[np.float64]) -> Task:
    losses = losses.astype(float)
    best = np.where(np.isfinite(losses), losses, np.inf).min(axis=1)
    order = np.argsort(best, kind="stable")
    ranks = np.argsort(np.argsort(params, axis=0, kind="stable"), axis=0, kind="stable")
    goals = [frozenset(order[: max(1, round(share * len(order)))].tolist()) for share in GOALS]
    return Task(name, losses.tolist(), best.tolist(), (ranks + 0.5) / len(params), goals)


def simulate(task: Task, policy: Policy, workers: int) -> list[float]:
    """Return when each goal is met, in units of time, and the area under the regret, as a mean over its time.

    A goal's time is infinite if all rows were tried without it.
    """
    times, done = [math.inf] * len(task.goals), dict.fromkeys(range(len(task.losses)), 0)
    slots: list[int | None] = [policy.next() for _ in range(workers)]
    clock, lowest, until = 0, math.inf, max(1, round(task.whole * REGRET_SHARE / workers))
    regrets: list[float] = []
    while any(row is not None for row in slots) and (math.inf in times or clock < until):
        clock += 1
        for worker, row in enumerate(slots):
            if row is not None:
                done[row] += 1
                loss = task.losses[row][done[row] - 1]
                lowest = min(lowest, loss) if math.isfinite(loss) else lowest
                if loss <= task.best[row]:
                    times = [min(t, clock) if row in goal else t for t, goal in zip(times, task.goals, strict=True)]
                continues = policy.report(row, done[row], loss)
                if continues and done[row] < task.epochs:
                    continue
            slots[worker] = policy.next()
        if clock <= until:
            regrets.append(lowest)
    area = sum(map(task.regret, regrets)) + (until - len(regrets)) * task.regret(lowest)
    return [*times, area / until]


def runs(task: Task, name: str, workers: int, seeds: range) -> NDArray[np.float64]:
    """Return what `simulate` does of these seeds, shape (seeds, goals + 1)."""
    make: Callable[..., Policy] = POLICIES[name]
    size = len(task.losses)
    shuffled = ((seed, np.random.default_rng(seed).permutation(size).tolist()) for seed in seeds)
    return np.array([simulate(task, make(task.points, task.epochs, order, seed), workers) for seed, order in shuffled])


def log_times(task: Task, ran: NDArray[np.float64], workers: int) -> NDArray[np.float64]:
    """Return the log times, shape (seeds, goals); one that never arrives counts as if it trained the whole table."""
    times = ran[:, : len(GOALS)]
    logs: NDArray[np.float64] = np.log(np.where(np.isfinite(times), times, task.whole / workers))
    return logs


def measure(tasks: list[Task], seeds: Mapping[str, int], workers: list[int], jobs: int) -> tuple[list[Row], Gains]:
    """Return a row of figures for each policy of ``seeds`` and number of workers, and the gains on references."""
    rows: list[Row] = []
    gains: Gains = {}
    first = [name for name in (REGRET_REFERENCE, *REFERENCES) if name in seeds]
    with ProcessPoolExecutor(jobs) as pool:
        for count in workers:
            logs: dict[str, NDArray[np.float64]] = {}
            areas: dict[str, NDArray[np.float64]] = {}
            for name in dict.fromkeys(["random", *first, *seeds]):
                start, number = time.perf_counter(), seeds.get(name, max(seeds.values()))
                few = min(jobs, number)
                parts = [range(number * part // few, number * (part + 1) // few) for part in range(few)]
                futures = [[pool.submit(runs, task, name, count, part) for part in parts] for task in tasks]
                ran = [np.concatenate([part.result() for part in each]) for each in futures]
                logs[name] = np.array([log_times(task, each, count) for task, each in zip(tasks, ran, strict=True)])
                areas[name] = np.array([each[:, -1] for each in ran])
                gained = gains_of(logs, name)
                row = {"policy": name, "workers": count, **figures(logs, name, np.concatenate(ran), gained)}
                row |= saved_regret(areas, name)
                row |= {"tasks": [task.name for task in tasks], "seeds": number}
                rows.append(row | {"seconds": round(time.perf_counter() - start, 1)})
                gains |= {(name, count, reference): each.mean(axis=0) for reference, each in gained.items()}
                print(line(row), file=sys.stderr, flush=True)
    return [row for row in rows if row["policy"] in seeds], gains


def difference(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``left - right`` by pairs, of arrays (tasks, seeds, …), for the seeds that both have."""
    pairs = min(left.shape[1], right.shape[1])
    return left[:, :pairs] - right[:, :pairs]


def gains_of(logs: Mapping[str, NDArray[np.float64]], name: str) -> dict[str, NDArray[np.float64]]:
    """Return a policy's log ratios (tasks, seeds, goals) against each reference that was measured."""
    others = [reference for reference in REFERENCES if reference in logs and reference != name]
    return {reference: difference(logs[reference], logs[name]) for reference in others}


def figures(
    logs: Mapping[str, NDArray[np.float64]],
    name: str,
    ran: NDArray[np.float64],
    gained: Mapping[str, NDArray[np.float64]],
) -> dict[str, Any]:
    """Return a policy's figures; of ``logs``, by policy, each has shape (tasks, seeds, goals)."""
    gains = difference(logs["random"], logs[name]).mean(axis=1)
    found: dict[str, Any] = {
        "speed_up": np.exp(gains.mean(axis=0)).round(2).tolist(),
        "by_task": np.exp(gains).round(2).tolist(),
        "never": (~np.isfinite(ran[:, : len(GOALS)])).mean(axis=0).round(4).tolist(),
        "regret": round(float(ran[:, -1].mean()), 4),
    }
    return found | {f"over {reference}": paired(each) for reference, each in gained.items()}


def paired(gains: NDArray[np.float64]) -> dict[str, Any]:
    """Return ratios with their 95 % intervals, for all tasks and for each, of log ratios (tasks, seeds, goals)."""
    random = np.random.default_rng(0)
    drawn = random.integers(0, gains.shape[1], (SAMPLES, gains.shape[1]))
    sampled = np.stack([gains[:, seeds].mean(axis=1) for seeds in drawn])  # (samples, tasks, goals)
    low, high = (np.exp(np.quantile(sampled, share, axis=0)).round(3).tolist() for share in (0.025, 0.975))
    means = sampled.mean(axis=1)
    return {
        "ratio": np.exp(gains.mean(axis=(0, 1))).round(3).tolist(),
        "interval": np.exp(np.quantile(means, [0.025, 0.975], axis=0)).round(3).T.tolist(),
        "by_task": np.exp(gains.mean(axis=1)).round(3).tolist(),
        "by_task_interval": np.stack([low, high], axis=-1).tolist(),
    }


def saved_regret(areas: dict[str, NDArray[np.float64]], name: str) -> dict[str, Any]:
    """Return by how much a policy's regret is below that of the reference, of ``areas`` of shape (tasks, seeds)."""
    if REGRET_REFERENCE not in areas or name == REGRET_REFERENCE:
        return {}
    saved = difference(areas[REGRET_REFERENCE], areas[name])
    drawn = np.random.default_rng(0).integers(0, saved.shape[1], (SAMPLES, saved.shape[1]))
    interval = np.quantile([saved[:, seeds].mean() for seeds in drawn], [0.025, 0.975])
    by_task = saved.mean(axis=1).round(4).tolist()
    return {
        "saved": round(float(saved.mean()), 4),
        "saved_interval": interval.round(4).tolist(),
        "saved_by_task": by_task,
    }


def _saved(row: dict[str, Any]) -> str:
    low, high = row["saved_interval"]
    return f"{row['saved']:+.4f} ({low:+.4f} to {high:+.4f})"


def line(row: dict[str, Any]) -> str:
    gains = "".join(f"{gain:8.1f}x" for gain in row["speed_up"])
    worst = "".join(f"{min(task[goal] for task in row['by_task']):8.1f}x" for goal in range(len(GOALS)))
    never = "".join(f"{share:9.1%}" for share in row["never"])
    saved = f"  {_saved(row)}" if "saved" in row else ""
    return f"{row['policy']:<20}{row['workers']:>8}{gains}{worst}{never}{row['regret']:9.4f}{saved}"


def verdict(tables: list[tuple[str, list[dict[str, Any]]]]) -> list[str]:
    """Return, over all tables, each policy's worst task against ``asha-promotion``, and how often it never arrives."""
    reference = f"over {REFERENCES[0]}"
    lines = []
    for key in dict.fromkeys((row["policy"], row["workers"]) for _, rows in tables for row in rows):
        rows = [(name, row) for name, rows in tables for row in rows if (row["policy"], row["workers"]) == key]
        never = max(max(row["never"]) for _, row in rows)
        tasks = [
            (ratio, interval, f"{name} {task}, best {goal:.1%}")
            for name, row in rows
            if reference in row
            for task, ratios, intervals in zip(
                row["tasks"], row[reference]["by_task"], row[reference]["by_task_interval"], strict=True
            )
            for goal, ratio, interval in zip(GOALS, ratios, intervals, strict=True)
        ]
        if tasks:
            ratio, (low, high), where = min(tasks)
            said = f"{ratio:.2f} ({low:.2f} to {high:.2f}) in {where}"
            lines.append(f"{key[0]:<20}{key[1]:>8}  {never:7.1%}  {said}")
    return lines


def mean_verdict(tables: list[Gains]) -> list[str]:
    """Return each policy's geometric mean over all tables against each reference, with its interval."""
    lines = []
    for key in dict.fromkeys(key for gains in tables for key in gains):
        found = paired(np.stack([gains[key] for gains in tables if key in gains]))
        goals = zip(GOALS, found["ratio"], found["interval"], strict=True)
        said = ", ".join(
            f"best {goal:.1%}: {ratio:.2f} ({low:.2f} to {high:.2f})" for goal, ratio, (low, high) in goals
        )
        lines.append(f"{key[0]:<20}{key[1]:>8}  {key[2]:<18}{said}")
    return lines


def regret_verdict(tables: list[tuple[str, list[dict[str, Any]]]]) -> list[str]:
    """Return, over all tables, where each policy saves least regret, and on how many its interval is above zero."""
    lines = []
    for key in dict.fromkeys((row["policy"], row["workers"]) for _, rows in tables for row in rows):
        rows = [
            (row["saved"], name, row)
            for name, rows in tables
            for row in rows
            if (row["policy"], row["workers"]) == key and "saved" in row
        ]
        if rows:
            _, name, least = min(rows, key=lambda each: each[0])
            above = sum(row["saved_interval"][0] > 0 for *_, row in rows)
            lines.append(f"{key[0]:<20}{key[1]:>8}  {above} of {len(rows)}  {_saved(least)} in {name}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--curves", type=Path, default=SHIPPED, help="a table or a folder of them; the shipped ones")
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--workers", default="1,4,16,64")
    parser.add_argument("--only", default="", help=f"policies, of {', '.join(POLICIES)}")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--variant", default="", help=f"curves that are harder in some way: {', '.join(VARIANTS)[2:]}")
    args = parser.parse_args()
    names, variants = args.only.split(",") if args.only else list(POLICIES), args.variant.split(",")
    for kind, given, known in (("policy", names, list(POLICIES)), ("variant", variants, list(VARIANTS))):
        if unknown := sorted(set(given) - set(known)):
            parser.error(f"no {kind} named {', '.join(unknown)}; known: {', '.join(filter(None, known))}")
    workers = [int(count) for count in args.workers.split(",")]
    seeds = {name: min(args.seeds, SLOW_SEEDS) if name in SLOW and not args.only else args.seeds for name in names}
    tables: list[tuple[str, list[Row]]] = []
    gains: list[Gains] = []
    for path in sorted(args.curves.glob("*.npz")) if args.curves.is_dir() else [args.curves]:
        for variant in variants:
            rows, gained = measure(load(path, variant), seeds, workers, args.jobs)
            gains.append(gained)
            tables.append((f"{path.name} {variant}".strip(), rows))
            print(f"{path.name} {variant}\n{'policy':<20}{'workers':>8}" + HEADINGS)
            print("\n".join(line(row) for row in rows))
            print(json.dumps({"curves": path.name, "variant": variant, "results": rows}), flush=True)
    if compared := verdict(tables):
        print(f"{'all tables':<20}{'workers':>8}  {'never':>7}  worst task against {REFERENCES[0]} (95 % interval)")
        print("\n".join(compared))
    if compared := mean_verdict(gains):
        print(f"{'all tables':<20}{'workers':>8}  {'against':<18}geometric mean of all tables (95 % interval)")
        print("\n".join(compared))
    if compared := regret_verdict(tables):
        print(f"{'all tables':<20}{'workers':>8}  tables with less regret than {REGRET_REFERENCE}, and the worst table")
        print("\n".join(compared))


if __name__ == "__main__":
    main()
