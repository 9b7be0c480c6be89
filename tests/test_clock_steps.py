"""Budgets and durations count time that passed: a clock that is set and a suspended machine cost nothing."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.engine import recorded_curves
from orchestrator.journal import Event, Journal, SteadyTime, decode, encode, read
from orchestrator.policies import budget
from orchestrator.state import SweepState
from tests.support.budget_specs import described

DAY = 86_400.0


class Clocks:
    """A wall clock that can be set, and a monotonic one that cannot; a suspended machine stops the latter alone."""

    def __init__(self) -> None:
        self.wall, self.monotonic = 1_790_000_000.0, 5_000.0

    def pass_time(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds

    def jump(self, seconds: float) -> None:
        self.wall += seconds


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Clocks:
    clocks = Clocks()
    monkeypatch.setattr(time, "time", lambda: clocks.wall)
    monkeypatch.setattr("orchestrator.journal.steady_time.monotonic", lambda: clocks.monotonic)
    return clocks


@pytest.fixture
def journal(tmp_path: Path, clocks: Clocks) -> Journal:
    return Journal.create(tmp_path / "run" / "journal.jsonl")


def write_sweep(journal: Journal, clocks: Clocks, jumps: dict[int, float]) -> list[Event]:
    """One trial of four epochs of ten seconds each; before epoch N the clock jumps by ``jumps[N]``."""
    spec = described({"trials": 6, "gpu_hours": 1.0}).model_dump(mode="json")
    journal.append("sweep.created", format=1, spec=spec, seed=0, versions={})
    journal.append("sweep.launched", engine="noop", slots=1, threads=1, hardware={})
    journal.append("trial.suggested", trial=0, params={}, by="random", sync=False)
    journal.append("segment.started", trial=0, segment=0, node="a", origin=None)
    for epoch in range(1, 5):
        clocks.pass_time(10)
        clocks.jump(jumps.get(epoch, 0.0))
        journal.append("segment.reported", trial=0, segment=0, epoch=epoch, metrics={"loss": 1.0})
    journal.append("trial.finished", trial=0, segment=0, epoch=4)
    journal.close()
    return list(read(journal._store.path))  # type: ignore[attr-defined]


@pytest.mark.parametrize("jumps", [{}, {2: DAY}, {2: -DAY}, {1: 5.0, 3: -DAY, 4: 3600.0}, {1: 0.06, 2: 0.06, 3: 0.06}])
def test_a_clock_that_was_set_costs_nothing(jumps: dict[int, float], journal: Journal, clocks: Clocks) -> None:
    events = write_sweep(journal, clocks, jumps)
    state = SweepState(events)
    assert state.active_seconds == pytest.approx(40, abs=0.2)
    assert state.trial_seconds == pytest.approx(40, abs=0.2)
    assert budget.spent(described({"trials": 6, "gpu_hours": 1.0}), state) is None
    trial = state.trials[0]
    assert trial.steady_ended - trial.steady_started == pytest.approx(40, abs=0.2)
    assert recorded_curves._rate(trial) == pytest.approx(10, abs=0.2)


def test_the_time_on_record_is_the_wall_clocks(journal: Journal, clocks: Clocks) -> None:
    """For display: after the clock was corrected, the right time is shown."""
    began = clocks.wall
    events = write_sweep(journal, clocks, {2: DAY})
    assert events[-1].time == pytest.approx(began + 40 + DAY)
    assert SweepState(events).updated == events[-1].time


def test_only_jumps_are_on_record(journal: Journal, clocks: Clocks) -> None:
    events = write_sweep(journal, clocks, {3: DAY})
    assert [event.fields.get("epoch") for event in events if event.passed is not None] == [3]
    assert [event.passed for event in events if event.passed is not None] == [10.0]


def test_a_jump_before_a_record_that_could_not_be_written_is_noted_with_the_next(
    journal: Journal, clocks: Clocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal.append("sweep.paused", reason="first")
    clocks.pass_time(10)
    clocks.jump(DAY)
    real, faults = type(journal._store).append, [OSError(5, "the disk fails")]

    def fails_once(self: Any, line: bytes, *, sync: bool) -> None:
        if faults:
            raise faults.pop()
        real(self, line, sync=sync)

    monkeypatch.setattr(type(journal._store), "append", fails_once)
    with pytest.raises(OSError, match="fails"):
        journal.append("sweep.paused", reason="lost")
    clocks.pass_time(7)
    journal.append("sweep.paused", reason="second")
    journal.close()
    events = list(read(journal._store.path))  # type: ignore[attr-defined]
    assert [event.passed for event in events] == [None, 17.0]


def test_times_of_a_journal_without_jumps_are_taken_as_they_are() -> None:
    """Journals of version 0.1.0 have no jumps on record; what they say of time stays the same to the bit."""
    clock = SteadyTime()
    times = [1_790_000_000.123, 1_790_000_003.456, 1_790_000_001.0]
    assert [clock.of(Event(seq, 1, time, "x")) for seq, time in enumerate(times)] == times


def test_a_jump_reads_back_as_it_was() -> None:
    event = Event(3, 1, 12.5, "trial.finished", {"trial": 0}, 0.25)
    assert decode(encode(event)) == event
    assert b'"type":"trial.finished","passed":0.25,"trial":0' in encode(event)
    assert decode(encode(replace(event, passed=None))).passed is None


def test_the_monotonic_clock_stops_while_the_machine_is_suspended() -> None:
    from orchestrator.journal import steady_time

    assert vars(steady_time)["monotonic"] is time.monotonic
    assert "CLOCK_BOOTTIME" not in time.get_clock_info("monotonic").implementation
