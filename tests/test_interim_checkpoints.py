"""Checkpoints between two reports in the journal: what resumes from them, when they go, and what `verify` finds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from orchestrator.engine.failure_policy import SegmentFailure
from orchestrator.engine.virtual_cluster import World
from orchestrator.journal import Event
from orchestrator.results.journal_replay import JournalReplay
from orchestrator.rundir.removal import is_checkpoint, is_checkpoint_or_part
from orchestrator.state import SweepState
from orchestrator.training import Checkpoint, Interim, Job, Report
from orchestrator.training.checkpoint_names import checkpoint_name
from tests.support.budget_specs import described
from tests.support.virtual_sweeps import VirtualSweep

STEPS = 100  # of an epoch


def sweep(world: World | None = None, **fields: Any) -> VirtualSweep:
    return VirtualSweep(described({"trials": 2}, trainer={"max_epochs": 5}, **fields), world)


def save(sweep: VirtualSweep, job: Job, epoch: float, **fields: Any) -> bool:
    """Save a checkpoint between two reports, as a worker does."""
    whole, batch = divmod(round(epoch * STEPS), STEPS)
    path = f"trials/{job.trial:04d}/checkpoints/{checkpoint_name(whole, job.segment, batch)}"
    sweep.world.files[path] = (10, "0" * 64)
    saved = Checkpoint(path, 10, "0" * 64, epoch)
    measures = {"step": round(epoch * STEPS), "samples": round(epoch * STEPS), "seconds": epoch, **fields}
    return sweep.controller.on_interim(job.trial, job.segment, Interim(epoch, saved, **measures))


def within_the_second_epoch() -> tuple[VirtualSweep, Job]:
    """A sweep whose trial has reported its first epoch and saved a checkpoint at 1.4."""
    driver = sweep()
    job = driver.job()
    driver.report(job, 1, 0.5)
    save(driver, job, 1.4)
    return driver, job


def violations(sweep: VirtualSweep, events: list[Event] | None = None) -> list[str]:
    replay = JournalReplay(sweep.spec)
    for event in events or sweep.events:
        replay.take(event)
    return replay.violations


def names(sweep: VirtualSweep) -> list[str]:
    return sorted(path.rpartition("/")[2] for path in sweep.world.files)


def lost(sweep: VirtualSweep, job: Job, kind: str = "preempted") -> None:
    sweep.controller.on_failure(job.trial, job.segment, SegmentFailure(kind, kind, kind))


def test_a_segment_starts_from_the_newest_checkpoint_and_the_older_one_goes() -> None:
    driver = sweep()
    job = driver.job()
    for epoch in (0.2, 0.4):
        assert save(driver, job, epoch)
    assert names(driver) == ["epoch=0000-batch=000040-segment=0.ckpt"]
    lost(driver, job)
    again = driver.job()
    assert again.checkpoint is not None
    assert again.checkpoint["path"].endswith("epoch=0000-batch=000040-segment=0.ckpt")
    assert again.checkpoint["epoch"] == 0.4
    assert driver.report(again, 1, 0.5)
    assert names(driver) == ["epoch=0001-segment=1.ckpt"], "the report's checkpoint is newer"
    assert driver.controller.state.trials[0].interim is None
    assert violations(driver) == []


def test_another_driver_starts_from_it_too_and_every_view_is_that_of_the_journal() -> None:
    driver, _ = within_the_second_epoch()
    after = driver.again()
    assert names(driver) == ["epoch=0001-batch=000040-segment=0.ckpt", "epoch=0001-segment=0.ckpt"]
    assert after.job().checkpoint == {
        "path": "trials/0000/checkpoints/epoch=0001-batch=000040-segment=0.ckpt",
        "size": 10,
        "sha256": "0" * 64,
        "epoch": 1.4,
    }
    live, replayed = after.controller.state.trials[0], SweepState(after.events).trials[0]
    assert live == replayed
    assert violations(after) == []


def test_what_is_trained_counts_once() -> None:
    driver = sweep()
    job = driver.job()
    save(driver, job, 0.5)
    assert driver.controller.state.trained["steps"] == STEPS // 2
    lost(driver, job)
    job = driver.job()
    driver.report(job, 1, 0.5)
    assert driver.controller.state.trained["epochs"] == 1
    save(driver, job, 1.5)
    save(driver, job, 1.75)
    lost(driver, job)
    driver.report(driver.job(), 2, 0.5)
    assert driver.controller.state.trained["epochs"] == 2


def test_a_checkpoint_that_cannot_be_read_falls_back_to_the_last_report() -> None:
    driver, job = within_the_second_epoch()
    lost(driver, job)
    again = driver.job()
    lost(driver, again, "checkpoint")
    third = driver.job()
    assert third.checkpoint is not None
    assert third.checkpoint["epoch"] == 1
    driver.report(third, 2, 0.4)
    assert violations(driver) == []


def test_after_the_batches_were_halved_it_starts_from_the_last_report() -> None:
    driver, job = within_the_second_epoch()
    lost(driver, job, "memory")
    again = driver.job()
    assert again.checkpoint is not None
    assert again.checkpoint["epoch"] == 1
    save(driver, again, 1.3)
    lost(driver, again)
    assert driver.job().checkpoint["epoch"] == 1.3  # type: ignore[index]
    assert violations(driver) == []


@pytest.mark.parametrize(("end", "left"), [("finished", 1), ("failed", 2), ("stopped", 1)])
def test_an_ended_trial_keeps_it_only_for_a_retry(end: str, left: int) -> None:
    driver, job = within_the_second_epoch()
    if end == "finished":
        driver.controller.on_end(job.trial, job.segment)
    elif end == "failed":
        lost(driver, job, "user")
    else:
        driver.host.stops.add(0)
        assert driver.controller.must_stop(0)
        assert driver.controller.on_stop(job.trial, job.segment)
    assert driver.controller.state.trials[0].status == end
    assert len(names(driver)) == left
    assert violations(driver) == []


def test_a_quota_removes_that_of_a_failed_trial_and_says_so() -> None:
    driver = sweep(checkpoints={"quota": 15})
    job = driver.job()
    driver.report(job, 1, 0.5)
    save(driver, job, 1.4)
    lost(driver, job, "user")
    other = driver.job()
    driver.report(other, 1, 0.4)
    driver.controller.on_end(other.trial, other.segment)
    removed = [event for event in driver.events if event.type == "checkpoints.removed"]
    assert [event.fields.get("interim") for event in removed] == [[0]]
    assert driver.controller.state.trials[0].interim is None
    assert SweepState(driver.events).trials[0].interim is None
    assert "epoch=0001-batch=000040-segment=0.ckpt" not in names(driver)


def test_retries_are_counted_from_the_last_checkpoint() -> None:
    driver = sweep()
    for number in range(1, 10):
        job = driver.job()
        save(driver, job, number / 20)
        lost(driver, job, "lost")
    assert driver.controller.state.count("interrupted") == 1
    for _ in range(3):
        lost(driver, driver.job(), "lost")
    assert driver.controller.state.count("failed") == 1


def test_one_that_moves_back_fails_the_segment() -> None:
    driver = sweep()
    job = driver.job()
    driver.report(job, 1, 0.5)
    assert not save(driver, job, 0.9)
    trial = driver.controller.state.trials[0]
    assert trial.status == "failed"
    assert trial.failures[0].message == (
        "ProgressError: it saves epoch 0.9 after its report of epoch 1: something moved the training back"
    )


def test_the_first_report_after_it_lies_within_the_span_of_the_last_report() -> None:
    driver = sweep()
    job = driver.job()
    driver.report(job, 1, 0.5)
    save(driver, job, 1.9)
    lost(driver, job)
    assert not driver.report(driver.job(), 3, 0.4)  # 2 comes next
    failed = driver.controller.state.trials[0].failures[-1]
    assert failed.message.endswith("from which its segment started: it skipped 1 epoch")


def test_validations_that_reported_nothing_are_counted_across_it() -> None:
    driver = sweep()
    job = driver.job()
    assert save(driver, job, 1.5, unreported=1)
    lost(driver, job)
    job = driver.job()
    saved = Checkpoint("trials/0000/checkpoints/epoch=0002-segment=1.ckpt", 10, "0" * 64, 2)
    report = Report(2, {driver.spec.objective.metric: 0.5}, saved, unreported=1)
    assert driver.controller.on_report(job.trial, job.segment, report)
    assert violations(driver) == []


def forged(sweep: VirtualSweep, **fields: Any) -> list[str]:
    events = list(sweep.events)
    place = next(n for n, event in enumerate(events) if event.fields.get("interim"))
    events[place] = replace(events[place], fields={**events[place].fields, **fields})
    return violations(sweep, events)


def test_verify_knows_where_it_may_lie() -> None:
    driver, job = within_the_second_epoch()
    driver.report(job, 2, 0.5)
    assert violations(driver) == []
    assert any("has progress 1.4, but epochs 0.9" in each for each in forged(driver, epoch=0.9))
    assert any("moved the training back" in each for each in forged(driver, epoch=0.9, progress=0.9))
    assert any("moved the training back" in each for each in forged(driver, epoch=2.4, progress=2.4))
    assert any("is outside the run directory" in each for each in forged(driver, path="../elsewhere"))
    events = [event for event in driver.events if event.type != "segment.started"]
    assert any("which is not running" in each for each in violations(driver, events))


def test_its_file_is_a_checkpoint_for_every_removal() -> None:
    path = f"trials/0000/checkpoints/{checkpoint_name(3, 1, 17)}"
    assert is_checkpoint(path)
    assert is_checkpoint_or_part("trials/0000/checkpoints/." + path.rpartition("/")[2] + ".123.tmp")
