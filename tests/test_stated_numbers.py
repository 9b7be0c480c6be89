"""What views say in numbers, against counts made here from the journal's events alone."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.engine.learning_curves import Curve
from orchestrator.engine.simulator import simulate
from orchestrator.journal import Event
from orchestrator.policies.extend_limits import More
from orchestrator.results.journal_replay import JournalReplay
from orchestrator.results.verdict import verdict
from orchestrator.spec import SweepSpec, from_mapping
from orchestrator.state import SweepState
from tests.support.watched_runs import described

NO_RUN: Any = None  # figures that read the state alone


def simulated(curve: Curve | None = None, slots: int = 1, **fields: Any) -> list[Event]:
    return simulate(described(**fields), curve=curve, slots=slots, seed=1).events


def of_code(unit: str, scheduler: Any) -> SweepSpec:
    """A sweep of a function, whose Trainer says no end."""
    base = described(trials=9, scheduler=scheduler).model_dump(mode="json")
    code = {"model": None, "trainer": {}, "train": "nowhere:main", "space": {"rate": {"uniform": [0, 1]}}}
    return from_mapping({**base, **code, "progress": {"unit": unit, "until": 9}})


@pytest.mark.parametrize("name", ["pbt", "pb2"])
def test_a_takeover_trains_no_more_than_what_follows_it(name: str) -> None:
    """Each trial trains its 20 epochs once, whosever weights it continues with."""
    events = simulated(trials=8, epochs=20, slots=4, scheduler=name)
    assert any("donor" in event.fields for event in events)
    state = SweepState(events)
    assert state.trained["epochs"] == 8 * 20
    assert any("8 trials and 160 epochs" in sentence for sentence in verdict(NO_RUN, state))


def test_an_extended_end_that_the_trainer_does_not_say_is_verified() -> None:
    """Of a function's trials `progress.until` is the end, and its Trainer has no `max_epochs`."""
    spec = of_code("epochs", {"name": "asha", "promote": True})
    events = simulate(spec, more=More(epochs=3), seed=1).events
    assert [event["changed"] for event in events if event.type == "sweep.extended"] == [
        {"progress": {"until": 12}, "trainer": {"max_epochs": 12}}
    ]
    replay = JournalReplay(spec)
    for event in events:
        replay.take(event)
    assert not replay.violations
