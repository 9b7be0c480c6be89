"""Searchers and schedulers: pure functions of the events, checked against brute force and against their own replay."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.policies import build_scheduler, build_searcher
from tests.support.event_log import Log, report, score, spec, sweep
from tests.support.markers import examples


@pytest.mark.parametrize("name", ["random", "tpe", "grid"])
@pytest.mark.parametrize("in_flight", [1, 4])
def test_a_searcher_rebuilt_from_events_suggests_the_same(name: str, in_flight: int) -> None:
    fields = {"space": {"model.x": {"uniform": [0, 1], "step": 0.05}, "model.kind": {"choice": ["a", "b"]}}}
    described = spec(name, **(fields if name == "grid" else {}))
    log = Log()
    for number, params in sweep(log, build_searcher(described), 30, in_flight):
        assert described.space.contains(params or {})
        again = build_searcher(described)
        for event in log.events:
            again.observe(event)
        assert again.suggest(number) == params, number


def test_tpe_finds_what_random_does_not() -> None:
    def best(name: str, seed: int) -> float:
        log, values = Log(), []
        described = spec(name, seed=seed)
        for _, params in sweep(log, build_searcher(described), 60, 1):
            assert params is not None
            values.append(score(params, 2))
        return min(values)

    bests = {name: sorted(best(name, seed) - 0.5 for seed in range(9))[4] for name in ("tpe", "random")}
    assert bests["tpe"] < bests["random"] / 2, bests


def test_grid_gives_every_point_once_and_then_none() -> None:
    described = spec("grid", space={"model.a": {"choice": [1, 2]}, "model.b": {"int": [0, 2]}})
    searcher = build_searcher(described)
    points = [searcher.suggest(number) for number in range(6)]
    assert sorted(map(str, points)) == sorted(str({"model.a": a, "model.b": b}) for a in (1, 2) for b in (0, 1, 2))
    assert searcher.suggest(6) is None


@pytest.mark.parametrize("scheduler", ["fifo", "asha"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_stops_at_once(scheduler: str, value: float) -> None:
    verdict = report(Log(), build_scheduler(spec(scheduler=scheduler)), 0, 1, value)
    assert verdict is not None
    assert verdict.rule == "not_finite"
    assert verdict.why == {"metric": "loss", "value": str(value)}


def test_fifo_never_stops_a_finite_trial() -> None:
    scheduler, log = build_scheduler(spec(scheduler="fifo")), Log()
    assert all(report(log, scheduler, trial, 1, float(trial)) is None for trial in range(20))


@settings(max_examples=examples(200), deadline=None)
@given(
    st.lists(st.lists(st.integers(-3, 3), min_size=9, max_size=9), min_size=1, max_size=12),
    st.sampled_from([(1, 2), (1, 3), (2, 2), (3, 3)]),
    st.sampled_from(["min", "max"]),
    st.randoms(use_true_random=False),
)
def test_asha_agrees_with_brute_force(
    curves: list[list[int]], form: tuple[int, int], mode: Any, order: random.Random
) -> None:
    """Epochs arrive in any interleaving; each decision is compared with one recomputed from the whole history."""
    grace, factor = form
    asha = {"name": "asha", "grace_epochs": grace, "reduction_factor": factor}
    scheduler, log = build_scheduler(spec(scheduler=asha, objective={"metric": "loss", "mode": mode})), Log()
    rungs = {grace * factor**k for k in range(6)}
    entered: dict[int, list[tuple[float, int]]] = {rung: [] for rung in rungs}
    position = dict.fromkeys(range(len(curves)), 0)
    alive = list(position)
    while alive:
        trial = order.choice(alive)
        position[trial] += 1
        epoch = position[trial]
        verdict = report(log, scheduler, trial, epoch, float(curves[trial][epoch - 1]))
        stop = False
        if epoch in rungs:
            sign = -1 if mode == "max" else 1
            mine = (min(sign * value for value in curves[trial][:epoch]), trial)
            entered[epoch].append(mine)
            better = sum(other < mine for other in entered[epoch])
            stop = better >= max(1, len(entered[epoch]) // factor)
            if stop:
                assert verdict is not None
                assert (verdict.why["rung"], verdict.why["of"], verdict.why["place"]) == (
                    epoch,
                    len(entered[epoch]),
                    better + 1,
                )
        assert (verdict is not None) == stop
        if stop or epoch == 9:
            alive.remove(trial)
