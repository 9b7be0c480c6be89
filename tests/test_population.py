"""Population based training with real trials: a takeover is seen in the optimizer and in the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.journal import read
from orchestrator.results import Results, why
from orchestrator.results.verify import check
from orchestrator.state import SweepState
from tests.support.markers import sampled
from tests.support.population_sweeps import swept, takeovers


@pytest.mark.parametrize("scheduler", sampled(["pbt", "pb2"], slow=["pb2"]))
def test_a_takeover_is_seen_in_the_weights_and_in_the_optimizer(tmp_path: Path, scheduler: str) -> None:
    outcome = swept(tmp_path, scheduler)
    assert outcome.state.count("finished", "stopped") == 6  # with such learning rates one may diverge
    assert not check(outcome.run).violations
    events = list(read(outcome.run.journal))
    assert takeovers(outcome)
    for taken in takeovers(outcome):
        donor, epoch = taken["donor"]
        given = SweepState(events[: taken.seq]).trials[donor].reports[epoch].metrics
        first = next(
            e["metrics"] for e in events[taken.seq :] if e.type == "segment.reported" and e["trial"] == taken["trial"]
        )
        assert first["weight_at_start"] == given["weight_at_end"], "the donor's weights"
        assert first["buffer"] == given["buffer_at_end"], "and its moments"
        assert first["learning_rate"] == pytest.approx(taken["params"]["model.learning_rate"], rel=1e-6)
        assert first["momentum"] == pytest.approx(taken["params"]["model.momentum"], rel=1e-6)
        assert first["learning_rate"] != pytest.approx(given["learning_rate"], rel=1e-6)
        assert any(f"took over the weights of trial {donor}" in line for line in why(outcome.state, taken["trial"]))


@pytest.mark.slow
def test_a_learning_rate_schedule_goes_on_from_its_place(tmp_path: Path) -> None:
    """As in the sweep that had the new learning rate from the beginning, whose schedule is at the same epoch."""
    outcome = swept(tmp_path, "pbt", cosine=True)
    assert takeovers(outcome)
    for taken in takeovers(outcome):
        trial = outcome.state.trials[taken["trial"]]
        place = next(index for index, one in enumerate(trial.takeovers) if one.params == taken["params"])
        until = [*(one.segment for one in trial.takeovers), trial.segments][place + 1]
        for epoch, told in trial.reports.items():
            if trial.takeovers[place].segment <= told.segment < until:
                expected = taken["params"]["model.learning_rate"] * _cosine(int(epoch) - 1, 6)
                assert told.metrics["learning_rate"] == pytest.approx(expected, rel=1e-5)


def _cosine(epoch: int, epochs: int) -> float:
    import math

    return (1 + math.cos(math.pi * epoch / epochs)) / 2


@pytest.mark.slow
def test_the_best_checkpoint_loads_with_the_parameters_that_it_was_trained_with(tmp_path: Path) -> None:
    from tests.support.population import Watched

    outcome = swept(tmp_path, "pbt")
    best = Results(outcome.run).best()
    assert best.checkpoint is not None
    loaded: Any = Watched.load_from_checkpoint(best.checkpoint, map_location="cpu", weights_only=True)
    assert {f"model.{name}": loaded.hparams[name] for name in ("learning_rate", "momentum")} == best.params
