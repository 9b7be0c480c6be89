"""Reports at fractions of an epoch go through journal, state and replay, and old journals read as before."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.journal import Event
from orchestrator.results.journal_replay import JournalReplay
from orchestrator.state import SweepState
from orchestrator.training import Checkpoint, Report
from tests.support.budget_specs import described
from tests.support.virtual_sweeps import VirtualSweep


def fractions() -> VirtualSweep:
    """A sweep of one trial that validates twice an epoch."""
    sweep = VirtualSweep(described({"trials": 1}, trainer={"max_epochs": 1}))
    job = sweep.job()
    for index, epoch in enumerate((0.5, 1.0)):
        saved = Checkpoint(f"trials/0000/checkpoints/{index}.ckpt", 10, "0" * 64, epoch)
        metrics = {sweep.spec.objective.metric: 0.5 - epoch / 10}
        report = Report(epoch, metrics, saved, {}, 4 * index + 4, 32, 1.5, {"tokens_seen": 64.0})
        sweep.controller.on_report(job.trial, job.segment, report)
    sweep.controller.on_end(job.trial, job.segment)
    return sweep


def test_a_report_within_an_epoch_has_a_place_of_its_own() -> None:
    sweep = fractions()
    trial = sweep.controller.state.trials[0]
    assert list(trial.reports) == [0.5, 1]
    assert (trial.progress, trial.epoch, type(trial.progress)) == (1, 1, int)
    first = trial.reports[0.5]
    assert (first.epoch, first.step, first.samples, first.seconds, first.counters) == (
        0.5, 4, 32, 1.5, {"tokens_seen": 64.0},
    )  # fmt: skip
    assert sweep.controller.state.epochs == 1
    assert [event.progress for event in sweep.events if event.type == "segment.reported"] == [0.5, 1]


def test_an_old_journal_has_the_epoch_as_its_progress() -> None:
    events = fractions().events
    old = [replace(event, fields={k: v for k, v in event.fields.items() if k != "progress"}) for event in events]
    assert [list(SweepState(each).trials[0].reports) for each in (events, old)] == [[0.5, 1], [0.5, 1]]
    assert Event(0, 1, 0.0, "trial.finished", {"epoch": 3}).progress == 3
    assert Event(0, 1, 0.0, "trial.finished", {"epoch": 3, "progress": 40}).progress == 40


def test_verify_names_a_progress_that_is_not_the_reports() -> None:
    sweep = fractions()

    def violations(events: list[Event]) -> list[str]:
        replayed = JournalReplay(sweep.spec)
        for event in events:
            replayed.take(event)
        return replayed.violations

    events = list(sweep.events)
    assert violations(events) == []
    reported = next(index for index, event in enumerate(events) if event.type == "segment.reported")
    events[reported] = replace(events[reported], fields={**events[reported].fields, "epoch": 0.25})
    assert any("has progress 0.5, but epochs 0.25" in sentence for sentence in violations(events))
