"""In a finite space no configuration is tried twice, choices come in turns, and the sweep ends when all are done."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator import registry
from orchestrator.errors import SpecError
from orchestrator.plan import plan
from orchestrator.plan.formatting import lines
from orchestrator.policies import build_searcher
from orchestrator.policies.distinct import RULES, applies, stratified_draw
from orchestrator.policies.searcher import random_draw
from orchestrator.results.report import write
from orchestrator.results.verify import check
from orchestrator.space import Space
from orchestrator.space.domain import same_value
from orchestrator.spec import SweepSpec, from_mapping
from orchestrator.sweep import launch
from orchestrator.testing import simulate
from tests.support.event_log import Log
from tests.support.markers import examples
from tests.support.small_sweeps import spec
from tests.support.spec_strategies import spaces

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")

TWO = {"model.act": {"choice": ["relu", "tanh"]}}
TREE = {
    "model.act": {"choice": ["relu", "tanh", "none"]},
    "model.slope": {"uniform": [0, 1], "step": 0.25, "when": {"model.act": "relu"}},
    "model.width": {"log_int": [1, 3]},
}
TREE_SIZE = (5 + 1 + 1) * 3
SEARCHERS = ["random", "parzen", "tpe", "sobol", "bohb", "nsga2", "grid"]


def described(space: dict[str, Any], searcher: Any = "random", trials: int = 60, **fields: Any) -> SweepSpec:
    base = {"name": "a", "model": "a.B", "objective": {"metric": "loss", "mode": "min"}, "scheduler": "fifo"}
    return from_mapping({**base, "space": space, "searcher": searcher, "budget": {"trials": trials}, **fields})


def suggestions(described: SweepSpec, count: int, rules: int | None = RULES) -> list[dict[str, Any]]:
    """Return what the searcher of a sweep suggests, of which each trial ends at once."""
    searcher, log = build_searcher(described), Log()
    searcher.observe(log.add("sweep.created", **({} if rules is None else {"suggestion_rules": rules})))
    found: list[dict[str, Any]] = []
    while len(found) < count and searcher.has(number := len(found)):
        params = searcher.suggest(number)
        if params is None:
            break
        assert searcher.suggest(number) == params
        found.append(params)
        searcher.observe(log.add("trial.suggested", trial=number, params=params, by=searcher.by(number)))
        searcher.observe(log.add("segment.reported", trial=number, segment=0, epoch=1, metrics={"loss": number % 5}))
        searcher.observe(log.add("trial.finished", trial=number, segment=0, epoch=1))
    assert searcher.end or len(found) == count
    assert not searcher.end or len({same_value(params) for params in found}) == described.space.size
    return found


@pytest.mark.parametrize("searcher", SEARCHERS)
def test_each_configuration_is_tried_once_and_then_the_search_ends(searcher: str) -> None:
    for space, size in ((TWO, 2), (TREE, TREE_SIZE)):
        found = suggestions(described(space, searcher), 60)
        assert len(found) == size
        assert len({same_value(params) for params in found}) == size


def test_every_searcher_is_held_to_it_but_a_race() -> None:
    free = [
        name for name in registry.names("searchers", installed=False) if registry.load("searchers", name).repeats_points
    ]
    assert free == ["race"]
    assert not applies(described(TWO | {"model.rate": {"uniform": [0, 1]}}, scheduler={"name": "pbt"}, trials=4))


def test_a_finite_branch_of_an_infinite_space_is_not_repeated() -> None:
    space = {
        "model.opt": {"choice": ["adam", "sgd"]},
        "model.momentum": {"uniform": [0, 1], "when": {"model.opt": "sgd"}},
    }
    found = suggestions(described(space), 30)
    assert Counter(params["model.opt"] for params in found) == {"adam": 1, "sgd": 29}


def test_points_that_the_user_lists_may_repeat() -> None:
    points = [{"model.act": "relu"}] * 3
    found = suggestions(described(TWO, {"name": "random", "try_first": points}), 10)
    assert [params["model.act"] for params in found] == ["relu", "relu", "relu", "tanh"]


def test_repeats_try_each_configuration_under_several_seeds() -> None:
    found = suggestions(described(TWO, repeats=3), 20)
    assert [params["model.act"] for params in found] in (["relu"] * 3 + ["tanh"] * 3, ["tanh"] * 3 + ["relu"] * 3)


def test_a_sweep_of_an_earlier_version_keeps_its_suggestions() -> None:
    made = described(TWO)
    assert suggestions(made, 20, rules=None) == [random_draw(made.space, made.seed, number) for number in range(20)]


@given(spaces(), st.integers(0, 2**31))
@settings(max_examples=examples(30), deadline=None)
def test_the_size_of_a_space_is_that_of_its_grid(space: dict[str, Any], seed: int) -> None:
    built = Space(space)
    if built.size is None or built.size > 2000:
        return
    assert len({same_value(point) for point in built.grid()}) == built.size == built.grid_size
    try:
        made = described(space, seed=seed, data="a.Data")
    except SpecError:  # not every name is an argument
        return
    drawn = suggestions(made, 30)
    assert len({same_value(params) for params in drawn}) == len(drawn) == min(30, built.size)
    assert all(built.contains(params) for params in drawn)


@pytest.mark.parametrize("seed", range(20))
def test_choices_come_in_turns(seed: int) -> None:
    space = Space({"a": {"choice": [1, 2]}, "b": {"choice": list("xyz")}, "c": {"uniform": [0, 1]}})
    draws = [stratified_draw(space, seed, number) for number in range(60)]
    for name, size in (("a", 2), ("b", 3)):
        for start in range(0, 60, size):
            assert len({draw[name] for draw in draws[start : start + size]}) == size
    assert [draw["c"] for draw in draws] == [random_draw(space, seed, number)["c"] for number in range(60)]
    pairs = Counter((draw["a"], draw["b"]) for draw in draws)
    assert len(pairs) == 6, "choices are independent of each other"


def test_the_default_seed_tries_both_of_two_choices_at_once() -> None:
    space = {"model.act": {"choice": ["relu", "tanh"]}, "model.rate": {"log_uniform": [1e-4, 1e-1]}}
    for searcher in ("random", "parzen", "tpe"):
        first = [params["model.act"] for params in suggestions(described(space, searcher), 2)]
        assert sorted(first) == ["relu", "tanh"]


def test_a_simulated_sweep_ends_when_all_are_done_and_says_so() -> None:
    for searcher in ("parzen", "random", "tpe"):
        made = described(TREE, searcher, scheduler="frontier", trainer={"max_epochs": 9})
        state = simulate(made, slots=4).state
        assert (state.status, state.reason) == ("completed", f"all {TREE_SIZE} configurations of the space were tried")
        assert len({same_value(trial.params) for trial in state.trials.values()}) == len(state.trials) == TREE_SIZE


def test_plan_launch_and_report_say_how_many_there_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = spec(space={"model.learning_rate": {"choice": [0.1, 0.2]}}, budget={"trials": 20}, scheduler="fifo",
                trainer={"max_epochs": 1})  # fmt: skip
    planned = plan(made)
    assert (planned.trials, planned.configurations) == (2, 2)
    assert "space: 2 distinct configurations, none of which is tried twice" in lines(planned)
    outcome = launch(made, tmp_path, local=True)
    notice = "the space has 2 configurations: the sweep ends after 2 trials instead of 20"
    assert notice in capsys.readouterr().err
    assert outcome.state.reason == "all 2 configurations of the space were tried"
    assert outcome.exit_code == 0
    assert check(outcome.run).violations == []
    page = write(outcome.run, outcome.state).read_text(encoding="utf-8")
    assert "2 distinct configurations, 2 of them tried" in page


def test_a_continuous_space_has_no_size() -> None:
    assert plan(described({"model.rate": {"uniform": [0, 1]}})).configurations is None
