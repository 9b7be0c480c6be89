"""The time left: one number in every view, that moves between two reports and is about right."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.engine.simulator import Simulated, simulate
from orchestrator.journal import Event
from orchestrator.journal.lease import acquire
from orchestrator.plan.time_left import Forecast, TimeLeft, _likeliest, time_left
from orchestrator.results.launch_progress import Progress
from orchestrator.results.notebook import status_html
from orchestrator.results.report.sections import status_line
from orchestrator.results.run_state import read_state
from orchestrator.results.status import status_of
from orchestrator.results.terminal_tables import left_text
from orchestrator.spec import SweepSpec, from_mapping
from orchestrator.state import SweepState
from orchestrator.watch.watched_sweep import Watched
from tests.support.watched_runs import written


def described(**fields: Any) -> SweepSpec:
    return from_mapping(
        {
            "name": "timed",
            "objective": {"metric": "loss", "mode": "min"},
            "model": "no.Model",
            "space": {"model.a": {"uniform": [0.0, 1.0]}, "model.b": {"log_uniform": [1e-4, 1e-1]}},
            "searcher": "random",
            "trainer": {"max_epochs": 9},
            "budget": {"trials": 16},
            **fields,
        }
    )


def at_share(run: Simulated, share: float) -> tuple[Forecast, SweepState, float, float]:
    """The forecast and the state at a share of a sweep's time, that moment, and the seconds that were left."""
    start, end = run.events[0].time, run.events[-1].time
    now = start + share * (end - start)
    forecast, state = Forecast(), SweepState()
    for event in run.events:
        if event.time > now:
            break
        state.apply(event)
        forecast.observe(event)
    return forecast, state, now, end - now


@pytest.mark.parametrize("scheduler", ["fifo", "guarded_asha", "hyperband", "pbt"])
def test_what_is_left_is_about_what_comes(scheduler: str) -> None:
    run = simulate(described(scheduler=scheduler), seconds=lambda params, n: 30.0, slots=2, startup=5.0)
    forecast, state, now, left = at_share(run, 0.6)
    estimate = forecast.time_left(state, now)
    assert estimate.seconds == pytest.approx(left, abs=0.25 * left / 0.4), "a quarter of the whole sweep"
    assert estimate.share == pytest.approx(0.6, abs=0.15)


def test_a_trial_that_has_not_reported_yet_is_trained_like_any_other() -> None:
    """It was taken for one that has diverged, and so to end at its first report."""
    run = simulate(described(scheduler="fifo"), seconds=lambda params, n: 30.0, slots=4)
    at = next(n for n, event in enumerate(run.events) if event.type == "segment.started" and event["trial"] == 11)
    forecast, state = Forecast(), SweepState()
    for event in run.events[: at + 1]:
        state.apply(event)
        forecast.observe(event)
    assert not state.trials[11].reports
    estimate = forecast.time_left(state, state.updated).seconds
    assert estimate == pytest.approx(run.events[-1].time - state.updated, rel=0.1)


def test_the_estimate_is_the_outcome_that_most_are_near_to() -> None:
    assert _likeliest([10.0, 50.0, 10.5, 52.0, 11.0]) == pytest.approx(10.5, abs=1.0)
    assert _likeliest([0.0, 0.0, 30.0]) == 0.0


def test_it_moves_between_two_reports_and_ends_at_nothing() -> None:
    run = simulate(described(scheduler="fifo"), seconds=lambda params, n: 30.0)
    forecast, state, now, _ = at_share(run, 0.5)
    first, later = (forecast.time_left(state, now + passed).seconds for passed in (0.0, 7.0))
    assert first is not None
    assert later == pytest.approx(first - 7.0)
    assert Forecast().time_left(run.state) == TimeLeft(0.0, 1.0)


def test_a_budget_of_time_ends_it_sooner() -> None:
    spec = described(scheduler="fifo", budget={"trials": 16, "wall_clock": "10m"})
    run = simulate(spec, seconds=lambda params, n: 30.0)
    forecast, state, now, _ = at_share(run, 0.5)
    estimate = forecast.time_left(state, now)
    assert estimate.limit == "wall_clock"
    assert left_text(replace(estimate, seconds=300.0)) == "about 5 min 00 s left (until budget.wall_clock is spent)"


def test_nothing_is_said_before_the_first_report() -> None:
    events = simulate(described()).events
    state = SweepState(event for event in events[:4] if event.type != "segment.reported")
    assert Forecast().time_left(state).seconds is None
    assert left_text(TimeLeft(None, None)) == ""


def recent(events: list[Event]) -> list[Event]:
    """The events as if the last had just been written."""
    shift = time.time() - events[-1].time
    return [replace(event, time=event.time + shift) for event in events]


def test_every_view_has_the_same_number(tmp_path: Path) -> None:
    run = simulate(described(), seconds=lambda params, n: 3600.0, slots=2)
    events = run.events[: len(run.events) * 3 // 5]
    folder = written(tmp_path, recent(events))
    lease = acquire(folder.root / "lease", after=events[-1].lease)
    try:
        state = read_state(folder)
        assert state.status == "running"
        status = status_of(folder, state)
        watched = Watched(folder)
        watched.refresh()
        seconds = [status.time_left.seconds, watched.time_left().seconds, time_left(folder.journal, state).seconds]
        with Progress(folder) as progress:
            progress(state, events[-1])
            seconds.append(progress._forecast.time_left(state).seconds)
        assert seconds[0] is not None
        assert seconds == pytest.approx([seconds[0]] * 4, abs=5.0), "but for the time that this test takes"
        hours = left_text(status.time_left)[:11]
        assert hours.startswith("about")
        assert hours in status_html(status)
        assert hours in str(status_line(folder, state))
    finally:
        lease.release()


@pytest.mark.parametrize("scheduler", [{"name": "ray", "class_path": "nowhere.Foreign"}, {"name": "not_installed"}])
def test_no_code_that_a_journal_names_is_imported(scheduler: dict[str, str]) -> None:
    events = simulate(described(scheduler="fifo"), seconds=lambda params, n: 30.0).events
    created = replace(events[0], fields={**events[0].fields, "spec": {**events[0]["spec"], "scheduler": scheduler}})
    forecast, state = Forecast(), SweepState()
    for event in [created, *events[1 : len(events) // 2]]:
        state.apply(event)
        forecast.observe(event)
    assert forecast.time_left(state).seconds is None or state.count("finished")
