"""The factored Parzen model: its cells, its counts against brute force, and what it finds."""

from __future__ import annotations

import math
import random
import statistics
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.policies import build_searcher
from orchestrator.policies.parzen_model import CELLS, Axis
from orchestrator.policies.parzen_search import CANDIDATES
from orchestrator.policies.searchers.parzen import Parzen, ParzenSearcher
from orchestrator.space import Choice, Domain, Space, choice, integer, uniform
from orchestrator.space.domain import Coordinate
from tests.support.domain_strategies import domains
from tests.support.event_log import SPACE, Log, sweep
from tests.support.event_log import spec as described
from tests.support.markers import examples
from tests.support.search_quality import best


@settings(max_examples=examples(150), deadline=None)
@given(domains(), st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=8))
def test_a_candidate_falls_into_the_cell_of_the_value_that_it_becomes(domain: Domain, places: list[float]) -> None:
    axis = Axis(domain)
    found = axis.column(np.array(places)).tolist()
    expected = [axis.cell(domain.sample(Coordinate(place))) for place in places]
    width = getattr(domain, "std", None) or getattr(domain, "high", 1.0) - getattr(domain, "low", 0.0)
    if width > 1e-6 * max(1.0, abs(getattr(domain, "mean", getattr(domain, "high", 1.0)))):
        near = [math.isclose(place * CELLS, round(place * CELLS), abs_tol=1e-4) for place in places]
        assert [cell for cell, edge in zip(found, near, strict=True) if not edge] == [
            cell for cell, edge in zip(expected, near, strict=True) if not edge
        ]
    assert all(0 <= cell < axis.cells for cell in found + expected)
    assert axis.cells == (len(domain.values) if isinstance(domain, Choice) else CELLS)


def told(searcher: Any, log: Log, number: int, params: dict[str, Any], losses: list[float], end: str = "") -> None:
    """A trial that reports these losses and then ends, runs on, or is set aside."""
    searcher.observe(log.add("trial.suggested", trial=number, params=params, by="parzen"))
    for epoch, loss in enumerate(losses, 1):
        metrics = {"loss": loss if math.isfinite(loss) else str(loss)}
        searcher.observe(log.add("segment.reported", trial=number, segment=0, epoch=epoch, metrics=metrics))
    extra = {"trial.failed": {"reason": "code"}, "infeasible": {"reason": "infeasible: out of memory"}}
    if end:
        kind = "trial.failed" if end == "infeasible" else end
        searcher.observe(log.add(kind, trial=number, segment=0, epoch=1, rule="", why={}, **extra.get(end, {})))


CONDITIONAL = Space(
    {
        "model.x": uniform(0, 1),
        "model.kind": choice("a", "b", "c"),
        "model.n": integer(1, 5),
        "model.only_a": uniform(0, 1, when={"model.kind": "a"}),
        "model.below": uniform(0, 1, when={"model.n": [1, 2], "model.kind": ["a", "b"]}),
    }
)
ENDS = ["", "trial.finished", "trial.stopped", "trial.failed", "infeasible", "trial.set_aside"]


@settings(max_examples=examples(40), deadline=None)
@given(st.integers(12, 60), st.integers(0, 2**32))
def test_scores_are_ratios_of_smoothed_counts(trials: int, seed: int) -> None:
    """Against sums over trials, one parameter and one candidate at a time, with none of the counts kept."""
    rng = random.Random(seed)
    searcher, log = ParzenSearcher(Parzen(), described(space=CONDITIONAL)), Log()
    known: list[tuple[float, int, dict[str, Any]]] = []
    for number in range(trials):
        params, end = CONDITIONAL.sample(rng), rng.choice(ENDS)
        losses = [rng.choice([float(rng.randint(0, 9)), math.nan]) for _ in range(rng.randint(0, 3))]
        told(searcher, log, number, params, losses, end)
        finite = [loss for loss in losses if math.isfinite(loss)]
        if end != "trial.failed":
            known.append((math.inf if end == "infeasible" else min(finite, default=math.inf), number, params))
    known.sort(key=lambda trial: trial[:2])
    size = min(40, max(3, math.ceil(0.15 * len(known))), sum(loss < math.inf for loss, _, _ in known))
    if not size:
        assert searcher.by(trials) == "random"
        return
    candidates = np.array([[rng.random() for _ in CONDITIONAL] for _ in range(5)])
    found = searcher._scores(candidates)
    for row, point in enumerate(candidates.tolist()):
        params = CONDITIONAL.at(point)
        gains = [
            math.log(density(name, params[name], known[:size]) / density(name, params[name], known[size:]))
            for name in params
        ]
        assert found[row] == pytest.approx(sum(gains), abs=1e-9)


def density(name: str, value: Any, trials: list[tuple[float, int, dict[str, Any]]]) -> float:
    axis = Axis(CONDITIONAL[name])
    cells = [axis.cell(params[name]) for _, _, params in trials if name in params]
    here, total = axis.cell(value), 0.0
    width = max(0.5 / CELLS, 0.3 * max(len(cells), 1) ** -0.2)
    for cell in cells:
        if axis.smooth:
            kernel = [math.exp(-0.5 * ((other - cell) / CELLS / width) ** 2) for other in range(CELLS)]
            total += kernel[here] / sum(kernel)
        else:
            total += cell == here
    return (total + 1 / axis.cells) / (len(cells) + 1)


@pytest.mark.parametrize("in_flight", [1, 4])
def test_a_searcher_rebuilt_from_events_suggests_the_same(in_flight: int) -> None:
    made, log = described({"name": "parzen", "startup_trials": 4}), Log()
    by = set()
    for number, params in sweep(log, searcher := build_searcher(made), 40, in_flight):
        assert made.space.contains(params or {})
        by.add(searcher.by(number))
        if number % 3 == 0:
            again = build_searcher(made)
            for event in log.events:
                again.observe(event)
            assert (again.suggest(number), again.by(number)) == (params, searcher.by(number))
            assert again.suggest(number) == params, "asking changes nothing"
    assert by == {"parzen", "random"}


def test_the_first_trials_are_those_of_random_search() -> None:
    searcher, chance = build_searcher(described("parzen")), build_searcher(described("random"))
    assert [searcher.suggest(number) for number in range(5)] == [chance.suggest(number) for number in range(5)]
    assert searcher.by(0) == "random"


def test_a_smooth_optimum_is_found_sooner_than_by_chance() -> None:
    found = statistics.median(best("parzen", seed, 100) for seed in range(5))
    chance = statistics.median(best("random", seed, 100) for seed in range(9))
    assert found < chance / 2, (found, chance)


def test_choices_are_learned_each_by_itself() -> None:
    """The good value lies between two bad ones: what is good of one says nothing of the next."""
    made, log = described("parzen", space={"model.kind": {"choice": [1, 2, 3, 4, 5, 6]}}), Log()
    searcher, drawn = build_searcher(made), []
    for number in range(90):
        params = searcher.suggest(number) or {}
        drawn.append((searcher.by(number), params["model.kind"]))
        told(searcher, log, number, params, [0.0 if params["model.kind"] == 3 else 1.0], "trial.finished")
    chosen = [kind for by, kind in drawn[30:] if by == "parzen"]
    assert chosen.count(3) > 0.9 * len(chosen) > 0


def test_workers_that_ask_at_once_keep_apart() -> None:
    """Thirty-two suggestions before any reports: those that run count among the others, so the next goes elsewhere."""
    made, log = described("parzen", space={"model.x": {"uniform": [0, 1]}, "model.y": {"uniform": [0, 1]}}), Log()
    searcher = build_searcher(made)
    for number in range(40):
        params = searcher.suggest(number) or {}
        told(searcher, log, number, params, [abs(params["model.x"] - 0.5)], "trial.finished")
    alone = [searcher.suggest(number) or {} for number in range(40, 72)]
    together = []
    for number in range(40, 72):
        together.append(searcher.suggest(number) or {})
        searcher.observe(log.add("trial.suggested", trial=number, params=together[-1], by="parzen"))
    spread = [statistics.pstdev(params["model.x"] for params in drawn) for drawn in (alone, together)]
    assert spread[1] > spread[0], spread


def test_parameters_that_had_no_value_are_avoided() -> None:
    for losses, end in (([math.nan], "trial.stopped"), ([], "infeasible")):
        made, log = described("parzen", space={"model.x": {"uniform": [0.0, 1.0]}}), Log()
        searcher, drawn = build_searcher(made), []
        for number in range(80):
            params = searcher.suggest(number) or {}
            drawn.append((searcher.by(number), params["model.x"]))
            bad = params["model.x"] > 0.5
            fine = [1.0 + params["model.x"] % 0.1]
            told(searcher, log, number, params, losses if bad else fine, end if bad else "trial.finished")
        chosen = [x for by, x in drawn[30:] if by == "parzen"]
        assert sum(x > 0.5 for x in chosen) <= 0.1 * len(chosen), (end, chosen)


@pytest.mark.slow
def test_ten_thousand_trials_do_not_make_a_suggestion_slow() -> None:
    """Some 0.5 ms on a quiet core."""
    made, log = described("parzen"), Log()
    searcher, chance = build_searcher(made), build_searcher(described("random"))
    for number in range(10_000):
        told(searcher, log, number, chance.suggest(number) or {}, [float(number * 7919 % 1013)], "trial.finished")
    costs = []
    for number in range(10_000, 10_040):
        start = time.thread_time()
        searcher.suggest(number)
        costs.append(time.thread_time() - start)
    assert statistics.median(costs) < 0.02
    assert set(SPACE) == set(made.space)
    assert CANDIDATES <= 64
