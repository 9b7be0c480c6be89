"""Measure the coverage of a confirmed winner's interval, and the bias of the search's own number.

python -m benchmarks.intervals --sweeps 1000

Whole sweeps in the simulator (random search of 20 trials, then finals), with a known noise model: a training's
value is its parameters' mean plus a normal draw of its seed. The truth is the mean of the winner's parameters.
``covered`` counts the intervals that hold it, ``below`` and ``above`` those that lie below and above it; ``bias`` is
the mean of (value - truth) over the standard deviation between seeds, for the mean of the winner's fresh trainings
and for the search's own best number.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import mean
from typing import Any

from orchestrator.engine.simulator import simulate
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


@dataclass(frozen=True)
class Case:
    """One sweep: the seed that fixes everything in it, and the noise model."""

    seed: int
    effect: float
    tilt: float

    def true_mean(self, params: Mapping[str, Any]) -> float:
        return self.effect * random.Random(derive_seed(self.seed, "effect", repr(params["model.x"]))).gauss(0, 1)

    def value(self, params: Mapping[str, Any], stage: str) -> float:
        repeat = str(params.get("repeat", 0))
        draw = random.Random(derive_seed(self.seed, stage, repr(params["model.x"]), repeat)).gauss(0, 1)
        wide = random.Random(derive_seed(self.seed, "wide", repr(params["model.x"]))).uniform(-1, 1)
        return self.true_mean(params) + draw * (1 + self.tilt * wide)


@dataclass(frozen=True)
class Outcome:
    """The result of one sweep; values in standard deviations between seeds."""

    truth: float
    low: float
    high: float
    mean: float
    searched: float
    searched_truth: float
    trainings: int


def run(case: Case, finalists: Finalists) -> Outcome:
    """Run the search and the finals of one sweep."""
    spec = from_mapping(
        {
            "name": "intervals",
            "seed": case.seed,
            "objective": {"metric": "score", "mode": "max"},
            "model": "nowhere.Never",
            "trainer": {"max_epochs": 1},
            "space": {"model.x": {"uniform": [0.0, 1.0]}},
            "searcher": "random",
            "scheduler": "fifo",
            "budget": {"trials": 20},
        }
    )
    searched = simulate(spec, curve=lambda params, epoch: {"score": case.value(params, "search")}).state
    raced = simulate(
        finals(searched, finalists, 1), curve=lambda params, epoch: {"score": case.value(params, "finals")}
    ).state
    result = confirmation(searched, raced)
    row, leader = result["table"][0], searched.winner()
    assert leader is not None
    truth = case.true_mean(searched.trials[row["configuration"]].params)
    best = case.value(leader.params, "search")
    return Outcome(truth, row["low"], row["high"], row["mean"], best, case.true_mean(leader.params), len(raced.trials))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=1000)
    parser.add_argument("--top", type=int, default=3)
    parser.add_argument("--trials", type=int, default=15)
    args = parser.parse_args()
    print(f"{args.sweeps} sweeps each, {LEVEL:.0%} intervals, {args.top} finalists, {args.trials} trainings at most")
    print(f"{'noise model':24}{'covered':>9}{'below':>8}{'above':>8}{'bias':>8}{'search':>8}{'trainings':>11}")
    for name, model in MODELS.items():
        finalists = Finalists(top=args.top, trials=args.trials)
        outcomes = [run(Case(seed, **model), finalists) for seed in range(args.sweeps)]
        covered = mean(each.low <= each.truth <= each.high for each in outcomes)
        below, above = (
            mean(each.high < each.truth for each in outcomes),
            mean(each.low > each.truth for each in outcomes),
        )
        bias, search = mean(e.mean - e.truth for e in outcomes), mean(e.searched - e.searched_truth for e in outcomes)
        used = mean(each.trainings for each in outcomes)
        print(f"{name:24}{covered:>9.1%}{below:>8.1%}{above:>8.1%}{bias:>+8.2f}{search:>+8.2f}{used:>11.1f}")


if __name__ == "__main__":
    main()
