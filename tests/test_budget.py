"""Budgets: what is spent is counted as a brute force counts it, and what is spent ends the sweep."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from orchestrator.journal import Event
from orchestrator.policies import budget
from orchestrator.results.terminal_tables import spending
from orchestrator.results.verify import replay
from orchestrator.results.why import stop_reason, why
from orchestrator.state import SweepState
from orchestrator.testing import Faults, Simulated, simulate
from tests.chaos.simulate import Case, story
from tests.support.budget_specs import described

ROUGH = Faults(crash=0.03, power=0.5, asleep=0.01, lost=0.1, node=0.03, stop=0.02, damage=0.3)


def counted(events: list[Event]) -> tuple[int, float]:
    """Epochs and trials' seconds, summed up segment by segment from the whole journal."""
    epochs, seconds = 0, 0.0
    origins: dict[str, int] = {}
    begun: dict[int, tuple[float, int]] = {}  # trial -> when its segment began, by which process
    at = {event.lease: event.time for event in events}  # lease -> its last word
    reached: dict[int, int] = {}
    for event in events:
        trial: Any = event.fields.get("trial")
        for known in list(begun):
            closed = event.type in ("sweep.paused", "sweep.completed") or begun[known][1] != event.lease
            ended = trial == known and event.type in (
                "segment.failed", "trial.finished", "trial.stopped", "trial.set_aside",
            )  # fmt: skip
            if closed or ended:
                start, lease = begun.pop(known)
                seconds += (event.time if lease == event.lease else at[lease]) - start
        if event.type == "segment.started":
            begun[trial] = event.time, event.lease
            reached[trial] = origins.get(event["origin"], 0)
        elif event.type == "segment.checkpointed":
            origins[event["path"]] = event["epoch"]
        elif event.type == "segment.reported":
            epochs += event["epoch"] - reached[trial]
            reached[trial] = event["epoch"]
    return epochs, seconds


@pytest.mark.parametrize("seed", range(25))
def test_what_is_spent_agrees_with_a_count_from_the_whole_journal(seed: int) -> None:
    ran = simulate(described({"trials": 6}), slots=1 + seed % 4, seed=seed, faults=ROUGH)
    epochs, seconds = counted(ran.events)
    assert ran.state.epochs == epochs
    assert ran.state.trial_seconds == pytest.approx(seconds, abs=1e-3)
    found = budget.amounts(described({"trials": 6}), ran.state)
    assert found["gpu_hours"] == pytest.approx(seconds * 2 / 3600)
    assert found["cost"] == pytest.approx(seconds * 7.2 / 3600)


def test_a_time_between_two_processes_is_nobodys() -> None:
    def event(seq: int, lease: int, time: float, type: str, **fields: Any) -> Event:
        return Event(seq, lease, time, type, fields)

    state = SweepState(
        [
            event(0, 1, 0.0, "sweep.created", spec=described({"trials": 2}).model_dump(mode="json")),
            event(1, 1, 5.0, "sweep.launched", slots=1),
            event(2, 1, 5.0, "trial.suggested", trial=0, params={}, by="random"),
            event(3, 1, 6.0, "segment.started", trial=0, segment=0, node="n", origin=None),
            event(4, 1, 9.0, "segment.reported", trial=0, segment=0, epoch=1, metrics={"val_acc": 0.5}),
            event(5, 2, 5000.0, "trial.retried", trial=0),
            event(6, 2, 5001.0, "sweep.launched", slots=1),
            event(7, 2, 5002.0, "segment.started", trial=0, segment=1, node="n", origin=None),
            event(8, 2, 5004.0, "trial.finished", trial=0, segment=1, epoch=1),
        ]
    )
    assert state.active_seconds == 4 + 3
    assert state.trial_seconds == 4 + 2


@pytest.mark.parametrize(
    ("limits", "key"),
    [
        ({"epochs": 13}, "epochs"),
        ({"epochs": 26, "reserve": 0.5}, "epochs"),
        ({"gpu_hours": 25.5 / 3600}, "gpu_hours"),
        ({"cost": 12.6 * 7.2 / 3600}, "cost"),
        ({"target": 0.3}, "target"),
    ],
)
@pytest.mark.parametrize("slots", [1, 4])
@pytest.mark.parametrize("scheduler", ["fifo", {"name": "asha", "reduction_factor": 2, "promote": True}])
def test_a_spent_budget_ends_what_runs_and_what_waits(
    limits: dict[str, Any], key: str, slots: int, scheduler: Any
) -> None:
    spec = described({"trials": 200, **limits}, scheduler=scheduler)
    ran = simulate(spec, slots=slots)
    state = ran.state
    assert state.reason == f"budget.{key}"
    assert state.count("running", "interrupted", "set_aside") == 0
    assert replay(spec, ran.events) == []
    spent = budget.spent(spec, state)
    assert spent is not None
    assert budget.key_of(spent.why) == key
    last = [trial for trial in state.trials.values() if trial.stopped_by.get("rule") == "budget"]
    assert last
    assert all("budget of" in stop_reason(t.stopped_by) or "target of" in stop_reason(t.stopped_by) for t in last)
    if key == "epochs":
        assert 13 <= state.epochs < 13 + slots, "what was under way comes to the end of its epoch"
    before = next(e for e in ran.events if e.type == "trial.stopped" and e["rule"] == "budget")
    assert not any(e.type == "trial.suggested" and e.seq > before.seq for e in ran.events)
    if key in ("epochs", "target"):
        reports = [e.seq for e in ran.events if e.type == "segment.reported"]
        late = sum(budget.spent(spec, SweepState(ran.events[: seq + 1])) is not None for seq in reports) - 1
        assert late < slots, "each that ran had one report more at most"


def test_whichever_comes_first() -> None:
    ran = simulate(described({"trials": 2, "epochs": 999, "target": 2.0, "cost": 999}))
    assert ran.state.reason == "all trials ended"


@pytest.mark.parametrize("seed", range(60))
def test_an_interrupted_sweep_reaches_its_target_where_the_unbroken_one_does(seed: int) -> None:
    spec = described({"trials": 30, "target": 0.3})
    ran = simulate(spec, seed=seed, faults=replace(ROUGH, stop=0.0, damage=0.0))
    assert replay(spec, ran.events) == []
    assert ran.state.reason == "budget.target"
    if not any(event.type == "trial.failed" for event in ran.events):
        assert story(ran.events) == story(simulate(spec).events)


def changed(ran: Simulated, number: int, **fields: Any) -> list[Event]:
    events = list(ran.events)
    events[number] = replace(events[number], fields={**events[number].fields, **fields})
    return events


def test_verify_finds_a_budget_that_was_not_kept() -> None:
    spec = described({"trials": 200, "epochs": 13}, scheduler={"name": "asha", "reduction_factor": 2})
    ran = simulate(spec, slots=2)
    stopped = next(e.seq for e in ran.events if e.type == "trial.stopped" and e["rule"] == "budget")
    wider, narrower = described({"trials": 200, "epochs": 99}), described({"trials": 200, "epochs": 9})
    assert any("no such decision" in s or "no budget is spent" in s for s in replay(wider, ran.events))
    assert any("comes where" in sentence for sentence in replay(narrower, ran.events))
    why = {**ran.events[stopped]["why"], "spent": 14}
    assert any("but the scheduler decides" in s for s in replay(spec, changed(ran, stopped, why=why)))
    ended = ran.events[-1].seq
    assert any("but a budget is spent" in s for s in replay(spec, changed(ran, ended, reason="all trials ended")))
    free = simulate(described({"trials": 2}))
    lied = changed(free, free.events[-1].seq, reason="budget.epochs")
    assert any("is not spent" in sentence for sentence in replay(described({"trials": 2}), lied))


def test_the_simulator_draws_every_budget() -> None:
    assert {Case.of(seed).budget for seed in range(400)} >= {"", "epochs", "reserve", "target", "gpu hours", "cost"}


def test_times_never_fall_in_a_simulated_journal() -> None:
    events = simulate(described({"trials": 3}), seed=1, faults=ROUGH).events
    assert all(before.time <= after.time for before, after in pairwise(events))


def test_what_is_spent_is_said_for_each_limit() -> None:
    spent = {"trials": 3, "epochs": 120, "wall_clock": 90.0, "gpu_hours": 1.25, "cost": 12.4}
    assert spending({"trials": 9, "epochs": None, "target": 0.9}, spent) == ""
    limits = {"epochs": 2000, "wall_clock": 7200.0, "gpu_hours": 48, "cost": 100.0}
    assert spending(limits, spent) == (
        "spent: 120 of 2000 epochs, 1.25 of 48 GPU-hours, a cost of 12.4 of 100, 1 min 30 s of 2 h 00 min"
    )


def test_a_trial_that_waits_for_room_says_what_it_needs() -> None:
    events = simulate(described({"trials": 3}), slots=2).events
    launched = next(event for event in events if event.type == "sweep.launched")
    begun = [event for event in events if event.type == "segment.started"][:2]
    state = SweepState([*events[: begun[1].seq + 1], launched, begun[0]])
    assert (
        "Waiting for free resources: a trial needs {cpus: 1, gpus: 2}, and at most 2 run at once (now trial 0)."
        in why(state, 1)
    )
