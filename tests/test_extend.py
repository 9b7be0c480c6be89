"""`sweep extend`: a sweep that was extended is the one that had those limits from the start, as far as it can be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import UsageError
from orchestrator.journal import Event, read
from orchestrator.policies.extend_limits import More, extension
from orchestrator.results.verify import check, replay
from orchestrator.state import SweepState
from orchestrator.sweep import extend, launch
from orchestrator.testing import Faults, simulate
from tests.chaos.simulate import spec as chaotic
from tests.chaos.simulate import story
from tests.support.budget_specs import described
from tests.support.small_sweeps import spec as tiny

GRID = {"model.width": {"int": [1, 3]}}
PROMOTE = {"name": "asha", "reduction_factor": 2, "promote": True}


@pytest.mark.parametrize("searcher", ["random", "sobol", "tpe", "cmaes"])
@pytest.mark.parametrize("scheduler", ["fifo", {"name": "asha", "reduction_factor": 2}])
def test_more_trials_are_those_that_a_longer_sweep_would_have_had(searcher: str, scheduler: Any) -> None:
    fields = {"searcher": searcher, "scheduler": scheduler}
    extended = simulate(described({"trials": 8}, **fields), more=More(trials=8))
    longer = simulate(described({"trials": 16}, **fields))
    assert story(extended.events) == story(longer.events)


def test_more_epochs_are_those_that_a_longer_sweep_would_have_had() -> None:
    extended = simulate(described({"trials": 8}), more=More(epochs=5))
    longer = simulate(described({"trials": 8}, trainer={"max_epochs": 13}))
    assert story(extended.events) == story(longer.events)


def test_what_a_budget_stopped_goes_on_once_there_is_more_of_it() -> None:
    short = described({"trials": 8, "epochs": 21})
    extended = simulate(short, more=More(budget={"epochs": 100}))
    assert extended.state.reason == "all trials ended"
    assert story(extended.events) == story(simulate(described({"trials": 8})).events)


def test_a_trial_without_a_checkpoint_stays_as_it_is() -> None:
    spec = described({"trials": 8}, checkpoints={"keep_top": 3})
    ran = simulate(spec, more=More(epochs=4))
    event = next(event for event in ran.events if event.type == "sweep.extended")
    best = [trial.number for trial in SweepState(ran.events[: event.seq]).ranking()[:3]]
    assert event["trials"] == sorted(best)
    assert sorted(n for n, trial in ran.state.trials.items() if trial.epoch == 12) == sorted(best)
    assert {trial.epoch for trial in ran.state.trials.values()} == {8, 12}
    assert ran.state.count("finished") == 8


def test_stopped_trials_stay_stopped_and_the_old_end_becomes_a_rung() -> None:
    """The rungs are at 1, 2, 4, 8 …: nobody waits at 8 while that is the end, and all do once it is not."""
    spec = described({"trials": 12}, scheduler=PROMOTE)
    ran = simulate(spec, more=More(trials=12, epochs=8))
    event = next(event for event in ran.events if event.type == "sweep.extended")
    before = SweepState(ran.events[: event.seq])
    stopped = [number for number, trial in before.trials.items() if trial.status == "stopped"]
    assert stopped
    assert all(ran.state.trials[number].epoch == before.trials[number].epoch for number in stopped)
    aside = [e["epoch"] for e in ran.events if e.type == "trial.set_aside"]
    late = [e["epoch"] for e in ran.events[event.seq :] if e.type == "trial.set_aside"]
    assert 8 not in aside[: -len(late)]
    assert 8 in late
    assert replay(spec, ran.events) == []


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["fifo", "asha promote"])
def test_a_crash_at_every_append_of_an_extended_sweep_changes_nothing(
    scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestrator.testing import faults

    spec, more = chaotic("random", scheduler, 3, 3, "epochs"), More(trials=1, epochs=2, budget={"epochs": 8})
    unbroken = simulate(spec, more=more)
    fatal, count = (0, ""), 0

    def peril(world: Any) -> str:
        nonlocal count
        count += 1
        return fatal[1] if count == fatal[0] else ""

    monkeypatch.setattr(faults.FaultyWorld, "append_fault", peril)
    for number in range(1, len(unbroken.events) + 1):
        for point in ("before", "torn", "written", "synced"):
            fatal, count = (number, point), 0
            ran = simulate(spec, faults=Faults(power=1.0), seed=number, more=more)
            assert not ran.violations + replay(spec, ran.events), (number, point)
            if ran.state.epochs == unbroken.state.epochs:
                assert story(ran.events) == story(unbroken.events), (number, point)


def finished(limits: dict[str, Any], **fields: Any) -> SweepState:
    return simulate(described(limits, **fields)).state


@pytest.mark.parametrize(
    ("state", "more", "says"),
    [
        (lambda: finished({"trials": 2}), More(), "nothing to extend was specified"),
        (lambda: finished({"trials": 2}), More(wall_clock=60.0), "budget.wall_clock is not a limit of this sweep"),
        (lambda: finished({"trials": 2}), More(budget={"reserve": 0.5}), "budget.reserve is not a limit"),
        (lambda: finished({"trials": 2}), More(budget={"colour": 3}), "budget.colour is not a limit"),
        (lambda: finished({"trials": 3, "epochs": 4}), More(trials=3), "budget.epochs is spent"),
        (lambda: finished({"trials": 3, "epochs": 4}), More(budget={"epochs": -1}), "an addition above 0 is needed"),
        (lambda: finished({"trials": 3, "target": 0.1}), More(budget={"target": 0.11}), "budget.target is spent"),
        (lambda: finished({"trials": 2}, trainer={"max_steps": 9, "max_epochs": -1}), More(epochs=1), "not in epochs"),
        (
            lambda: finished({}, searcher="grid", space=GRID, trainer={"max_epochs": 1}),
            More(budget={"target": 0.9999}),
            "no trial would continue",
        ),
    ],
)  # fmt: skip
def test_what_would_come_to_nothing_is_refused(state: Any, more: More, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        extension(state(), more)
    assert caught.value.hint


@pytest.mark.parametrize("last", range(3, 30, 2))
def test_a_sweep_whose_process_was_killed_can_be_extended(last: int) -> None:
    """After any record: also after the report that spends the budget, whose verdict the extension lifts."""
    spec = described({"trials": 3, "epochs": 9})
    events = simulate(spec).events[: last + 1]
    if events[-1].type == "sweep.completed":
        return
    fields = extension(SweepState(events), More(trials=1, budget={"epochs": 50}))
    later = events[-1].time + 99.0
    events.append(Event(len(events), 2, later, "sweep.extended", fields))
    events.append(Event(len(events), 2, later, "sweep.launched", {"engine": "x", "slots": 1, "host": "h", "pid": 2}))
    assert replay(spec, events) == []
    state = SweepState(events)
    assert state.active_seconds < 20.0
    assert state.spec["budget"]["epochs"] == 59
    at_work = replace(events[-2], lease=1)
    assert any("comes while the sweep runs" in sentence for sentence in replay(spec, [*events[:-2], at_work]))


def tampered(events: list[Event], **fields: Any) -> list[Event]:
    return [replace(e, fields={**e.fields, **fields}) if e.type == "sweep.extended" else e for e in events]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"trials": [0, 1]}, "had ended by an old limit"),
        ({"changed": {"budget": {"trials": 2}}}, "lowers"),
        ({"changed": {"objective": {"mode": "min"}}}, "changes objective"),
        ({"changed": {"budget": {"trials": "many"}}}, "cannot be read"),
    ],
)
def test_verify_finds_an_extension_that_cannot_have_been(fields: dict[str, Any], says: str) -> None:
    spec = described({"trials": 4}, checkpoints={"keep_top": 1})
    events = simulate(spec, more=More(epochs=2)).events
    assert replay(spec, events) == []
    assert any(says in sentence for sentence in replay(spec, tampered(events, **fields)))


@pytest.mark.slow
def test_real_trials_go_on_to_where_longer_ones_come(tmp_path: Path) -> None:
    """With the epochs, and so on a CPU the metrics to the bit, of a sweep that was launched with these limits."""
    fields: dict[str, Any] = {"searcher": "random", "scheduler": "fifo"}
    launch(tiny(trainer={"max_epochs": 3}, budget={"trials": 2}, **fields), tmp_path / "short", local=True)
    found = extend("tiny", tmp_path / "short", trials=1, epochs=2, local=True)
    longer = launch(tiny(trainer={"max_epochs": 5}, budget={"trials": 3}, **fields), tmp_path / "long", local=True)
    assert found.exit_code == 0
    for number, trial in longer.state.trials.items():
        mine = found.state.trials[number]
        assert mine.params == trial.params
        assert [mine.value(epoch, "val_loss") for epoch in range(1, 6)] == [
            trial.value(epoch, "val_loss") for epoch in range(1, 6)
        ]
    assert check(found.run).violations == []
    assert "max_epochs: 3" in found.run.spec.read_text(), "spec.yaml stays as launched"
    events = list(read(found.run.journal))
    assert [event["trials"] for event in events if event.type == "sweep.extended"] == [[0, 1]]
    with pytest.raises(UsageError, match="a time such as 4h"):
        extend("tiny", tmp_path / "short", wall_clock="soon")
    assert len(list(read(found.run.journal))) == len(events)


@pytest.mark.parametrize("trials", [3, 12, 25])
def test_hyperband_goes_on_with_its_brackets(trials: int) -> None:
    """A bracket that the budget had cut short is decided without those that come now; they are compared with it."""
    short = described({"trials": trials}, scheduler={"name": "hyperband", "reduction_factor": 2})
    ran = simulate(short, more=More(trials=9), slots=2)
    assert not ran.violations
    assert not replay(short, ran.events)
    assert len(ran.state.trials) == trials + 9
    assert ran.state.count("finished", "stopped") == trials + 9


@pytest.mark.parametrize(
    ("scheduler", "more"),
    [("hyperband", More(epochs=3)), ("pbt", More(epochs=3)), ("pbt", More(trials=3)), ("pb2", More(trials=3))],
)
def test_what_a_scheduler_has_shared_out_is_not_extended(scheduler: str, more: More) -> None:
    ran = simulate(described({"trials": 6}, scheduler=scheduler, searcher="random"))
    with pytest.raises(UsageError, match=f"scheduler {scheduler}"):
        extension(ran.state, more)


@pytest.mark.slow
def test_a_trial_that_its_max_time_ended_gets_more_time(tmp_path: Path) -> None:
    model = {"class_path": "tests.support.tiny.Tiny", "init_args": {"pause": 0.05}}
    fields = {"model": model, "trainer": {"max_time": {"seconds": 1}}, "scheduler": "fifo", "searcher": "random"}
    first = launch(tiny(**fields, budget={"trials": 2}), tmp_path, local=True)
    assert {trial.status for trial in first.state.trials.values()} == {"finished"}
    second = extend("tiny", tmp_path, by="2 seconds", local=True)
    for number, trial in second.state.trials.items():
        assert trial.progress > first.state.trials[number].progress + 0.5
    assert check(second.run).violations == []


@pytest.mark.parametrize("by", [0.25, 0.5, 1.0, 2.25])
def test_an_end_within_an_epoch_can_be_moved(by: float) -> None:
    short = described({"trials": 4}, trainer={"val_check_interval": 0.25}, progress={"unit": "epochs", "until": 1.5})
    extended = simulate(short, more=More(progress=by))
    assert {trial.progress for trial in extended.state.trials.values()} == {1.5 + by}
    assert replay(short, extended.events) == []
