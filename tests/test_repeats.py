"""Configurations under several seeds: one suggestion and one observation each, ranked by what their trials come to."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.errors import SpecError
from orchestrator.policies import Searcher, build_searcher
from orchestrator.policies.search_wrappers import Repeated
from orchestrator.results.terminal_tables import ranking
from orchestrator.results.trial_rows import rows
from orchestrator.results.verify import replay
from orchestrator.results.why import why
from orchestrator.rundir import run_at
from orchestrator.seeds import trial_seed
from orchestrator.spec import Repeats, SweepSpec, from_mapping
from orchestrator.state import Objective
from orchestrator.testing import Simulated, simulate
from tests.chaos.simulate import SCHEDULERS, SEARCHERS, TAKING_OVER, curve, spec


def repeated(searcher: str, scheduler: str, trials: int, epochs: int, **repeats: Any) -> SweepSpec:
    plain = spec(searcher, scheduler, trials, epochs).model_dump(mode="json")
    checkpoints = {"checkpoints": {"keep_top": 1}}
    return from_mapping({**plain, "repeats": repeats, "budget": {"trials": trials * repeats["seeds"]}} | checkpoints)


def alike(params: Mapping[str, Any], epoch: float) -> dict[str, float]:
    """Every seed comes to the same."""
    return curve({name: value for name, value in params.items() if name != "repeat"}, epoch)


@pytest.mark.parametrize("searcher", [name for name in SEARCHERS if name not in ("gp", "two objectives", "race")])
def test_with_seeds_that_come_to_the_same_the_searcher_sees_what_it_would_see_without(searcher: str) -> None:
    plain = simulate(spec(searcher, "fifo", 5, 3), curve=alike).state.trials
    for rank_by in ("mean", "lower_bound"):
        found = simulate(repeated(searcher, "fifo", 5, 3, seeds=3, rank_by=rank_by), curve=alike).state.trials
        assert [trial.params for trial in found.values()] == [plain[n].params for n in plain for _ in range(3)]
        assert [trial.configuration for trial in found.values()] == [3 * n for n in plain for _ in range(3)]


@pytest.mark.parametrize("scheduler", [name for name in SCHEDULERS if name not in TAKING_OVER])
def test_the_winner_is_the_best_trial_of_the_best_configuration_and_has_its_checkpoint(scheduler: str) -> None:
    for trials in range(2, 8):
        described = repeated("random", scheduler, trials, 5, seeds=3)
        ran = simulate(described, curve=curve, slots=2, seed=trials)
        assert not ran.violations + replay(described, ran.events)
        winner, state = ran.state.winner(), ran.state
        assert winner
        best = state.objective.best(winner)
        assert best
        assert winner.configuration == state.configurations()[0].first
        assert best.value == state.objective.loss(min(map(state.objective.loss, state.configurations()[0].values)))
        assert best.progress in winner.checkpoints
        assert sum(len(trial.checkpoints) for trial in state.trials.values()) <= 2, "keep_top is 1"


def test_a_lucky_seed_does_not_win() -> None:
    """Configuration 0 is best under one seed and worst under the others."""
    described = repeated("random", "fifo", 4, 1, seeds=2)
    first = simulate(described).state.trials[0].params

    def lucky(params: Mapping[str, Any], epoch: float) -> dict[str, float]:
        mine = {name: value for name, value in params.items() if name != "repeat"} == first
        return {"val_acc": (0.0 if "repeat" in params else 1.0) if mine else 0.6}

    state = simulate(described, curve=lucky).state
    winner = state.winner()
    assert winner
    assert winner.configuration == 2
    assert state.configuration(0).values == [1.0, 0.0]
    assert [trial.number for trial in state.ranking()][-2:] == [0, 1]


class Recording(Searcher):
    """What a searcher is asked and told."""

    name = "recording"

    def __init__(self) -> None:
        self.heard: list[tuple[str, int, Any]] = []

    def suggest(self, number: int) -> dict[str, Any]:
        return {"x": number}

    def observe(self, event: Any) -> None:
        value = event["metrics"]["loss"] if event.type == "segment.reported" else None
        self.heard.append((event.type, event["trial"], value))


@pytest.mark.parametrize(("rank_by", "told"), [("mean", 2.0), ("lower_bound", 3.0)])
def test_one_observation_a_configuration(rank_by: Any, told: float) -> None:
    from tests.support.event_log import Log

    searcher, log = Recording(), Log()
    both = Repeated(searcher, Repeats(seeds=2, rank_by=rank_by), Objective("loss", "min"))

    def tell(type: str, **fields: Any) -> None:
        both.observe(log.add(type, **fields))

    for number in (0, 1):
        assert both.suggest(number) == {"x": 0}
        tell("trial.suggested", trial=number, params=both.suggest(number), by=both.by(number))
    assert both.suggest(2) == {"x": 1}
    for trial, value in ((0, 1.0), (1, "nan"), (1, 3.0), (1, 4.0)):
        tell("segment.reported", trial=trial, segment=0, epoch=len(log.events), metrics={"loss": value})
    tell("trial.finished", trial=0, segment=0, epoch=3)
    assert [heard[0] for heard in searcher.heard] == ["trial.suggested"]
    tell("trial.failed", trial=1, segment=0, reason="user")
    assert searcher.heard[1:] == [("segment.reported", 0, 1.0), ("trial.stopped", 0, None)]
    tell("trial.retried", trial=1)
    tell("trial.finished", trial=1, segment=1, epoch=6)
    again = [("trial.retried", 0, None), ("segment.reported", 0, told), ("trial.finished", 0, None)]
    assert searcher.heard[3:] == again


def test_each_trial_has_a_seed_of_its_own() -> None:
    assert len({trial_seed(7, trial) for trial in range(300)}) == 300


def ran_with(**repeats: Any) -> tuple[SweepSpec, Simulated]:
    described = repeated("tpe", "asha 2", 4, 4, **repeats)
    return described, simulate(described, curve=curve, slots=2)


def test_verify_finds_a_repeat_of_something_else() -> None:
    described, ran = ran_with(seeds=2)
    at = next(index for index, event in enumerate(ran.events) if "repeats" in event.fields)
    for untrue in ({"repeats": 2}, {"repeats": 1}, {"params": {"model.width": 3}}):
        event = replace(ran.events[at], fields={**ran.events[at].fields, **untrue})
        assert replay(described, [*ran.events[:at], event, *ran.events[at + 1 :]]), untrue
    searcher = build_searcher(described)
    assert isinstance(searcher, Repeated)
    assert searcher.has(7)


def test_results_and_why_tell_of_the_configuration() -> None:
    from rich.console import Console

    _, ran = ran_with(seeds=3, rank_by="lower_bound")
    found = rows(run_at("simulated", "/nowhere"), ran.state)
    assert [row["trial"] for row in found] == [trial.number for trial in ran.state.ranking()]
    for row in found:
        together = ran.state.configuration(row["trial"])
        assert (row["configuration"], row["n"]) == (row["trial"] - row["trial"] % 3, 3)
        assert (row["mean"], row["std"]) == (together.mean, together.std)
    written = io.StringIO()
    console = Console(width=200, file=written)
    console.print(ranking(found, "val_acc"))
    assert " mean " in written.getvalue()
    first = ran.state.configurations()[0]
    told = why(ran.state, first.trials[1])
    assert f"the parameters of trial {first.first} under another seed" in told[0]
    assert "n = 3; place 1 of 4 by lower bound" in told[-1]


def test_the_spec_takes_a_number_and_refuses_what_is_no_whole_number_of_configurations() -> None:
    base = {"name": "s", "objective": {"metric": "loss", "mode": "min"}, "model": "some.Model"}
    base |= {"space": {"model.x": {"uniform": [0.0, 1.0]}}}
    assert from_mapping({**base, "repeats": 3}).repeats == Repeats(seeds=3)
    assert from_mapping({**base, "repeats": 3}).budget.trials == 60, "20 configurations"
    assert (
        from_mapping({**base, "searcher": "random", "budget": {"wall_clock": "1h"}, "repeats": 3}).budget.trials is None
    )
    for wrong in (0, -1, True, "three", {"seed": 3}, {"seeds": 2, "rank_by": "median"}):
        with pytest.raises(SpecError):
            from_mapping({**base, "repeats": wrong})
    with pytest.raises(SpecError, match="no whole number") as refused:
        from_mapping({**base, "repeats": 3, "budget": {"trials": 20}})
    assert "use 18 or 21 trials" in str(refused.value)
