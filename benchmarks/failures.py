"""Measure how many trials of a search fail because of their parameters, where a part of the space cannot be trained.

    python -m benchmarks.failures [--trials 200] [--seeds 20] [--only tpe,density_ratio]

Whole sweeps in the simulator, of one training each, one at a time. The synthetic wall: a trial whose memory (weights,
their gradients and Adam's moments, and the activations of a batch) is above a limit fails out of memory, and one whose
learning rate is too large for its width diverges. The loss falls with width, depth and batch, so that the best
configurations lie at the wall. Printed for each searcher: the share of trials that failed (out of memory, diverged,
and of either in the last half), and the mean loss of the best trial.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping
from statistics import mean
from typing import Any

from orchestrator.journal import Event
from orchestrator.policies import build_searcher
from orchestrator.spec import SweepSpec, from_mapping

SEARCHERS = ("random", "tpe", "density_ratio")
SPACE: dict[str, Any] = {
    "model.width": {"log_int": [16, 2048]},
    "model.layers": {"int": [1, 12]},
    "model.learning_rate": {"log_uniform": [1e-5, 1e-1]},
    "model.dropout": {"uniform": [0.0, 0.5]},
    "data.batch_size": {"choice": [8, 16, 32, 64, 128, 256]},
}
WALLS = {"low": 0.3e9, "middle": 1.2e9, "high": 4e9, "far": 10e9}
"""Limits of the memory, in bytes."""


def fails(params: Mapping[str, Any], wall: float) -> str:
    """Return why a trial of these parameters fails; empty if it does not."""
    width, layers, batch = params["model.width"], params["model.layers"], params["data.batch_size"]
    memory = 16 * 12 * layers * width**2 + 4 * 34 * layers * width * batch * 64
    if memory > wall:
        return "infeasible: out of memory"
    return "diverged" if params["model.learning_rate"] * width**0.5 > 1.0 else ""


def loss(params: Mapping[str, Any]) -> float:
    """Return the loss of a trial that does not fail."""
    size = 0.25 * math.log(params["model.width"] / 2048) + 0.1 * math.log(params["model.layers"] / 12)
    rate = math.log10(params["model.learning_rate"] * params["model.width"] ** 0.5 / 0.1)
    return float(1 - size + 0.3 * rate**2 + (params["model.dropout"] - 0.1) ** 2 + 2 / params["data.batch_size"])


def described(searcher: str, seed: int, trials: int) -> SweepSpec:
    return from_mapping(
        {
            "name": "failures", "seed": seed, "objective": {"metric": "loss", "mode": "min"}, "model": "nowhere.Never",
            "data": "nowhere.Data", "trainer": {"max_epochs": 1}, "space": SPACE, "searcher": searcher,
            "scheduler": "fifo", "budget": {"trials": trials},
        }
    )  # fmt: skip


def searched(searcher: str, seed: int, trials: int, wall: float) -> tuple[list[str], float]:
    """Return for each trial why it failed, empty if it did not, and the best loss."""
    search, failed, best, events = build_searcher(described(searcher, seed, trials)), list[str](), math.inf, 0

    def observe(type: str, **fields: Any) -> None:
        nonlocal events
        search.observe(Event(events, 1, float(events), type, fields))
        events += 1

    observe("sweep.created", suggestion_rules=2)
    for number in range(trials):
        params = search.suggest(number)
        assert params is not None
        observe("trial.suggested", trial=number, segment=0, params=params, by=search.by(number))
        reason = fails(params, wall)
        failed.append(reason)
        if reason.startswith("infeasible"):
            observe("trial.failed", trial=number, segment=0, reason=reason)
            continue
        value = math.nan if reason else loss(params)
        observe("segment.reported", trial=number, segment=0, epoch=1, metrics={"loss": value})
        ended = "trial.stopped" if reason else "trial.finished"
        observe(ended, trial=number, segment=0, epoch=1, rule="not_finite" if reason else "", why={})
        best = best if reason else min(best, value)
    return failed, best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--only", default=",".join(SEARCHERS))
    args = parser.parse_args()
    print(f"{args.seeds} sweeps of {args.trials} trials; shares of trials that failed, and the best loss")
    print(f"{'wall':<10}{'searcher':<16}{'memory':>8}{'diverged':>10}{'last half':>11}{'best':>8}")
    for name, wall in WALLS.items():
        for searcher in args.only.split(","):
            ran = [searched(searcher, seed, args.trials, wall) for seed in range(args.seeds)]
            memory, diverged = (
                mean(reason.startswith(kind) for reasons, _ in ran for reason in reasons)
                for kind in ("infeasible", "diverged")
            )
            late = mean(bool(reason) for reasons, _ in ran for reason in reasons[len(reasons) // 2 :])
            best = mean(best for _, best in ran)
            print(f"{name:<10}{searcher:<16}{memory:>8.1%}{diverged:>10.1%}{late:>11.1%}{best:>8.3f}", flush=True)


if __name__ == "__main__":
    main()
