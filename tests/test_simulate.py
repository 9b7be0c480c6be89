"""The simulator: a seed replays its run, thousands of faults break no promise, and planted bugs are found."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.engine.controller import SweepController
from orchestrator.engine.learning_curves import Table, synthetic
from orchestrator.journal import Event, Journal
from orchestrator.journal.records import parse
from orchestrator.results.verify import replay
from orchestrator.state import SweepState, Trial
from orchestrator.testing import Crash, Faults, simulate
from orchestrator.testing.faults import FaultyLease
from tests.chaos.simulate import MEASURES, SHARES, SLOW, Case, curve, many, spec, story, violations
from tests.support.markers import sampled

SEEDS = 20_000
SAMPLE = 60
PLANTED = 120  # seeds in which each planted bug must show


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seeds", sampled([SAMPLE, SEEDS], slow=[SEEDS]))
def test_mixed_faults_break_no_promise(seeds: int) -> None:
    found = many(0, seeds, processes=2)
    assert not found.found, "\n".join(f"seed {seed}: {what}" for seed, what in found.found[:10])
    came = {"crash before", "crash torn", "crash written", "crash synced", "power", "fenced off", "full", "damage"}
    came |= {"lost", "memory", "node", "late", "twice", "slow", "stop", "end", "promote", "orphaned checkpoint"}
    came |= {"interim", "checkpoint between reports"}
    came |= {f"measured in {measure}" for measure in MEASURES}
    came |= {f"searcher {searcher}" for searcher in SHARES if seeds == SEEDS or searcher not in SLOW}
    assert not {fault for fault in came if not found.counters[fault]}, "a fault that never came tests nothing"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("seed", [3542, 16780])
def test_a_promoted_trial_that_lost_its_checkpoint_is_not_set_aside_at_that_rung_again(seed: int) -> None:
    """It was, and its fresh checkpoint passed over for the damaged one's failure: it never got any further."""
    case = Case.of(seed)
    assert not list(violations(case, case.run()))


def test_an_extended_trial_reports_at_the_same_places_from_its_last_checkpoint_and_from_an_earlier_one() -> None:
    """Its last report before lay at the end, ahead of its place; that place was left out after the extension."""
    case = Case.of(18243)
    ran = case.run()
    first, again = [event for event in ran.events if event.type == "segment.started" and event["trial"] == 0][:2]
    assert (first["origin"], again["origin"]) == (None, "trials/0000/checkpoints/epoch=0001-segment=0.ckpt")
    places = {event.progress for event in case.reference.events if event.type == "segment.reported"}
    assert {300, 344.091199} <= places
    assert not list(violations(case, ran))


@pytest.mark.slow
def test_a_seed_replays_its_run_to_the_byte() -> None:
    for seed in range(40):
        first, again = Case.of(seed).run(), Case.of(seed).run()
        assert first.journal == again.journal
        assert first.counters == again.counters
    assert Case.of(1).run().journal != Case.of(3).run().journal


@pytest.mark.slow
def test_a_crash_at_every_append_of_one_sweep_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """One worker, ASHA, every append in turn the last, in each of its four ways, with and without the power."""
    from orchestrator.testing import faults

    described = spec("random", "asha 2", 4, 3)
    unbroken = simulate(described)
    fatal, count = (0, ""), 0

    def peril(world: Any) -> str:
        nonlocal count
        count += 1
        return fatal[1] if count == fatal[0] else ""

    monkeypatch.setattr(faults.FaultyWorld, "append_fault", peril)
    for number in range(1, len(unbroken.events) + 1):
        for point in ("before", "torn", "written", "synced"):
            for power in (0.0, 1.0):
                fatal, count = (number, point), 0
                ran = simulate(described, faults=Faults(power=power), seed=number)
                assert not ran.violations + replay(described, ran.events), (number, point, power)
                assert story(ran.events) == story(unbroken.events), (number, point, power)


@pytest.mark.parametrize("searcher", sampled(SHARES, slow=SLOW))
def test_interrupted_at_every_report_a_searcher_suggests_what_it_would_have(
    searcher: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestrator.testing import faults

    described = spec(searcher, "asha 2", 6 if searcher == "gp" else 8, 3)
    unbroken = simulate(described, curve=curve)
    reports = [event.seq for event in unbroken.events if event.type == "segment.reported"]
    fatal, count = 0, 0

    def peril(world: Any) -> str:
        nonlocal count
        count += 1
        return "written" if count == fatal else ""

    monkeypatch.setattr(faults.FaultyWorld, "append_fault", peril)
    for seq in reports[-3:] if searcher == "gp" else reports:
        fatal, count = seq + 1, 0
        ran = simulate(described, curve=curve, seed=seq, faults=Faults())
        assert ran.events[-1].lease == 2, "it was interrupted once"
        assert not ran.violations + replay(described, ran.events), seq
        assert story(ran.events) == story(unbroken.events), seq


def test_workers_share_the_clock() -> None:
    described = spec("random", "fifo", 8, 4)
    alone, four = simulate(described), simulate(described, slots=4)
    assert alone.seconds == pytest.approx(8 * 4, rel=0.1)
    assert four.seconds == pytest.approx(8, rel=0.15)
    assert story(alone.events) == story(four.events)


@pytest.mark.slow
def test_the_simulator_loads_neither_torch_nor_ray() -> None:
    code = (
        "import sys; from tests.chaos.simulate import Case; Case.of(0).run();"
        "print(*[name for name in ('torch', 'lightning', 'ray') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert answer.stdout.split() == []


def test_a_table_answers_with_its_nearest_row() -> None:
    rows = [{"rate": 1e-4, "kind": "a"}, {"rate": 1e-2, "kind": "a"}, {"rate": 1e-2, "kind": "b"}]
    table = Table(rows)
    assert [table.nearest(row) for row in rows] == [0, 1, 2]
    assert table.nearest({"rate": 2e-3, "kind": "a"}) == 1, "nearer on a logarithmic scale"
    assert table.nearest({"rate": 5e-4, "kind": "a"}) == 0


def test_the_synthetic_curve_is_a_function_of_parameters_and_epoch() -> None:
    curve = synthetic("loss", "min", noise=0.0)
    params = {"model.learning_rate": 0.01, "model.kind": "a"}
    losses = [curve(params, epoch)["loss"] for epoch in range(1, 9)]
    assert losses == sorted(losses, reverse=True)
    assert losses == [curve(dict(reversed(params.items())), epoch)["loss"] for epoch in range(1, 9)]
    assert curve({**params, "model.kind": "b"}, 3) != curve(params, 3)


def never_durable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks is answered before the record is durable."""
    real = Journal.append
    monkeypatch.setattr(Journal, "append", lambda self, type, sync=True, **f: real(self, type, sync=False, **f))


def torn_tail_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a crash left of a line is appended to."""

    def for_store(store: Any, right: Any) -> Journal:
        length = sum(1 for _ in parse(store.lines()))
        return Journal(store, right, length, sum(len(line.content) for line in store.lines()))

    monkeypatch.setattr(Journal, "for_store", for_store)


def verdict_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """A verdict that a dead process owed is not paid."""
    monkeypatch.setattr(SweepController, "_replay_pending_decision", lambda self: None)


def finished_runs_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first job after a resume is a trial that has finished."""
    real = SweepController.next_job

    def next_job(self: SweepController) -> Any:
        job = real(self)
        done = [t for t in self.state.trials.values() if t.status == "finished" and t.segments == 1]
        return self._start_segment(done[0], "", "") if self.journal.lease > 1 and done and job != "none_left" else job

    monkeypatch.setattr(SweepController, "next_job", next_job)


def fencing_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that was taken over goes on."""
    monkeypatch.setattr(FaultyLease, "require", lambda self: None)


def unreported_epoch_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A segment goes on behind an epoch whose report was lost."""
    origins = property(lambda self: [self.checkpoints[epoch] for epoch in sorted(self.checkpoints, reverse=True)])
    monkeypatch.setattr(Trial, "restart_checkpoints", origins)


def twice_counts_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports are believed whenever they come, from whatever segment."""
    monkeypatch.setattr(SweepController, "_running_trial", lambda self, trial, segment: self.state.trials.get(trial))


def wrong_place_at_the_rung(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver judges by what it has seen itself, not by what is in the journal."""
    real = SweepController._apply

    def fold(self: SweepController, event: Event) -> None:
        seen = self._observer is not None or self.journal.lease == event.lease
        scheduler = self._scheduler
        if not seen:
            self._scheduler = _Blind()  # type: ignore[assignment]
        real(self, event)
        self._scheduler = scheduler

    monkeypatch.setattr(SweepController, "_apply", fold)


class _Blind:
    def observe(self, event: Event) -> None:
        return


@pytest.mark.parametrize(
    "plant",
    [
        never_durable,
        torn_tail_stays,
        verdict_forgotten,
        finished_runs_again,
        fencing_ignored,
        unreported_epoch_counts,
        twice_counts_twice,
        wrong_place_at_the_rung,
    ],
)
def test_a_planted_bug_is_found_and_its_seed_replays_it(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    Case.of(0).run()
    plant(monkeypatch)
    seed, found = next(((seed, found) for seed in range(PLANTED) if (found := outcome(seed))), (-1, []))
    assert found, "not found"
    assert outcome(seed) == found
    monkeypatch.undo()
    assert outcome(seed) == []


def outcome(seed: int) -> list[str]:
    case = Case.of(seed)
    if case.searcher in SLOW:  # slow, and none of these bugs is about it
        return []
    try:
        return list(violations(case, case.run()))
    except (Exception, Crash) as error:
        return [repr(error)]


def renumbered(events: list[Event]) -> list[Event]:
    return [replace(event, seq=seq) for seq, event in enumerate(events)]


def first(events: list[Event], type: str) -> int:
    return next(index for index, event in enumerate(events) if event.type == type)


def changed(events: list[Event], type: str, **fields: Any) -> list[Event]:
    index = first(events, type)
    event = events[index]
    return [*events[:index], replace(event, fields={**event.fields, **fields}), *events[index + 1 :]]


def without(events: list[Event], type: str) -> list[Event]:
    index = first(events, type)
    return events[:index] + events[index + 1 :]


def doubled(events: list[Event], type: str) -> list[Event]:
    index = first(events, type)
    return events[: index + 1] + events[index:]


UNTRUE: dict[str, Callable[[list[Event]], list[Event]]] = {
    "other parameters": lambda events: changed(events, "trial.suggested", params={"model.width": 3}),
    "another rule": lambda events: changed(events, "trial.stopped", rule="median"),
    "another place": lambda events: changed(events, "trial.stopped", why={"rung": 1}),
    "another segment": lambda events: changed(events, "segment.started", segment=1),
    "another epoch": lambda events: changed(events, "trial.finished", epoch=99),
    "a path outside": lambda events: changed(events, "segment.checkpointed", path="../../etc/passwd"),
    "a field of the wrong kind": lambda events: changed(events, "segment.reported", metrics=None),
    "a trial that is not there": lambda events: changed(events, "segment.started", trial=77),
    **{
        f"no {type}": lambda events, type=type: without(events, type)  # type: ignore[misc]
        for type in (
            "sweep.created", "sweep.launched", "trial.suggested", "segment.started", "segment.reported",
            "trial.stopped", "trial.finished",
        )
    },
    **{
        f"two of {type}": lambda events, type=type: doubled(events, type)  # type: ignore[misc]
        for type in (
            "sweep.created", "trial.suggested", "segment.started", "segment.reported", "trial.stopped",
            "trial.finished",
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("name", UNTRUE)
def test_replay_finds_what_cannot_have_happened(name: str) -> None:
    described = spec("random", "asha 2", 6, 5)
    events = simulate(described, slots=2).events
    assert replay(described, events) == []
    found = replay(described, renumbered(UNTRUE[name](events)))
    assert found
    assert all(sentence.startswith("record ") for sentence in found)


def test_every_prefix_of_a_journal_replays() -> None:
    """A process may die after any record, and what is there then is no violation."""
    case = Case.of(8)
    events = case.run().events
    for length in range(1, len(events) + 1):
        assert replay(case.spec, events[:length]) == []
        SweepState(events[:length])
