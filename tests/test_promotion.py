"""ASHA by promotion: who is set aside and who goes on, against brute force; and real trials that wait and go on."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.engine.simulator import simulate
from orchestrator.journal import read
from orchestrator.policies import Scheduler, build_scheduler
from orchestrator.results import why
from orchestrator.results.verify import check
from orchestrator.spec import SweepSpec
from orchestrator.state import SweepState
from orchestrator.sweep import launch
from tests.support.event_log import Log, report
from tests.support.event_log import spec as described_without_module
from tests.support.markers import examples
from tests.support.promotion_oracle import PROMOTE, BruteForce
from tests.support.small_sweeps import spec as described


@settings(max_examples=examples(150), deadline=None)
@given(st.integers(2, 4), st.sampled_from(["min", "max"]), st.integers(1, 5), st.integers(1, 25), st.integers(0, 2**32))
def test_promotion_agrees_with_brute_force(factor: int, mode: str, slots: int, trials: int, seed: int) -> None:
    """A sweep of whole-number curves, with many ties, on some slots that report in any order."""
    objective = {"objective": {"metric": "loss", "mode": mode}, "trainer": {"max_epochs": 12}}
    scheduler = build_scheduler(
        described_without_module(scheduler={**PROMOTE, "reduction_factor": factor}, **objective)
    )
    brute, log, rng = BruteForce(factor, -1 if mode == "max" else 1), Log(), random.Random(seed)
    epochs, running, values = Counter[int](), list[int](), dict[int, float]()
    rungs = [factor**k for k in range(5) if factor**k < 12]
    new = 0
    while True:
        while len(running) < slots:
            number = _next(scheduler, brute, log, last=False)
            if number is None and new < trials:
                number, new = new, new + 1
            if number is None and not running:
                number = _next(scheduler, brute, log, last=True)
            if number is None:
                break
            running.append(number)
        if not running:
            break
        trial = rng.choice(running)
        epochs[trial] += 1
        sign = -1 if mode == "max" else 1
        value = float(rng.randint(-3, 3))
        values[trial] = sign * min(sign * value, sign * values.get(trial, value))
        verdict = report(log, scheduler, trial, epochs[trial], value)
        on = epochs[trial] not in rungs or brute.goes_on(epochs[trial], trial, values[trial])
        assert (verdict is None) == on
        if verdict:
            assert verdict.action == "set_aside"
            scheduler.observe(
                log.add("trial.set_aside", trial=trial, segment=0, epoch=epochs[trial], rule="asha", why={})
            )
        if verdict or epochs[trial] == 12:
            running.remove(trial)
    assert max(epochs.values()) == 12, "somebody sees the end"


def _next(scheduler: Scheduler, brute: BruteForce, log: Log, *, last: bool) -> int | None:
    found, expected = scheduler.promote(last=last), brute.promoted(last)
    assert (found and (found[1].why["rung"], found[0])) == expected
    if found is None:
        return None
    scheduler.observe(log.add("trial.promoted", trial=found[0], rule="asha", why={}))
    return found[0]


@pytest.mark.slow
def test_trials_wait_are_promoted_and_dismissed(tmp_path: Any) -> None:
    sweep = described(trainer={"max_epochs": 8}, scheduler=PROMOTE, searcher="random", budget={"trials": 8})
    outcome = launch(sweep, tmp_path, local=True)
    told = Counter(event.type for event in read(outcome.run.journal))
    assert told["trial.set_aside"] >= 5
    assert told["trial.promoted"] >= 2
    assert outcome.state.count("finished", "stopped") == 8
    assert outcome.state.count("finished") >= 1
    assert not check(outcome.run).violations
    promoted = {event["trial"] for event in read(outcome.run.journal) if event.type == "trial.promoted"}
    finished = [t.number for t in outcome.state.trials.values() if t.status == "finished" and t.number in promoted]
    assert finished, "one was set aside, promoted and came to the end"
    assert any("promoted once it was at place" in line for line in why(outcome.state, finished[0]))
    stopped = next(t.number for t in outcome.state.trials.values() if t.status == "stopped")
    assert any("ASHA compared" in line for line in why(outcome.state, stopped))


@pytest.mark.slow
def test_a_trial_that_waited_has_the_weights_of_one_that_did_not(tmp_path: Any) -> None:
    fields: dict[str, Any] = {"trainer": {"max_epochs": 8}, "searcher": "random", "budget": {"trials": 8}}
    waited = launch(described(scheduler=PROMOTE, **fields), tmp_path / "waited", local=True)
    straight = launch(described(scheduler="fifo", **fields), tmp_path / "straight", local=True)
    winner = waited.state.winner()
    assert winner is not None
    assert winner.segments > 1
    best = waited.state.objective.best(winner)
    assert best is not None
    assert best == straight.state.objective.best(straight.state.trials[winner.number])
    weights = [_weights(outcome, winner.number, best.progress) for outcome in (waited, straight)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def _weights(outcome: Any, trial: int, epoch: float) -> dict[str, torch.Tensor]:
    path = outcome.run.resolve(outcome.state.trials[trial].checkpoints[epoch].path)
    return dict(torch.load(path, weights_only=True)["state_dict"])


@pytest.mark.slow
@pytest.mark.parametrize("slots", [1, 3])
def test_set_aside_trials_cost_nothing_per_event(slots: int) -> None:
    """Retention looks at those that changed alone: else each report would cost as much as there are trials waiting."""
    ran = simulate(SweepSpec.model_validate(_large(400)), slots=slots)
    state = SweepState(ran.events)
    assert state.status == "completed"
    assert state.count("finished", "stopped") == 400
    kept = [held for trial in state.trials.values() for held in trial.checkpoints.values()]
    assert len(kept) <= 10


def _large(trials: int) -> dict[str, Any]:
    return described(trainer={"max_epochs": 9}, scheduler=PROMOTE, searcher="random").model_dump(mode="json") | {
        "budget": {"trials": trials}
    }
