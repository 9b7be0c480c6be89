"""Guarded ASHA: never fewer than ASHA continues, more where controls show the need, and the reason in words."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.engine.simulator import simulate
from orchestrator.journal import Event
from orchestrator.policies import build_scheduler
from orchestrator.policies.control_trials import WITNESSES, ControlTrials
from orchestrator.policies.loss_curves import Compared
from orchestrator.policies.rungs import WaitingRung
from orchestrator.policies.schedulers.guarded_asha import CONTROL_SHARE, GuardedASHAScheduler
from orchestrator.results.why import stories
from orchestrator.spec import SweepSpec
from tests.support import late_curves
from tests.support.late_curves import assert_few_epochs_are_spent, assert_rebuilt_decides_the_same, until
from tests.support.markers import examples, sampled

Curve = Any


def sweep_of(trials: int, scheduler: Any = "guarded_asha", **fields: Any) -> SweepSpec:
    return late_curves.sweep_of(trials, scheduler, **fields)


EARLY = {
    "slow": lambda q: (q + 0.5) % 1.0,  # the best come from the middle of the first rung
    "misleading": lambda q: 1.0 - q,
    "alike": lambda q: 0.0,
    "uninformative": lambda q: 1e4 * q % 1.0,
}
PROMOTION = {"name": "asha", "reduction_factor": 4, "promote": True}


def keeps_the_best(scheduler: Any, early: str, seed: int, slots: int = 1) -> bool:
    return late_curves.keeps_the_best(scheduler, until(4, EARLY[early]), seed, slots)


@pytest.mark.parametrize("slots", sampled([1, 8], slow=[1]))
@pytest.mark.parametrize("early", ["slow", "misleading"])
def test_the_best_is_found_where_its_first_epoch_is_not_among_the_best(early: str, slots: int) -> None:
    assert keeps_the_best("guarded_asha", early, 1, slots)
    assert not keeps_the_best(PROMOTION, early, 1, slots)


@pytest.mark.slow
def test_a_first_rung_that_says_nothing_seldom_decides() -> None:
    """Controls may agree by chance."""
    assert sum(keeps_the_best("guarded_asha", "uninformative", seed) for seed in range(12)) >= 9


@pytest.mark.slow
@settings(max_examples=examples(6), deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(2, 4))
def test_never_fewer_continue_than_under_promotion(seed: int, slots: int, factor: int) -> None:
    """Whenever a new trial begins, no trial waits that is among the best 1/factor of its rung."""
    rng = random.Random(seed)
    made = sweep_of(rng.randint(1, 24), {"name": "guarded_asha", "reduction_factor": factor})
    scheduler = build_scheduler(made)

    def curve(params: Any, epoch: float) -> dict[str, float]:
        return {"loss": random.Random(f"{params['model.q']}{epoch}{seed}").randint(0, 9)}

    for event in simulate(made, curve=curve, slots=slots, seed=seed).events:
        if event.type == "trial.suggested":
            assert scheduler.promote(last=False) is None
            for trial in scheduler.set_aside:
                numbers = scheduler.dismiss(trial).why
                assert numbers["place"] > numbers["of"] // factor
                assert numbers["kept"] >= numbers["of"] // factor
        scheduler.observe(event)


@pytest.mark.parametrize("slots", [1, 4])
def test_where_rungs_predict_few_epochs_are_spent(slots: int) -> None:
    assert_few_epochs_are_spent("guarded_asha", slots, 0.3)


@pytest.mark.slow
def test_controls_have_a_twentieth_of_the_epochs_while_trials_begin() -> None:
    """And the first trials are the controls, whatever their values."""
    ran = simulate(sweep_of(150), curve=lambda params, epoch: {"loss": params["model.q"]}, slots=1)
    controls, granted, begun = [], 0, 0
    for event in ran.events:
        if event.type == "trial.suggested":
            granted, begun = granted + 1, begun + 1
        elif event.type == "trial.promoted" and begun < 150:
            stretch = min(32, 4 * event["why"]["rung"]) - event["why"]["rung"]
            granted += stretch
            if event["why"]["kind"] == "control":
                controls.append((event["trial"], stretch))
    spent = sum(stretch for _, stretch in controls)
    assert 0.02 * granted < spent <= 2 * CONTROL_SHARE * granted, "some continue without a record of a promotion"
    first = [trial for trial, stretch in controls if stretch == 3]
    assert first == sorted(first)
    passed = {trial for trial in range(max(first)) if ran.state.trials[trial].epoch > 1}
    assert passed == set(range(max(first))), "every trial below the last control went on from the first rung"


@pytest.mark.parametrize("slots", [1, 4])
def test_a_scheduler_rebuilt_from_events_decides_the_same(slots: int) -> None:
    made = sweep_of(30, trainer={"max_epochs": 17})
    ran = simulate(made, slots=slots, seed=3, curve=until(4, EARLY["slow"]))
    assert_rebuilt_decides_the_same(made, ran.events, every=11)


def judged(pairs: list[tuple[float, float]], factor: int = 4) -> ControlTrials:
    """Two rungs that controls have entered with these losses, each."""
    rungs = [WaitingRung(), WaitingRung()]
    controls = ControlTrials(rungs, factor)
    for trial, _ in enumerate(pairs):
        controls.begin(trial)
    for rung in (0, 1):
        for trial, losses in enumerate(pairs):
            rungs[rung].enter(trial, Compared(losses[rung]), rung + 1)
            controls.enter(trial, rung)
    return controls


def test_the_share_holds_the_best_controls() -> None:
    same = judged([(n, n) for n in range(8)])
    assert (same.share(0), same.agreement(0), same.predicts(0)) == (0.25, 1.0, True)
    late = judged([(n, n if n != 5 else -1) for n in range(8)])
    assert late.predicts(0)
    assert late.share(0) == 6 / 8, "the best one came from place six of eight"


def test_a_rung_that_does_not_order_controls_keeps_all() -> None:
    reverse = judged([(n, -n) for n in range(8)])
    assert (reverse.share(0), reverse.agreement(0), reverse.predicts(0)) == (1.0, 0.0, False)
    shuffled = judged([(n, (n * 7) % 16) for n in range(16)])
    assert not shuffled.predicts(0)
    assert shuffled.share(0) == 1.0


def test_the_share_holds_the_best_controls_of_every_later_rung() -> None:
    """Eight controls have entered the second rung, four of them the third: only one of the others starts slowly."""
    rungs = [WaitingRung(), WaitingRung(), WaitingRung()]
    controls = ControlTrials(rungs, 4)
    for trial in range(8):
        controls.begin(trial)
    losses = {trial: (trial, trial if trial != 6 else -1, trial) for trial in range(8)}
    for rung, entered in enumerate((8, 8, 4)):
        for trial in range(entered):
            rungs[rung].enter(trial, Compared(losses[trial][rung]), rung + 1)
            controls.enter(trial, rung)
    assert (controls.agreement(0), controls.predicts(0)) == (1.0, True), "of the four at the end"
    assert controls.share(0) == 7 / 8


@pytest.mark.slow
def test_a_large_sweep_trains_more_controls_up_to_the_last_rung_before_the_end() -> None:
    ran = simulate(sweep_of(400), curve=lambda params, epoch: {"loss": params["model.q"]}, slots=1)
    epochs = [trial.epoch for trial in ran.state.trials.values()]
    assert min(epochs[:16]) >= 16
    assert min(epochs[:8]) == 32


def test_without_evidence_the_share_is_that_of_asha() -> None:
    few = judged([(n, -n) for n in range(WITNESSES - 1)])
    assert (few.share(0), few.agreement(0), few.predicts(0)) == (0.25, None, True)


def test_a_rung_that_does_not_predict_lengthens_the_grace() -> None:
    """All trials pass the first rung if it misleads, and few if it predicts."""
    passed = {
        early: sum(trial.epoch > 1 for trial in simulate(sweep_of(40), curve=until(4, curve)).state.trials.values())
        for early, curve in (("misleading", EARLY["misleading"]), ("predictive", lambda q: q))
    }
    assert passed["misleading"] == 40
    assert passed["predictive"] <= 20


def at_random(params: Any, epoch: float) -> dict[str, float]:
    return {"loss": random.Random(f"{params['model.q']}{epoch}").random()}


@pytest.mark.parametrize("slots", [1, 2])
def test_whatever_ends_with_the_sweep_was_not_among_those_that_continued(slots: int) -> None:
    compared = []
    for seed in range(10):
        ran = simulate(sweep_of(12, trainer={"max_epochs": 9}, seed=seed), curve=at_random, slots=slots)
        compared += [event["why"] for event in ran.events if event.type == "trial.stopped"]
    assert compared
    assert [why for why in compared if why["place"] <= why["kept"]] == []


def test_an_extended_sweep_counts_on_with_its_controls() -> None:
    """A control that was dismissed is no gap: the ones after it are controls, too."""
    made = sweep_of(14, trainer={"max_epochs": 9})
    ran = simulate(made, curve=until(4, EARLY["slow"]), slots=2)
    scheduler = build_scheduler(made)
    for event in ran.events:
        scheduler.observe(event)
    dismissed = {event["trial"] for event in ran.events if event.type == "trial.stopped"}
    scheduler.observe(Event(len(ran.events), 2, 0.0, "trial.suggested", {"trial": 14, "params": {}, "by": ""}))
    assert dismissed
    assert isinstance(scheduler, GuardedASHAScheduler)
    assert all(number not in dismissed for _, number in scheduler._controls.candidates())


def told(trials: int, curve: Curve) -> str:
    ran = simulate(sweep_of(trials), curve=curve, slots=1)
    return " ".join(" ".join(story) for story in stories(ran.state, ran.state.trials).values())


def test_it_says_that_early_epochs_do_not_predict() -> None:
    misled = told(40, until(4, EARLY["misleading"]))
    assert "because that rung does not predict: of two controls the better one was ahead there in only 0 %" in misled


def test_it_says_that_the_best_come_from_far_down() -> None:
    assert "since the best controls came from places that far down" in told(60, until(4, EARLY["slow"]))


def test_it_says_how_far_a_rung_was_seen_to_predict() -> None:
    assert "later, 100 % of the controls' pairs were in that order" in told(40, until(0, lambda q: q))
