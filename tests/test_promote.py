"""Trials that somebody lets go on: schedulers keep in step, the journal tells it, and a resume comes to the same."""

from __future__ import annotations

import math
import random
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.engine import stop_requests
from orchestrator.errors import UsageError
from orchestrator.journal import Event, read
from orchestrator.policies import build_scheduler
from orchestrator.policies.rungs import rung_places
from orchestrator.policies.schedulers.hyperband import brackets
from orchestrator.results import why
from orchestrator.results.verify import check, replay
from orchestrator.rundir import run_at
from orchestrator.state import SweepState
from orchestrator.sweep import launch, promote, resume
from orchestrator.sweep.control import _NOT_PROMOTABLE
from orchestrator.testing import Faults, Simulated, simulate
from tests.support.event_log import Log, report
from tests.support.event_log import spec as described_without_module
from tests.support.frontier_oracle import BruteForce as FrontierBruteForce
from tests.support.frontier_oracle import History
from tests.support.markers import examples, sampled
from tests.support.promotion_oracle import PROMOTE, BruteForce
from tests.support.small_sweeps import spec as described
from tests.support.watched_runs import WAITING, written
from tests.support.watched_runs import described as simulated

HYPERBAND = {"name": "hyperband", "reduction_factor": 2}
PBT = {"name": "pbt", "interval_epochs": 2, "quantile": 0.5, "mutate": ["model.width"]}
SETTING_ASIDE = {"asha": WAITING, "frontier": "frontier", "hyperband": HYPERBAND, "pbt": PBT}


class Cut(BaseException):
    """The driver is gone."""


def asked(events: list[Event]) -> list[int]:
    return [event["trial"] for event in events if event.type == "trial.promoted" and event["rule"] == "request"]


def run(scheduler: Any, seed: int, **faults: Any) -> Simulated:
    sweep = simulated(14, 9, scheduler=scheduler)
    return simulate(sweep, slots=1 + seed % 3, seed=seed, faults=Faults(promote=0.15, **faults))


@pytest.mark.parametrize("name", sampled(SETTING_ASIDE, slow=["frontier", "hyperband", "pbt"]))
def test_a_sweep_in_which_trials_are_promoted_from_outside_is_whole_and_replays(name: str) -> None:
    """With crashes too, in which what was asked for outlives the process that was asked."""
    promoted = 0
    for seed in range(12):
        faults = {"crash": 0.02, "lost": 0.03, "end": 0.01} if seed % 2 else {}
        ran = run(SETTING_ASIDE[name], seed, **faults)
        assert not ran.violations + replay(simulated(14, 9, scheduler=SETTING_ASIDE[name]), ran.events), seed
        assert ran.state.status == "completed", seed
        assert ran.state.count("finished", "stopped", "failed") == len(ran.state.trials) == 14, seed
        assert repr(vars(ran.live)) == repr(vars(ran.state)), seed
        promoted += len(asked(ran.events))
    assert promoted > 25


@pytest.mark.slow
def test_hyperband_keeps_the_best_of_each_rung_and_whom_somebody_asked_for() -> None:
    """Rungs worked out anew from the events: who came with what before it was decided, and who went on."""
    extra = 0
    for seed in range(16):
        ran, number = run(HYPERBAND, seed), 0
        while number < 14:
            for _, size, epochs in brackets(1, 2, 9):
                members = set(range(number, min(number + size, 14)))
                extra += sum(_extra(ran, members, rung) for rung in epochs[:-1])
                number += size
    assert extra > 10, "somebody who would have ended went on"


def _extra(ran: Simulated, members: set[int], rung: float) -> int:
    """How many went on from there that the rule alone would have ended."""
    told = [event for event in ran.events if event.type.startswith("trial.") and event["trial"] in members]
    here = [event for event in told if event.fields.get("why", {}).get("rung") == rung]
    ruled = [event.seq for event in here if event.type != "trial.set_aside" and event["rule"] == "hyperband"]
    came = [event["trial"] for event in here if event.type == "trial.set_aside"]
    in_time = {e["trial"] for e in here if e.type == "trial.set_aside" and e.seq < min(ruled, default=math.inf)}
    wanted = {event["trial"] for event in here if event.type == "trial.promoted" and event["rule"] == "request"}
    losses = {number: -ran.state.objective.best(ran.state.trials[number], rung).value for number in came}  # type: ignore[union-attr]
    order = sorted(in_time, key=lambda number: (losses[number], number))
    kept = set(order[: max(1, len(order) // 2)])
    on = {number for number in came if ran.state.trials[number].epoch > rung}
    assert kept | wanted <= on, (rung, order, on, kept, wanted)
    assert on - kept - wanted <= set(came) - in_time, "who came late, by another's request, may have been better"
    return len(wanted - kept)


@settings(max_examples=examples(60), deadline=None)
@given(st.integers(2, 4), st.integers(1, 5), st.integers(2, 25), st.integers(0, 2**32))
def test_promotion_agrees_with_brute_force_where_some_are_asked_for(
    factor: int, slots: int, trials: int, seed: int
) -> None:
    objective = {"objective": {"metric": "loss", "mode": "min"}, "trainer": {"max_epochs": 12}}
    made = described_without_module(scheduler={**PROMOTE, "reduction_factor": factor}, **objective)
    scheduler, brute, log, rng = build_scheduler(made), BruteForce(factor, 1), Log(), random.Random(seed)
    rungs = [factor**k for k in range(5) if factor**k < 12]
    epochs, running, waiting, best, new = Counter[int](), list[int](), dict[int, int](), dict[int, float](), 0

    def go_on(trial: int, rule: str) -> int:
        scheduler.observe(log.add("trial.promoted", trial=trial, rule=rule, why={"rung": waiting.pop(trial)}))
        return trial

    while True:
        while len(running) < slots:
            if waiting and rng.random() < 0.1:
                trial = rng.choice(sorted(waiting))
                brute.left.add((waiting[trial], trial))
                running.append(go_on(trial, "request"))
                continue
            found, expected = scheduler.promote(last=False), brute.promoted(last=False)
            assert (found and (found[1].why["rung"], found[0])) == expected
            if found is None and new < trials:
                running.append(new)
                new += 1
                continue
            if found is None and not running:
                found, expected = scheduler.promote(last=True), brute.promoted(last=True)
                assert (found and (found[1].why["rung"], found[0])) == expected
            if found is None:
                break
            running.append(go_on(found[0], "asha"))
        if not running:
            break
        trial = rng.choice(running)
        epochs[trial] += 1
        value = float(rng.randint(-3, 3))
        best[trial] = min(value, best.get(trial, value))
        verdict = report(log, scheduler, trial, epochs[trial], value)
        assert (verdict is None) == (epochs[trial] not in rungs or brute.goes_on(epochs[trial], trial, best[trial]))
        if verdict:
            waiting[trial] = epochs[trial]
            scheduler.observe(
                log.add("trial.set_aside", trial=trial, segment=0, epoch=epochs[trial], rule="asha", why={})
            )
        if verdict or epochs[trial] == 12:
            running.remove(trial)


class Asked(History):
    """A history in which trials that wait are asked for."""

    def step(self) -> None:
        if self.brute.waiting and self.rng.random() < 0.1:
            rung, trial = self.rng.choice(self.brute.waiting)
            why = {"rung": self.brute.rungs[rung]}
            self.tell("trial.promoted", trial, rule="request", why=why)
            self.brute.waiting.remove((rung, trial))
            self.brute.passed.add((rung, trial))  # on nobody's account
            self.running.append(trial)
        super().step()


@settings(max_examples=examples(50), deadline=None)
@given(st.integers(2, 4), st.integers(1, 5), st.integers(2, 30), st.integers(0, 2**32))
def test_the_frontier_agrees_with_brute_force_where_some_are_asked_for(
    factor: int, slots: int, trials: int, seed: int
) -> None:
    epochs = random.Random(seed).randint(2, 14)
    made = described_without_module(
        scheduler={"name": "frontier", "reduction_factor": factor},
        objective={"metric": "loss", "mode": "min"},
        trainer={"max_epochs": epochs},
        budget={"trials": trials},
    )
    brute = FrontierBruteForce([int(rung) for rung in rung_places(1, factor, epochs)], factor, trials, 1)
    history = Asked(build_scheduler(made), brute, random.Random(seed), epochs)
    history.fill(slots, trials)
    while history.running:
        history.step()
        history.fill(slots, trials)
    assert history.trials == trials


@pytest.mark.slow
def test_a_real_trial_that_was_set_aside_goes_on_by_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worst of all, which nothing but a request would let on; cut off in between, the resume goes on with it."""
    monkeypatch.setattr(stop_requests, "_POLL_SECONDS", -60.0)
    place = run_at("tiny", tmp_path)
    wanted: list[int] = []

    def ask(state: SweepState, event: Event) -> None:
        if event.type == "trial.set_aside" and event["trial"] == 3 and not wanted:
            wanted.append(max(state.set_aside, key=lambda number: state.objective.best(state.trials[number]).value))  # type: ignore[union-attr]
            place.requests.mkdir(exist_ok=True)
            place.promote_request(wanted[0]).touch()
        if event.type == "trial.promoted" and event["rule"] == "request":
            raise Cut

    sweep = described(trainer={"max_epochs": 8}, scheduler=PROMOTE, searcher="random", budget={"trials": 8})
    with pytest.raises(Cut):
        launch(sweep, tmp_path, local=True, observer=ask)
    outcome = resume("tiny", tmp_path, local=True)
    trial = outcome.state.trials[wanted[0]]
    assert trial.promotions[0] == {"rule": "request", "rung": 1}
    assert trial.epoch >= 2
    assert "it continued by request (sweep promote --trial)" in " ".join(why(outcome.state, trial.number))
    assert check(outcome.run).violations == []
    assert not place.requests.exists()


def test_a_request_is_answered_by_the_process_that_runs_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stop_requests, "_POLL_SECONDS", -60.0)
    answers: list[Any] = []
    place = run_at("tiny", tmp_path)

    def person() -> None:
        while not place.exists() or not any(e.type == "trial.set_aside" for e in read(place.journal)):
            time.sleep(0.05)
        number = next(event["trial"] for event in read(place.journal) if event.type == "trial.set_aside")
        answers.append(promote("tiny", tmp_path, trial=number, wait=30.0))

    thread = threading.Thread(target=person)
    thread.start()
    model = {"class_path": "tests.support.tiny.Tiny", "init_args": {"pause": 0.02}}
    # Four reports a rung of which none but the last goes on by itself: who is first set aside waits for the request.
    slow = {**PROMOTE, "reduction_factor": 4}
    sweep = described(model=model, trainer={"max_epochs": 4}, scheduler=slow, searcher="random", budget={"trials": 6})
    outcome = launch(sweep, tmp_path, local=True)
    thread.join()
    assert answers == [True]
    assert len(asked(list(read(outcome.run.journal)))) == 1
    assert check(outcome.run).violations == []


def test_what_cannot_be_promoted_is_refused_with_the_reason(tmp_path: Path) -> None:
    outcome = launch(described(budget={"trials": 2}), tmp_path, local=True)
    for number, trial in outcome.state.trials.items():
        with pytest.raises(UsageError, match=_NOT_PROMOTABLE[trial.status][0]):
            promote("tiny", tmp_path, trial=number)
    with pytest.raises(UsageError, match="has no trial 7"):
        promote("tiny", tmp_path, trial=7)


def test_where_nobody_runs_the_sweep_nobody_is_asked(tmp_path: Path) -> None:
    events = simulate(simulated(6, 9, scheduler=WAITING)).events
    aside = next(place for place, event in enumerate(events, 1) if event.type == "trial.set_aside")
    written(tmp_path, events[:aside])
    with pytest.raises(UsageError, match="no process runs 'watched'"):
        promote("watched", tmp_path, trial=events[aside - 1]["trial"])


def test_a_forged_promotion_is_found() -> None:
    sweep = simulated(6, 9, scheduler=WAITING)
    events = simulate(sweep).events
    at = next(place for place, event in enumerate(events) if event.type == "segment.reported")
    trial = events[at]["trial"]
    fields = {"trial": trial, "rule": "request", "why": {"rung": 1}}
    forged = Event(at + 1, 1, events[at].time, "trial.promoted", fields)
    assert any(
        "was not set aside but is running" in sentence for sentence in replay(sweep, [*events[: at + 1], forged])
    )
    aside = next(place for place, event in enumerate(events) if event.type == "trial.set_aside")
    fields = {"trial": events[aside]["trial"], "rule": "request", "why": {"rung": 5}}
    forged = Event(aside + 1, 1, events[aside].time, "trial.promoted", fields)
    assert any("was set aside at epoch 1" in sentence for sentence in replay(sweep, [*events[: aside + 1], forged]))
