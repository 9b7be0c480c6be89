"""A segment continues where it started: a report that does not fails its segment there and then, and replaces none."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.engine.failure_policy import SegmentFailure
from orchestrator.engine.segment_runner import attempt
from orchestrator.journal import Event
from orchestrator.results.verify import missing_winner, replay
from orchestrator.spec import SweepSpec
from orchestrator.state import SweepState
from orchestrator.training import Job, Report
from tests.support.budget_specs import described
from tests.support.virtual_sweeps import VirtualSweep

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")


def spec(**fields: Any) -> SweepSpec:
    return described({"trials": 2}, **fields)


def resumed(*values: float, **fields: Any) -> tuple[VirtualSweep, Job]:
    """A trial that has reported these values, lost its process, and resumes from its last checkpoint."""
    sweep = VirtualSweep(spec(**fields))
    job = sweep.job()
    for epoch, value in enumerate(values, 1):
        assert sweep.report(job, epoch, value)
    sweep.controller.on_failure(job.trial, job.segment, SegmentFailure("lost", "m", "f"))
    return sweep, sweep.job()


@pytest.mark.parametrize(("epoch", "says"), [(1, "moved the training back"), (3, "moved"), (5, "skipped 1 epoch")])
def test_a_resumed_segment_that_does_not_continue_from_its_checkpoint_fails(epoch: int, says: str) -> None:
    sweep, job = resumed(0.1, 0.2, 0.3)
    before = [event for event in sweep.events if event.type == "segment.reported"]
    assert not sweep.report(job, epoch, 0.9)
    trial = sweep.controller.state.trials[job.trial]
    assert (trial.status, trial.failures[-1].kind) == ("failed", "progress")
    assert f"reports epoch {epoch} after epoch 3, from which its segment started" in trial.failures[-1].message
    assert says in trial.failures[-1].message
    assert [event for event in sweep.events if event.type == "segment.reported"] == before
    assert [trial.value(epoch, "val_acc") for epoch in (1, 2, 3)] == [0.1, 0.2, 0.3]
    assert not sweep.report(job, 4, 0.9)
    assert replay(sweep.spec, sweep.events) == []


def test_a_segment_that_reports_an_epoch_again_with_other_values_fails() -> None:
    sweep, job = resumed(0.1)
    assert sweep.report(job, 2, 0.2)
    assert sweep.report(job, 3, math.nan) is False  # a scheduler's stop, not a failure
    sweep, job = resumed(0.1)
    assert sweep.report(job, 2, 0.2)
    assert sweep.report(job, 2, 0.2), "the same report may arrive twice"
    assert not sweep.report(job, 2, 0.25)
    assert "after its report of epoch 2" in sweep.controller.state.trials[0].failures[-1].message
    assert sweep.controller.state.trials[0].value(2, "val_acc") == 0.2


@pytest.mark.parametrize(("epoch", "continues"), [(3, True), (4, True), (5, False), (2, False)])
def test_the_first_report_is_at_most_one_validation_ahead(epoch: int, continues: bool) -> None:
    sweep, job = resumed(0.1, 0.2, trainer={"max_epochs": 20, "check_val_every_n_epoch": 2})
    assert sweep.report(job, epoch, 0.3) is continues


def test_a_segment_from_another_trials_checkpoint_continues_from_there() -> None:
    sweep = VirtualSweep(described({"trials": 2}, scheduler={"name": "pbt", "interval_epochs": 1, "quantile": 0.5}))
    seen: list[tuple[int, int]] = []
    for _ in range(12):
        job = sweep.controller.next_job()
        if isinstance(job, str):
            break
        origin = job.checkpoint["epoch"] if job.checkpoint else 0
        seen.append((job.trial, origin))
        while sweep.report(job, origin := origin + 1, 0.1 * (job.trial + 1) + 0.01 * origin):
            if origin == 8:
                break
        sweep.controller.on_end(job.trial, job.segment)
    state = sweep.controller.state
    assert any(trial.takeovers for trial in state.trials.values()), seen
    assert state.count("failed") == 0


def rewound(folder: Path, **trainer: Any) -> list[Any]:
    """What a trial reports in two segments of two epochs, and the second one's failure."""
    base = {"trial": 0, "seed": 1, "metric": "val_loss", "data": {"class_path": "tests.support.tiny.TinyData"}}
    job = Job(
        segment=0,
        model={"class_path": "tests.support.tiny.Tiny", "init_args": {}},
        trainer={"max_epochs": 4, "accelerator": "cpu", **trainer},
        folder=str(folder / "run" / "trials" / "0000"),
        **base,  # type: ignore[arg-type]
    )
    reports: list[Any] = []

    def report(report: Report) -> bool:
        reports.append(report)
        return report.epoch != 2

    assert attempt(job, report) is None
    checkpoint = vars(reports[-1].checkpoint)
    failure = attempt(replace(job, segment=1, checkpoint=checkpoint), report)
    return [*(report.epoch for report in reports), failure]


@pytest.mark.parametrize("epochs", [0, 1, 3])
def test_training_that_a_callback_moves_fails_before_it_writes_a_checkpoint(epochs: int, tmp_path: Path) -> None:
    moved = {"class_path": "tests.support.rewinding.Moved", "init_args": {"epochs": epochs}}
    *reported, failure = rewound(tmp_path, callbacks=[moved])
    assert reported == [1, 2]
    assert failure.kind == "progress"
    assert f"the segment trained epoch {epochs + 1} where epoch 3 comes next" in failure.message
    names = [path.name for path in (tmp_path / "run/trials/0000/checkpoints").iterdir()]
    assert not [name for name in names if "segment=1" in name]


def test_training_that_nobody_moves_reports_each_epoch_once(tmp_path: Path) -> None:
    assert rewound(tmp_path) == [1, 2, 3, 4, None]


def finished() -> VirtualSweep:
    sweep = VirtualSweep(spec(trainer={"max_epochs": 2}))
    for _ in range(2):
        job = sweep.job()
        assert sweep.report(job, 1, 0.5 + 0.1 * job.trial)
        sweep.report(job, 2, 0.4)
        sweep.controller.on_end(job.trial, job.segment)
    sweep.controller.close()
    return sweep


def changed(events: list[Event], type: str, **fields: Any) -> list[Event]:
    """The events, with other fields in the first of a type."""
    index = next(index for index, event in enumerate(events) if event.type == type)
    return [*events[:index], replace(events[index], fields={**events[index].fields, **fields}), *events[index + 1 :]]


def test_verify_names_a_first_report_that_skips_an_epoch() -> None:
    sweep = finished()
    assert replay(sweep.spec, sweep.events) == []
    two = {"epoch": 2, "progress": 2}
    events = changed(changed(sweep.events, "segment.reported", **two), "segment.checkpointed", **two)
    assert any("it skipped 1 epoch" in sentence for sentence in replay(sweep.spec, events))


def test_verify_names_a_winner_without_the_checkpoint_of_its_best_epoch() -> None:
    events = finished().events
    state = SweepState(events)
    winner = state.winner()
    assert winner is not None
    assert (winner.number, missing_winner(state)) == (1, [])
    state.apply(Event(len(events), 1, 0.0, "checkpoints.removed", {"removed": [[1, 1]]}))
    assert missing_winner(state) == [
        "trial 1 wins by its report at epoch 1, but the checkpoint of that report was not kept"
    ]


def test_an_engine_that_ends_while_a_trial_runs_does_not_complete_the_sweep() -> None:
    sweep = VirtualSweep(spec())
    sweep.report(sweep.job(), 1, 0.5)
    sweep.controller.close()
    assert [event.type for event in sweep.events].count("sweep.completed") == 0
    assert sweep.controller.state.status == "paused"
    assert "trials [0] were running" in sweep.controller.state.reason
    forged = [
        *sweep.events[:-1],
        replace(sweep.events[-1], type="sweep.completed", fields={"reason": "all trials ended"}),
    ]
    assert any("trials [0] have not ended" in sentence for sentence in replay(sweep.spec, forged))


def test_a_stop_is_obeyed_for_a_trial_that_was_set_aside() -> None:
    """Also if no other trial runs, and although it would otherwise be promoted."""
    sweep = VirtualSweep(spec(scheduler={"name": "asha", "reduction_factor": 2, "promote": True}))
    job = sweep.job()
    assert not sweep.report(job, 1, 0.9)
    assert sweep.controller.state.trials[0].status == "set_aside"
    sweep.host.stops.add(0)
    sweep.controller.next_job()
    stopped = next(event for event in sweep.events if event.type == "trial.stopped")
    assert (stopped["trial"], stopped["rule"]) == (0, "request")
    assert sweep.controller.state.count("stopped") == 1
    assert not sweep.host.stops


def test_the_value_of_a_failed_seed_does_not_count_for_its_configuration() -> None:
    sweep = VirtualSweep(described({"trials": 4}, repeats={"seeds": 2}, trainer={"max_epochs": 1}))
    for value in (0.9, 0.8, 0.5, 0.4):
        job = sweep.job()
        sweep.report(job, 1, value)
        if job.trial == 1:
            sweep.controller.on_failure(1, job.segment, SegmentFailure("user", "m", "f"))
        sweep.controller.on_end(job.trial, job.segment)
    state = sweep.controller.state
    assert state.trials[1].status == "failed"
    assert state.configuration(0).values == [0.9]
    assert not state.configuration(0).complete
    winner = state.winner()
    assert winner is not None
    assert winner.number == 2, "a configuration with all its values ranks before one without"
