"""A scheduler whose first comparison lies beyond the training is refused, with the number that works."""

from __future__ import annotations

import re
from typing import Any

import pytest

from orchestrator.errors import SpecError
from orchestrator.policies.scheduler import scheduler_class
from orchestrator.spec import SweepSpec, from_mapping, load


def described(scheduler: dict[str, Any], **fields: Any) -> SweepSpec:
    base = {"name": "a", "model": "a.B", "objective": {"metric": "loss", "mode": "min"}}
    space = {"model.rate": {"uniform": [0, 1]}}
    return from_mapping({**base, "space": space, "trainer": {"max_epochs": 6}, "scheduler": scheduler, **fields})


@pytest.mark.parametrize("name", ["asha", "frontier", "hyperband", "median"])
def test_a_first_rung_beyond_the_training_is_refused_with_a_number_that_works(name: str) -> None:
    assert described({"name": name, "grace_epochs": 6})
    with pytest.raises(SpecError, match=" 7") as error:
        described({"name": name, "grace_epochs": 7})
    number = re.search(r"use grace: (\d+)", error.value.problems[0].hint)
    assert number
    made = described({"name": name, "grace": int(number[1])})
    rungs = scheduler_class(name).rungs(made.scheduler, 6)
    assert not rungs or rungs[0] < 6


def test_epochs_that_are_searched_count_by_their_most() -> None:
    space = {"trainer.max_epochs": {"int": [2, 9]}}
    assert described({"name": "asha", "grace_epochs": 9}, space=space)
    with pytest.raises(SpecError, match="a trial has 9"):
        described({"name": "asha", "grace_epochs": 10}, space=space)


def test_a_training_that_steps_end_is_not_refused() -> None:
    trainer = {"max_steps": 100}
    assert described({"name": "asha", "grace": 3}, trainer=trainer, progress="epochs").horizon is None
    with pytest.raises(SpecError, match="first compares trials at step 500, and a trial has 100 steps"):
        described({"name": "asha", "grace": "500 steps"}, trainer=trainer)


def test_a_file_names_the_place(tmp_path: Any) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(
        "model: a.B\nobjective: {metric: loss, mode: min}\ntrainer: {max_epochs: 2}\n"
        "scheduler:\n  name: asha\n  grace_epochs: 5\n"
    )
    with pytest.raises(SpecError) as error:
        load(file)
    assert (error.value.problems[0].line, error.value.problems[0].column) == (6, 17)


def test_a_journal_with_such_a_scheduler_stays_readable() -> None:
    fields = described({"name": "asha", "grace_epochs": 6}).model_dump(mode="json")
    fields["scheduler"]["grace"] = 50
    assert SweepSpec.model_validate(fields).scheduler.name == "asha"
