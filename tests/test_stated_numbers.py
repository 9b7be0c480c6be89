"""What views say in numbers, against counts made here from the journal's events alone."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.engine.learning_curves import Curve
from orchestrator.engine.simulator import simulate
from orchestrator.journal import Event
from orchestrator.results.verdict import verdict
from orchestrator.state import SweepState
from tests.support.watched_runs import described

NO_RUN: Any = None  # figures that read the state alone


def simulated(curve: Curve | None = None, slots: int = 1, **fields: Any) -> list[Event]:
    return simulate(described(**fields), curve=curve, slots=slots, seed=1).events


@pytest.mark.parametrize("name", ["pbt", "pb2"])
def test_a_takeover_trains_no_more_than_what_follows_it(name: str) -> None:
    """Each trial trains its 20 epochs once, whosever weights it continues with."""
    events = simulated(trials=8, epochs=20, slots=4, scheduler=name)
    assert any("donor" in event.fields for event in events)
    state = SweepState(events)
    assert state.trained["epochs"] == 8 * 20
    assert any("8 trials and 160 epochs" in sentence for sentence in verdict(NO_RUN, state))
