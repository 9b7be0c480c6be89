"""Domains and spaces: what is drawn is contained, what is written comes back, and Optuna sees the same domain."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import SpecError
from orchestrator.space import (
    Domain,
    Space,
    choice,
    const,
    from_yaml,
    integer,
    log_int,
    log_uniform,
    normal,
    uniform,
)
from orchestrator.space.domain import Coordinate, same_value
from tests.support.domain_strategies import domains


@given(domains(), st.integers(0, 2**31))
def test_a_sample_is_contained_plain_and_fixed_by_its_seed(domain: Domain, seed: int) -> None:
    value = domain.sample(random.Random(seed))
    assert domain.contains(value)
    assert json.loads(json.dumps(value, allow_nan=False)) == value
    assert domain.contains(json.loads(json.dumps(value)))
    assert domain.sample(random.Random(seed)) == value


@given(domains())
def test_what_is_written_reads_back_equal(domain: Domain) -> None:
    assert from_yaml(json.loads(json.dumps(domain.to_yaml()))) == domain


@given(domains(), st.integers(0, 2**31))
def test_encode_and_decode_are_inverse(domain: Domain, seed: int) -> None:
    value = domain.sample(random.Random(seed))
    distribution = domain.optuna_distribution()
    if distribution is not None:
        code = domain.encode(value)
        assert distribution._contains(distribution.to_internal_repr(code))
        back = domain.decode(code)
        if isinstance(value, float):
            assert math.isclose(back, value, rel_tol=1e-6, abs_tol=1e-6 * getattr(domain, "std", 0) + 1e-9)
        else:
            assert back == value
        assert domain.contains(back)


@given(domains(), st.floats(0, 1, exclude_max=True))
def test_a_coordinate_is_where_a_draw_finds_the_value(domain: Domain, place: float) -> None:
    value = domain.sample(Coordinate(place))
    found = domain.coordinate(value)
    assert 0.0 <= found < 1.0
    again = domain.sample(Coordinate(found))
    if isinstance(value, float):
        assert math.isclose(again, value, rel_tol=1e-6, abs_tol=1e-6 * getattr(domain, "std", 0) + 1e-9)
    else:
        assert same_value(again) == same_value(value)
    if domain.size is None and getattr(domain, "step", None) is None:
        low, high = (domain.sample(Coordinate(end)) for end in (0.1, 0.9))
        if high - low > 1e-6 * max(abs(low), abs(high)):  # else floats can hardly tell the values apart
            assert math.isclose(found, place, abs_tol=1e-6)


@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=3, max_size=3))
def test_the_configuration_at_a_point_is_the_one_that_is_drawn_there(point: list[float]) -> None:
    space = Space({"model.a": uniform(0, 1), "model.b": choice(1, 2), "model.c": integer(1, 5, when={"model.b": 2})})
    assert space.contains(params := space.at(point))
    assert params["model.a"] == point[0]
    assert ("model.c" in params) == (point[1] >= 0.5)


@given(domains(), st.floats(0, 1))
def test_whatever_optuna_proposes_decodes_into_the_domain(domain: Domain, u: float) -> None:
    distribution = domain.optuna_distribution()
    if distribution is None:
        return
    if hasattr(distribution, "choices"):
        x: float = int(u * (len(distribution.choices) - 1))
    else:
        x = distribution.low + u * (distribution.high - distribution.low)
    assert domain.contains(domain.decode(x))


@given(domains())
def test_a_grid_holds_each_of_its_values_once(domain: Domain) -> None:
    if domain.size is None:
        with pytest.raises(SpecError, match="continuous") as caught:
            domain.grid()
        assert caught.value.problems[0].hint
        return
    grid = domain.grid()
    assert len(grid) == domain.size
    assert all(domain.contains(value) for value in grid)
    assert len({json.dumps(value, sort_keys=True) for value in grid}) == len(grid)
    assert all(domain.contains(value) for value in domain.probes())


def test_steps_are_decimal() -> None:
    assert uniform(0.0, 0.5, step=0.05).grid()[3] == 0.15
    assert uniform(0.0, 0.5, step=0.2).grid() == [0.0, 0.2, 0.4]
    assert integer(1, 10, step=4).grid() == [1, 5, 9]
    assert not uniform(0.0, 0.5, step=0.05).contains(0.06)


def test_draws_are_spread_as_their_name_says() -> None:
    rng = random.Random(0)
    logs = [log_uniform(1e-4, 1e-1).sample(rng) for _ in range(3000)]
    assert 900 < sum(value < 1e-3 for value in logs) < 1100
    counts = Counter(integer(1, 4).sample(rng) for _ in range(4000))
    assert set(counts) == {1, 2, 3, 4}
    assert min(counts.values()) > 900
    draws = [normal(2, 0.5).sample(rng) for _ in range(4000)]
    assert abs(sum(draws) / 4000 - 2) < 0.03
    assert {log_int(1, 3).sample(rng) for _ in range(200)} == {1, 2, 3}


def test_a_draw_stays_what_it_is() -> None:
    """A change here would give every sweep other trials: the seed's meaning is part of the format."""
    space = Space(
        {"a": uniform(0, 1), "b": log_int(1, 1000), "c": choice("x", "y", "z"), "d": normal(0, 1), "e": const([1])}
    )
    drawn = space.sample(random.Random(7))
    assert drawn == {"a": pytest.approx(0.32383276483316237), "b": 2, "c": "y", "d": drawn["d"], "e": [1]}
    assert drawn["d"] == pytest.approx(-1.458, abs=1e-3)


REFUSED = [
    ({"uniform": [3, 1]}, r"`low <= high` must hold, but got \(low=3.0, high=1.0\)"),
    ({"log_uniform": [0, 1]}, "`low > 0` must hold"),
    ({"log_int": [0, 8]}, "`low > 0` must hold"),
    ({"int": [0.5, 8]}, "takes integers"),
    ({"int": [1, 8], "step": 0.5}, "takes integers"),
    ({"uniform": ["1e-4", 1]}, "takes numbers"),
    ({"uniform": [True, 1]}, "takes numbers"),
    ({"uniform": [0, math.inf]}, "takes numbers"),
    ({"uniform": [0, 1, 2]}, "takes two numbers"),
    ({"uniform": [0, 1], "step": 0}, "`step > 0` must hold"),
    ({"uniform": [0, 1], "step": 3}, "`step <= high - low` must hold"),
    ({"choice": []}, "at least one"),
    ({"choice": [1, 1.0]}, "listed twice"),
    ({"choice": 3}, "takes a list"),
    ({"choice": [math.nan, math.nan]}, "listed twice"),
    ({"choice": [1], "step": 1}, "takes no `step`"),
    ({"normal": [0, 0]}, "`std > 0` must hold"),
    ({"const": object()}, "no plain form"),
    ({"unifrom": [0, 1]}, "unknown domain key 'unifrom'"),
    ({"values": [0, 1]}, "unknown domain key 'values'"),
    ({"uniform": [0, 1], "int": [0, 1]}, "exactly one domain"),
    ({"step": 1}, "exactly one domain"),
    (3, "must be a mapping"),
    ([1, 2], "must be a mapping"),
    ({"uniform": [0, 1], "when": 3}, "`when` must be a mapping"),
    ({"uniform": [0, 1], "when": {"a": []}}, "at least one value"),
]


@pytest.mark.parametrize(("written", "message"), REFUSED, ids=[str(i) for i in range(len(REFUSED))])
def test_what_makes_no_domain_is_refused_with_a_hint(written: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        from_yaml(written)
    if "at least one value" not in message:
        assert caught.value.problems[0].hint


CONDITIONAL = {
    "model.momentum": {"uniform": [0.5, 0.9], "step": 0.2, "when": {"model.optimizer": "sgd"}},
    "model.optimizer": {"choice": ["adam", "sgd", "none"]},
    "model.nesterov": {"choice": [True, False], "when": {"model.momentum": [0.7, 0.9]}},
}


def test_a_parameter_exists_only_where_its_condition_holds() -> None:
    space = Space(CONDITIONAL)
    assert space.order == ("model.optimizer", "model.momentum", "model.nesterov")
    grid = list(space.grid())
    assert grid == [
        {"model.optimizer": "adam"},
        {"model.optimizer": "sgd", "model.momentum": 0.5},
        {"model.optimizer": "sgd", "model.momentum": 0.7, "model.nesterov": True},
        {"model.optimizer": "sgd", "model.momentum": 0.7, "model.nesterov": False},
        {"model.optimizer": "sgd", "model.momentum": 0.9, "model.nesterov": True},
        {"model.optimizer": "sgd", "model.momentum": 0.9, "model.nesterov": False},
        {"model.optimizer": "none"},
    ]
    assert space.grid_size == len(grid)
    assert all(space.contains(params) for params in grid)
    assert not space.contains({"model.optimizer": "adam", "model.momentum": 0.5})
    rng = random.Random(3)
    assert all(space.contains(space.sample(rng)) for _ in range(100))
    assert Space(space.to_yaml()) == space


def test_conditions_that_lead_nowhere_are_refused_together() -> None:
    with pytest.raises(SpecError) as caught:
        Space(
            {
                "a": {"uniform": [0, 1], "when": {"b": 1}},
                "bb": {"choice": [1, 2], "when": {"c": 3}},
                "c": {"choice": [1, 2]},
                "d": {"int": [3, 1]},
            }
        )
    messages = [problem.message for problem in caught.value.problems]
    assert len(messages) == 3
    assert any("unknown parameter, 'b'" in message for message in messages)
    assert any("outside its domain" in message for message in messages)


def test_a_circle_of_conditions_is_named() -> None:
    with pytest.raises(SpecError, match="a -> b -> a"):
        Space({"a": {"const": 1, "when": {"b": 1}}, "b": {"const": 1, "when": {"a": 1}}})


def test_a_grid_is_counted_without_walking_it() -> None:
    assert Space({str(i): integer(1, 1000) for i in range(8)}).grid_size == 10**24
    assert list(Space({}).grid()) == [{}]
    with pytest.raises(SpecError, match="too large"):
        integer(1, 10**9).grid()
