"""Sweeps over one number q, whose losses say what counts only from some epoch on."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from orchestrator.engine.simulator import simulate
from orchestrator.journal import Event
from orchestrator.policies import build_scheduler
from orchestrator.results.verify import replay
from orchestrator.spec import SweepSpec
from tests.support.event_log import spec as described_without_module

Early = Callable[[float], float]


def sweep_of(trials: int, scheduler: Any, seed: int = 5, **fields: Any) -> SweepSpec:
    written = {"trainer": {"max_epochs": 32}, "budget": {"trials": trials}, **fields}
    space = {"model.q": {"uniform": [0.0, 1.0]}}
    return described_without_module("random", scheduler, seed=seed, space=space, **written)


def until(epoch: int, early: Early) -> Any:
    """Losses ``early(q)`` before that epoch, above them all, and q from then on; all fall by the epoch."""
    return lambda params, at: {
        "loss": (early(params["model.q"]) + 2 if at < epoch else params["model.q"]) - 0.01 * at,
    }


def keeps_the_best(scheduler: Any, curve: Any, seed: int, slots: int = 1) -> bool:
    """Whether the best of 60 is trained to its end, and wins."""
    ran = simulate(sweep_of(60, scheduler, seed), curve=curve, slots=slots)
    best, winner = min(ran.state.trials.values(), key=lambda trial: trial.params["model.q"]), ran.state.winner()
    return winner is best and (best.progress, best.status) == (32, "finished")


def assert_few_epochs_are_spent(scheduler: Any, slots: int, share: float) -> None:
    """Where rungs predict: less than that share of the epochs of 60 complete trainings, and the best wins."""
    ran = simulate(sweep_of(60, scheduler), curve=lambda p, epoch: {"loss": p["model.q"] + 1.0 / epoch}, slots=slots)
    epochs = [trial.epoch for trial in ran.state.trials.values()]
    winner = ran.state.winner()
    assert winner is not None
    assert winner.params["model.q"] == min(trial.params["model.q"] for trial in ran.state.trials.values())
    assert winner.epoch == 32
    assert sum(epochs) < share * 60 * 32
    assert statistics.median(epochs) <= 4


def assert_rebuilt_decides_the_same(made: SweepSpec, events: Sequence[Event], every: int) -> None:
    """`verify` asks a fresh scheduler after each event; here at any moment, whatever the journal says next."""
    assert replay(made, events) == []
    kept = build_scheduler(made)
    for count, event in enumerate(events):
        kept.observe(event)
        if count % every == 0:
            again = build_scheduler(made)
            for before in events[: count + 1]:
                again.observe(before)
            for last in (False, True):
                assert again.promote(last=last) == kept.promote(last=last)
