"""The frontier: who is set aside and who goes on, against brute force; and whether it sees which rungs to trust."""

from __future__ import annotations

import math
import random
import statistics
import time
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.engine.simulator import simulate
from orchestrator.journal import read
from orchestrator.policies import build_scheduler
from orchestrator.policies.pausing import ENDLESS
from orchestrator.policies.rungs import rung_places
from orchestrator.results import why
from orchestrator.results.verify import check
from orchestrator.spec import SweepSpec
from orchestrator.sweep import launch
from tests.support import late_curves
from tests.support.event_log import Log
from tests.support.event_log import spec as described_without_module
from tests.support.frontier_oracle import BruteForce, History
from tests.support.late_curves import assert_few_epochs_are_spent, assert_rebuilt_decides_the_same, until
from tests.support.markers import examples, sampled
from tests.support.small_sweeps import spec as described

Curve = Any


@settings(max_examples=examples(40), deadline=None)
@given(st.integers(2, 4), st.sampled_from(["min", "max"]), st.integers(1, 5), st.integers(1, 30), st.integers(0, 2**32))
def test_the_frontier_agrees_with_brute_force(factor: int, mode: str, slots: int, trials: int, seed: int) -> None:
    """Whole-number curves with ties, values that are no numbers, failures, restarts and stops by request."""
    rng = random.Random(seed)
    epochs, bounded, known = rng.randint(1, 14), rng.random() < 0.7, rng.random() < 0.7
    made = described_without_module(
        scheduler={"name": "frontier", "reduction_factor": factor, "grace_epochs": 1 + seed % 2},
        objective={"metric": "loss", "mode": mode},
        trainer={"max_epochs": epochs} if known else {"max_steps": 100},
        budget={"trials": trials} if bounded else {"wall_clock": 1000},
    )
    rungs = [int(rung) for rung in rung_places(1 + seed % 2, factor, epochs if known else ENDLESS)]
    brute = BruteForce(rungs, factor, trials if bounded else math.inf, -1 if mode == "max" else 1)
    history = History(build_scheduler(made), brute, rng, epochs)
    history.fill(slots, trials)
    while history.running:
        history.step()
        history.fill(slots, trials)
    assert history.trials == trials
    again = build_scheduler(made)
    for event in history.log.events:
        again.observe(event)
    for _, trial in brute.waiting:
        assert again.dismiss(trial) == history.scheduler.dismiss(trial)
    assert not brute.waiting or min(brute.good_ends)[0] <= min(brute.best[trial] for _, trial in brute.waiting)


@pytest.mark.parametrize("slots", [1, 4])
def test_a_scheduler_rebuilt_from_events_decides_the_same(slots: int) -> None:
    made = sweep_of(30, trainer={"max_epochs": 9})
    ran = simulate(made, slots=slots, seed=3)
    assert_rebuilt_decides_the_same(made, ran.events, every=17)
    told = Counter(event.type for event in ran.events)
    assert told["trial.set_aside"] > 5 < told["trial.promoted"]


def sweep_of(trials: int, scheduler: Any = "frontier", **fields: Any) -> SweepSpec:
    return late_curves.sweep_of(trials, scheduler, **fields)


EARLY = {"misleading": lambda q: 1.0 - q, "uninformative": lambda q: 1e4 * q % 1.0, "alike": lambda q: 0.0}
ASHA = {"name": "asha", "grace_epochs": 1, "reduction_factor": 4}


def keeps_the_best(scheduler: Any, early: str, seed: int, slots: int) -> bool:
    return late_curves.keeps_the_best(scheduler, until(8, EARLY[early]), seed, slots)


@pytest.mark.slow
@pytest.mark.parametrize("slots", sampled([1, 4], slow=[4]))
@pytest.mark.parametrize("early", sampled(["misleading", "alike"], slow=["alike"]))
def test_a_rung_that_misleads_does_not_decide(early: str, slots: int) -> None:
    for seed in range(3):
        assert keeps_the_best("frontier", early, seed, slots)
        assert not keeps_the_best(ASHA, early, seed, slots) or early == "alike"


@pytest.mark.slow
def test_a_rung_that_says_nothing_seldom_decides() -> None:
    """Six controls may agree by chance: one time in seven by more than a standard error."""
    kept = {
        name: [keeps_the_best(name or ASHA, "uninformative", seed, 1) for seed in range(10)]
        for name in ("frontier", "")
    }
    assert sum(kept["frontier"]) >= 7 > 4 >= sum(kept[""]), kept


@pytest.mark.parametrize("slots", [1, 4])
def test_where_rungs_predict_few_epochs_are_spent(slots: int) -> None:
    assert_few_epochs_are_spent("frontier", slots, 0.25)


def test_rungs_end_with_the_training() -> None:
    assert rung_places(1, 4, 50) == [1, 4, 16, 50]
    assert rung_places(3, 3, 27) == [3, 9, 27]
    assert rung_places(5, 2, 4) == [4]


@pytest.mark.slow
def test_ten_thousand_trials_do_not_make_a_decision_slow() -> None:
    made = sweep_of(20_000)
    scheduler, log, rng = build_scheduler(made), Log(), random.Random(0)
    costs: list[float] = []
    for number in range(10_000):
        start = time.thread_time()
        while (found := scheduler.promote(last=False)) is not None:
            scheduler.observe(log.add("trial.promoted", trial=found[0], rule="frontier", why=found[1].why))
            _report(scheduler, log, found[0], 4 * found[1].why["rung"], rng.random())
        scheduler.observe(log.add("trial.suggested", trial=number, params={}, by="random"))
        _report(scheduler, log, number, 1, rng.random())
        costs.append(time.thread_time() - start)
    assert statistics.median(costs[-500:]) < 0.01, "some 0.2 ms on a quiet core"


def _report(scheduler: Any, log: Log, trial: int, epoch: int, loss: float) -> None:
    """Reports at rungs alone, and whatever follows from them."""
    while epoch <= 32:
        event = log.add("segment.reported", trial=trial, segment=0, epoch=epoch, metrics={"loss": loss})
        scheduler.observe(event)
        verdict = scheduler.judge(trial, epoch)
        if verdict is not None:
            fields = {"trial": trial, "segment": 0, "epoch": epoch, "rule": verdict.rule, "why": verdict.why}
            scheduler.observe(log.add("trial.set_aside", **fields))
            return
        epoch = 32 if 4 * epoch > 32 > epoch else 4 * epoch
    scheduler.observe(log.add("trial.finished", trial=trial, segment=0, epoch=32))


@pytest.mark.slow
def test_real_trials_wait_and_go_on(tmp_path: Any) -> None:
    sweep = described(trainer={"max_epochs": 8}, scheduler="frontier", searcher="random", budget={"trials": 9})
    outcome = launch(sweep, tmp_path, local=True)
    told = Counter(event.type for event in read(outcome.run.journal))
    assert told["trial.set_aside"] >= 3
    assert outcome.state.count("finished", "stopped") == 9
    winner = outcome.state.winner()
    assert winner is not None
    assert winner.status == "finished"
    assert not check(outcome.run).violations
    stories = [" ".join(why(outcome.state, number)) for number in outcome.state.trials]
    assert any("others were more promising until the end" in story for story in stories)
    assert told["trial.promoted"] == sum(story.count("it continued") for story in stories)
