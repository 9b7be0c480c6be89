"""Measure how much of a Pareto front searchers find by trials, on textbook problems with two objectives.

    python -m benchmarks.fronts [--seeds 6] [--trials 32,64,128] [--in-flight 1,8]

ZDT1 and ZDT2 (Zitzler, Deb and Thiele 2000) and DTLZ2 (Deb et al. 2005) with six parameters and two losses. The figure
is the hypervolume, the area between the trials so far and a corner that is worse than most random ones, as a multiple
of random search's on the same seeds (mean over seeds). In flight are trials that are suggested and not observed yet.

Standard output: a table, and one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from orchestrator.journal import Event
from orchestrator.policies import build_searcher
from orchestrator.spec import from_mapping

PARAMETERS = 6
Losses = tuple[float, float]


def zdt1(x: Sequence[float]) -> Losses:
    height = 1 + 9 * sum(x[1:]) / (len(x) - 1)
    return x[0], height * (1 - math.sqrt(x[0] / height))


def zdt2(x: Sequence[float]) -> Losses:
    height = 1 + 9 * sum(x[1:]) / (len(x) - 1)
    return x[0], height * (1 - (x[0] / height) ** 2)


def dtlz2(x: Sequence[float]) -> Losses:
    radius = 1 + sum((value - 0.5) ** 2 for value in x[1:])
    return radius * math.cos(x[0] * math.pi / 2), radius * math.sin(x[0] * math.pi / 2)


PROBLEMS: dict[str, tuple[Callable[[Sequence[float]], Losses], Losses]] = {
    "zdt1": (zdt1, (1.1, 8.0)),
    "zdt2": (zdt2, (1.1, 8.0)),
    "dtlz2": (dtlz2, (2.2, 2.2)),
}
SEARCHERS: dict[str, Any] = {
    "random": "random",
    "sobol": "sobol",
    **{f"nsga2, {size}": {"name": "nsga2", "population": size} for size in (6, 8, 12, 16, 24, 50)},
    "nsga3, 8": {"name": "nsga3", "population": 8},
    "TPESampler": "optuna.samplers.TPESampler",
    "TPESampler, multivariate": {"class_path": "optuna.samplers.TPESampler", "init_args": {"multivariate": True}},
}


def hypervolume(points: Sequence[Losses], corner: Losses) -> float:
    """Return the area that the points dominate, up to a corner."""
    area, low = 0.0, corner[1]
    for x, y in sorted(points):
        if x < corner[0] and y < low:
            area, low = area + (corner[0] - x) * (low - y), y
    return area


def losses_of(problem: str, searcher: Any, trials: int, in_flight: int, seed: int) -> list[Losses]:
    """Return the losses of each trial, in the order of their ends."""
    described = from_mapping(
        {
            "name": "front", "seed": seed, "model": "no.Model", "searcher": searcher,
            "objective": {"metric": "a", "mode": "min", "also": [{"metric": "b", "mode": "min"}]},
            "space": {f"model.x{axis}": {"uniform": [0.0, 1.0]} for axis in range(PARAMETERS)},
        }
    )  # fmt: skip
    proposer = build_searcher(described)

    def observe(type: str, trial: int, **fields: Any) -> None:
        proposer.observe(Event(0, 1, 0.0, type, {"trial": trial, "segment": 0, "epoch": 1, **fields}))

    running: deque[tuple[int, dict[str, Any]]] = deque()
    losses: list[Losses] = []
    for number in range(trials + in_flight):
        if number < trials:
            params = proposer.suggest(number)
            assert params is not None
            observe("trial.suggested", number, params=params, by=proposer.by(number))
            running.append((number, params))
        if running and number >= in_flight - 1:
            trial, params = running.popleft()
            losses.append(PROBLEMS[problem][0]([params[f"model.x{axis}"] for axis in range(PARAMETERS)]))
            observe("segment.reported", trial, metrics=dict(zip("ab", losses[-1], strict=True)))
            observe("trial.finished", trial)
    return losses


def measure(problem: str, name: str, trials: list[int], in_flight: int, seeds: int) -> list[float]:
    """Return the mean hypervolume after each number of trials."""
    runs = [losses_of(problem, SEARCHERS[name], max(trials), in_flight, seed) for seed in range(seeds)]
    corner = PROBLEMS[problem][1]
    return [sum(hypervolume(run[:count], corner) for run in runs) / seeds for count in trials]


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--trials", type=numbers, default=[32, 64, 128])
    parser.add_argument("--in-flight", type=numbers, default=[1, 8])
    args = parser.parse_args()
    rows = []
    print(
        f"{'problem':<10}{'searcher':<26}{'in flight':>9}"
        + "".join(f"{f'{count} trials':>12}" for count in args.trials)
    )
    for in_flight in args.in_flight:
        for problem in PROBLEMS:
            chance: list[float] = []
            for name in SEARCHERS:  # random is the first
                volumes = measure(problem, name, args.trials, in_flight, args.seeds)
                chance = chance or volumes
                gains = [round(volume / base, 3) for volume, base in zip(volumes, chance, strict=True)]
                rows.append({"problem": problem, "searcher": name, "in_flight": in_flight, "gains": gains})
                line = "".join(f"{gain:>12.2f}" for gain in gains)
                print(f"{problem:<10}{name:<26}{in_flight:>9}{line}", flush=True)
    print(json.dumps({"seeds": args.seeds, "trials": args.trials, "results": rows}))


if __name__ == "__main__":
    main()
