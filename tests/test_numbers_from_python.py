"""Numbers and times of any Python type mean in a sweep what the same numbers in a sweep file mean."""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from orchestrator import ASHA, TPE, Budget, Sweep, choice, integer, log_uniform, uniform
from orchestrator.errors import SpecError
from orchestrator.spec import SweepSpec
from tests.support.tiny import Tiny

NUMBERS: list[Callable[[int], Any]] = [np.int64, np.uint8, np.array, torch.tensor, Fraction, Decimal]


def described(**fields: Any) -> SweepSpec:
    given: dict[str, Any] = {"model": Tiny, "objective": ("val_loss", "min"), "scheduler": "asha", "budget": 2}
    return Sweep(**{**given, **fields}).spec


@pytest.mark.parametrize("number", NUMBERS)
def test_a_number_of_any_type_is_that_number(number: Callable[[int], Any]) -> None:
    def of(number: Callable[[int], Any]) -> SweepSpec:
        return described(
            seed=number(3), budget=number(8), repeats=number(2), finalists=number(3),
            trainer={"max_epochs": number(9), "accumulate_grad_batches": number(2)},
            scheduler=ASHA(grace=number(2), reduction_factor=number(3)), searcher=TPE(startup_trials=number(4)),
            resources={"cpus": number(2)}, space={"model.learning_rate": integer(number(1), number(5))},
        )  # fmt: skip

    spec = of(number)
    assert spec == of(int)
    assert spec.horizon == 9
    assert spec.model_dump_json() == of(int).model_dump_json()


def test_halves_and_fractions_are_floats() -> None:
    halves: list[Any] = [Decimal("0.5"), Fraction(1, 2), np.float32(0.5), torch.tensor(0.5)]
    for half in halves:
        spec = described(space={"model.learning_rate": uniform(half, 1)}, resources={"gpus": half})
        assert spec == described(space={"model.learning_rate": uniform(0.5, 1)}, resources={"gpus": 0.5})
    ends: list[Any] = [Decimal("1e-4"), Fraction(1, 10)]
    assert log_uniform(*ends) == log_uniform(1e-4, 0.1)


def test_a_timedelta_is_that_time() -> None:
    spec = described(
        trainer={"max_time": timedelta(minutes=3)}, budget={"trials": 2, "wall_clock": timedelta(hours=2)},
        checkpoints={"every": timedelta(seconds=90)},
    )  # fmt: skip
    assert (spec.progress.unit, spec.horizon, spec.budget.wall_clock) == ("seconds", 180, 7200)
    assert spec == described(
        trainer={"max_time": {"seconds": 180}},
        budget={"trials": 2, "wall_clock": "2h"},
        checkpoints={"every": "90s"},
    )
    assert Budget.model_validate({"wall_clock": timedelta(days=1.5)}).wall_clock == 129600
    assert described(progress={"unit": "seconds", "until": timedelta(minutes=10)}).horizon == 600


def test_a_limit_that_is_searched_may_be_of_numpy() -> None:
    spec = described(space={"trainer.max_epochs": choice(*np.array([4, 16]))}, trainer={}, scheduler=ASHA(grace=2))
    assert spec.longest == 16


@pytest.mark.parametrize(
    ("fields", "words"),
    [({"seed": Decimal("0.5")}, "seed"), ({"seed": np.float64(0.5)}, "seed"), ({"budget": np.bool_(True)}, "trials"),
     ({"seed": Decimal("NaN")}, "seed"), ({"seed": np.datetime64("2024-01-01")}, "seed"),
     ({"budget": {"wall_clock": timedelta(0)}}, "above zero")],
)  # fmt: skip
def test_what_is_no_such_number_is_refused_by_its_field(fields: Any, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        described(**fields)


def test_a_module_with_bound_arguments_is_the_class_with_these_arguments() -> None:
    spec = described(model=functools.partial(Tiny, learning_rate=0.25))
    assert spec == described(model={"class_path": Tiny, "init_args": {"learning_rate": 0.25}})
    with pytest.raises(SpecError, match="without names"):
        described(model=functools.partial(Tiny, 0.25))


def test_an_object_instead_of_a_class_is_named_with_the_form_that_works() -> None:
    with pytest.raises(SpecError) as caught:
        described(model=Tiny())
    [problem] = caught.value.problems
    assert problem.message == "model: an object of tests.support.tiny.Tiny has no plain form"
    assert problem.hint == 'write {"class_path": Tiny, "init_args": {…}}: each trial makes an object of its own'
    assert "Linear" not in str(caught.value)


def test_a_choice_takes_the_items_of_what_can_be_listed() -> None:
    pandas = pytest.importorskip("pandas")
    expected = choice(8, 16)
    listed: list[Any] = [(n for n in (8, 16)), {8: 1, 16: 2}.keys(), {1: 8, 2: 16}.values(), pandas.Series([8, 16])]
    assert [choice(values) for values in listed] == [expected] * 4
    assert choice(torch.tensor([8, 16])) == expected
    with pytest.raises(SpecError, match="a set has none"):
        choice({8, 16})
    with pytest.raises(SpecError, match=r"choice: \[0, 1, 2\]"):
        described(space={"model.learning_rate": range(3)})
