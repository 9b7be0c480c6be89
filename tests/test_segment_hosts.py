"""The journal names the host of a segment with its first message, since Ray places it after it was journaled."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.engine.failure_policy import SegmentFailure
from orchestrator.engine.tune.loss_diagnosis import host_of, record_host
from orchestrator.journal.records import encode
from orchestrator.results.failure_groups import failure_groups
from orchestrator.results.figures.timeline import records, timeline_from
from orchestrator.rundir import RunDirectory
from orchestrator.training import Checkpoint, Interim, Job, Report
from tests.support.budget_specs import described
from tests.support.virtual_sweeps import VirtualSweep


def placed_later() -> tuple[VirtualSweep, Job]:
    """A sweep on a cluster: nobody knows yet where its first segment runs."""
    sweep = VirtualSweep(described({"trials": 2}))
    job = sweep.controller.next_job("")
    assert isinstance(job, Job)
    assert sweep.controller.state.trials[0].node == "", "not the driver's host"
    return sweep, job


def test_a_segment_that_fails_before_its_first_report_names_its_own_host() -> None:
    sweep, job = placed_later()
    sweep.controller.on_failure(job.trial, job.segment, SegmentFailure("lost", "m", "f"), "w1")
    state = sweep.controller.state
    assert [failure.node for failure in state.trials[0].failures] == ["w1"]
    assert [group.nodes for group in failure_groups(state)] == [{"w1"}]
    assert state.is_suspect_node("w1", 1)


def test_a_failure_on_a_host_that_nobody_knows_blames_none() -> None:
    sweep, job = placed_later()
    sweep.controller.on_loss(job.trial, job.segment, "m")
    state = sweep.controller.state
    assert [failure.node for failure in state.trials[0].failures] == [""]
    assert [group.nodes for group in failure_groups(state)] == [set()]
    assert not any(state.is_suspect_node(node, 1) for node in ("", sweep.host.name))


@pytest.mark.parametrize("first", ["report", "checkpoint"])
def test_the_host_is_written_once(first: str, tmp_path: Path) -> None:
    sweep, job = placed_later()
    saved = Checkpoint("trials/0000/checkpoints/a.ckpt", 10, "0" * 64, 0.5)
    sweep.world.files[saved.path] = (10, "0" * 64)
    if first == "checkpoint":
        assert sweep.controller.on_interim(job.trial, job.segment, Interim(0.5, saved, step=1), "w1")
        assert sweep.controller.state.trials[0].node == "w1"
    for epoch in (1, 2):
        report = Report(epoch, {"val_acc": 0.5}, None)
        assert sweep.controller.on_report(job.trial, job.segment, report, "w1")
    named = [event.type for event in sweep.events if event.fields.get("node") == "w1"]
    assert named == ["segment.checkpointed" if first == "checkpoint" else "segment.reported"]

    run = RunDirectory(tmp_path / "run")
    run.root.mkdir()
    Path(run.journal).write_bytes(b"".join(map(encode, sweep.events)))
    state = sweep.controller.state
    lanes = timeline_from(records(run, state.seq), state).lanes
    assert list(lanes) == [("w1", 0)], "the timeline's row is the host where it ran"


def test_a_lost_process_has_left_the_name_of_its_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, job = placed_later()
    job = replace(job, folder=str(tmp_path / "run" / "trials" / "0000"))
    monkeypatch.setattr("socket.gethostname", lambda: "w7")
    record_host(job, "0a1b")
    assert host_of(job) == "w7"
    assert host_of(replace(job, segment=3)) == "", "it never began"
