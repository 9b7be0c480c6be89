"""The processes of a trial as one, real processes on this machine: order, answers, errors, ends; and the roster."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.engine.failure_policy import SegmentFailure
from orchestrator.spec import Resources
from orchestrator.spec.tpu_slices import slice_of
from orchestrator.training import Interim, Job, Report
from orchestrator.xla.no_ray_launch import LocalHost
from orchestrator.xla.process_env import plan_env
from orchestrator.xla.slice_engine import plain_process
from orchestrator.xla.slice_inventory import POD_TYPE, SLICE_NAME, TOPOLOGY, WORKER_ID, Node, SliceInventory
from orchestrator.xla.slice_processes import Ended, HostLostError, Refused, WorkerGroup
from orchestrator.xla.training_process import Message, TrainingProcess
from tests.support.paths import ROOT
from tests.support.tpu_payload import interpreter

HOSTS = ("10.0.0.1", "10.0.0.2")
PLAN = plan_env(slice_of("v4-16"), HOSTS, "xla-spmd")


@pytest.fixture(autouse=True)
def payload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEP_TPU_PYTHON", str(interpreter(tmp_path)))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
def gang() -> Iterator[WorkerGroup]:
    gang = WorkerGroup([LocalHost(address) for address in HOSTS])
    yield gang
    gang.end()


def job(tmp_path: Path, segment: int = 0, epochs: int = 2, **told: Any) -> Job:
    return Job(
        trial=0, segment=segment, seed=0, metric="val_loss", model={"class_path": "x.Y", "init_args": told}, data=None,
        trainer={"max_epochs": epochs}, folder=str(tmp_path / "runs/t/trials/0000"),
    )  # fmt: skip


def start(gang: WorkerGroup, asked: Job) -> None:
    gang.start(PLAN, asked, [])


def order_of(asked: Job, rank: int, log: Path) -> dict[str, Any]:
    job = {"job": asked.to_text(), "trial": asked.trial, "segment": asked.segment}
    return {**job, "log": str(log), "roots": [], "serial": 1, "process": asdict(PLAN[rank])}


def next_of(gang: WorkerGroup, seconds: float = 60.0) -> Any:
    return waited(gang.next_outcome, seconds)


def waited(what: Callable[[], Any], seconds: float = 60.0) -> Any:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if (found := what()) is not None:
            return found
        time.sleep(0.02)
    raise AssertionError("nothing came")


def seen(asked: Job) -> list[list[str]]:
    """What each process wrote of itself: segment, rank, address, RANK, its number."""
    return sorted(line.split() for line in (Path(asked.folder) / "seen.txt").read_text().splitlines())


def is_there(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_all_processes_start_with_their_rank_and_rank_0_reports(gang: WorkerGroup, tmp_path: Path) -> None:
    asked = job(tmp_path)
    start(gang, asked)
    for epoch in (1, 2):
        report = next_of(gang)
        assert isinstance(report, Report)
        assert (report.epoch, report.metrics) == (epoch, {"val_loss": 1 / epoch})
        assert report.checkpoint is not None
        assert report.checkpoint.path == f"trials/0000/checkpoints/epoch={epoch:04d}-segment=0.ckpt"
        assert gang.next_outcome() is None, "it waits for its answer"
        gang.answer(True)
    assert isinstance(next_of(gang), Ended)
    found = seen(asked)
    assert [line[:4] for line in found] == [["0", "0", HOSTS[0], "0"], ["0", "1", HOSTS[1], "1"]]
    assert not any(is_there(int(line[4])) for line in found)
    log = Path(asked.folder) / "logs/segment_0/process_1.txt"
    assert log.read_text() == "process 1 is here\n"


@pytest.mark.slow
def test_a_no_ends_it_and_the_hosts_take_the_next_segment(gang: WorkerGroup, tmp_path: Path) -> None:
    start(gang, job(tmp_path, epochs=9))
    assert isinstance(next_of(gang), Report)
    gang.answer(False)
    assert isinstance(next_of(gang), Ended)
    start(gang, job(tmp_path, segment=1, epochs=1))
    assert next_of(gang).checkpoint.path.endswith("epoch=0001-segment=1.ckpt")
    gang.answer(True)
    assert isinstance(next_of(gang), Ended)


def test_one_that_dies_takes_the_others_with_it(gang: WorkerGroup, tmp_path: Path) -> None:
    asked = job(tmp_path, epochs=9, fault="die", rank=1, at=1, pause=0.2)
    start(gang, asked)
    outcome = next_of(gang)
    while isinstance(outcome, Report):
        gang.answer(True)
        outcome = next_of(gang)
    assert outcome == SegmentFailure("lost", "process 1 was ended by signal 9: process 1 is here", "lost")
    assert not any(is_there(int(line[4])) for line in seen(asked))


@pytest.mark.slow
def test_a_users_error_is_told_as_such_though_the_others_hang(gang: WorkerGroup, tmp_path: Path) -> None:
    asked = job(tmp_path, fault="raise", rank=0)
    start(gang, asked)
    outcome = next_of(gang)
    assert outcome == SegmentFailure("user", "ValueError: the user's own mistake", "f")
    assert not any(is_there(int(line[4])) for line in seen(asked))


def test_wrong_devices_are_refused(gang: WorkerGroup, tmp_path: Path) -> None:
    start(gang, job(tmp_path, fault="refuse", rank=1))
    outcome = next_of(gang)
    while isinstance(outcome, Report):
        gang.answer(True)
        outcome = next_of(gang)
    assert outcome == Refused("planned 4 XLA devices, found 2", "is it the slice?")


@pytest.mark.slow
def test_an_interpreter_that_is_not_there_is_refused(
    gang: WorkerGroup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWEEP_TPU_PYTHON", "/nowhere/python")
    start(gang, job(tmp_path))
    outcome = next_of(gang)
    assert isinstance(outcome, Refused)
    assert "/nowhere/python cannot be started" in outcome.message
    assert "make tpu-env" in outcome.hint


class Quiet(LocalHost):
    """A host that stops answering: gone, or behind a network that is."""

    gone = ""

    def poll(self) -> list[Message]:
        if self.gone == "seen":
            raise HostLostError("its node died")
        return super().poll()

    def is_reachable(self, seconds: float) -> bool:
        return not self.gone


@pytest.mark.slow
@pytest.mark.parametrize("how", ["seen", "unseen"])
def test_an_error_beside_a_lost_host_is_the_hosts(how: str, tmp_path: Path) -> None:
    """Its peers see a broken connection first, which would pass for the user's error."""
    quiet = Quiet(HOSTS[1])
    gang = WorkerGroup([LocalHost(HOSTS[0]), quiet])
    start(gang, job(tmp_path, fault="raise", rank=0, pause=0.1))
    quiet.gone = how
    outcome = next_of(gang)
    gang.end()
    assert isinstance(outcome, SegmentFailure)
    assert (outcome.kind, outcome.message.partition(" ")[0].rstrip(":")) == ("node", HOSTS[1])


@pytest.mark.slow
def test_what_comes_late_from_the_segment_before_is_passed_over(gang: WorkerGroup, tmp_path: Path) -> None:
    start(gang, job(tmp_path, epochs=1))
    report = next_of(gang)
    stale = {"rank": 0, "serial": 2, "report": asdict(report)}
    gang.hosts[1].poll = lambda: [{**stale, "serial": 1, "failed": asdict(SegmentFailure("user", "old", "f"))}]  # type: ignore[method-assign]
    start(gang, job(tmp_path, segment=1, epochs=1))
    assert next_of(gang).checkpoint.path.endswith("segment=1.ckpt")


def test_a_training_process_ends_with_its_host(tmp_path: Path) -> None:
    """The host's process is killed: no training goes on that nobody knows of."""
    order = order_of(job(tmp_path, pause=600), 0, tmp_path)
    code = (
        "import sys, json, time; from orchestrator.xla.training_process import TrainingProcess\n"
        "TrainingProcess(json.loads(sys.argv[1]), {'RANK': '0'}); time.sleep(600)"
    )
    import json

    host = subprocess.Popen([sys.executable, "-c", code, json.dumps(order)], cwd=ROOT)
    try:
        path = tmp_path / "runs/t/trials/0000/seen.txt"
        waited(lambda: True if path.exists() and path.read_text().endswith("\n") else None)
        child = int(path.read_text().split()[-1])
        assert is_there(child)
    finally:
        host.send_signal(signal.SIGKILL)
        host.wait()
    waited(lambda: None if is_there(child) else True)


@pytest.mark.slow
def test_a_trial_beside_the_slices_trains_with_this_interpreter(tmp_path: Path) -> None:
    """The real training process, on the CPU: what it reports comes out of a Trainer."""
    model = {"class_path": "tests.support.tiny.Tiny", "init_args": {}}
    real = replace(job(tmp_path), model=model, data={"class_path": "tests.support.tiny.TinyData", "init_args": {}})
    gang = WorkerGroup([LocalHost("here")])
    gang.start([plain_process("here")], real, [str(ROOT)])
    try:
        for epoch in (1, 2):
            report = next_of(gang, 120)
            assert isinstance(report, Report), report
            assert report.epoch == epoch
            assert report.checkpoint is not None
            assert (real.run_directory / report.checkpoint.path).stat().st_size == report.checkpoint.size
            gang.answer(True)
        assert isinstance(next_of(gang), Ended)
    finally:
        gang.end()


@pytest.mark.slow
def test_a_segment_that_is_told_to_stop_ends_at_its_next_batch_with_a_checkpoint(tmp_path: Path) -> None:
    model = {"class_path": "tests.support.tiny.Tiny", "init_args": {"pause": 0.4}}
    data = {"class_path": "tests.support.tiny.TinyData", "init_args": {}}
    real = replace(job(tmp_path, epochs=1000), model=model, data=data)
    gang = WorkerGroup([LocalHost("here")])
    gang.start([plain_process("here")], real, [str(ROOT)])
    try:
        assert isinstance(next_of(gang, 120), Report)
        gang.answer(True)
        time.sleep(0.5)  # within the next epoch
        gang.stop()
        saved = next_of(gang)
        assert isinstance(saved, Interim), saved
        assert 1 < saved.epoch < 2
        assert saved.checkpoint is not None
        assert (real.run_directory / saved.checkpoint.path).stat().st_size == saved.checkpoint.size
        assert next_of(gang) == Ended(is_stopped=True)
    finally:
        gang.end()


def test_the_environment_is_the_planned_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TPU_VISIBLE_CHIPS", "0")
    monkeypatch.setenv("TPU_TOPOLOGY", "2x2x2")
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\nenv > {tmp_path}/env.txt\n")
    order = order_of(job(tmp_path), 1, tmp_path)
    child = TrainingProcess(order, PLAN[1].env, PLAN[1].unset)
    waited(lambda: next((m for m in child.messages() if "exit" in m), None))
    child.end()
    found = dict(line.split("=", 1) for line in (tmp_path / "env.txt").read_text().splitlines() if "=" in line)
    assert PLAN[1].env.items() <= found.items()
    assert "TPU_VISIBLE_CHIPS" not in found, "set for a part of the chips, it cuts the slice up"
    assert found["TPU_TOPOLOGY"] == "2x2x2", "what the platform says stays"
    assert os.environ["TPU_VISIBLE_CHIPS"] == "0"


# The roster.


def host(name: str, worker: int, *, chips: float = 4, kind: str = "v4-16", draining: bool = False) -> Node:
    labels = {SLICE_NAME: name, WORKER_ID: str(worker), TOPOLOGY: "2x2x2", POD_TYPE: kind}
    return Node(
        f"{name}{worker}", f"10.0.{ord(name)}.{worker}", f"{name}-{worker}", labels, {"TPU": chips, "CPU": 8}, draining
    )


TWO = [host("b", 1), host("a", 1), host("b", 0), host("a", 0)]


def places(nodes: list[Node], held: tuple[str, ...] = (), **resources: Any) -> list[tuple[str, str, list[str]]]:
    roster = SliceInventory(Resources(**({"tpu": "v4-16"} | resources)))
    roster.update(nodes)
    return [(place.kind, place.name, [node.id for node in place.nodes]) for place in roster.free(held)]


def test_whole_slices_are_places_in_the_order_of_their_workers() -> None:
    assert places(TWO) == [("v4-16", "a", ["a0", "a1"]), ("v4-16", "b", ["b0", "b1"])]
    assert places(TWO, held=("a0", "a1")) == [("v4-16", "b", ["b0", "b1"])]
    assert places(TWO, slices=2) == [("v4-16", "a+b", ["a0", "a1", "b0", "b1"])]
    assert places(TWO, held=("a0", "a1"), slices=2) == []
    assert places(TWO, tpu="v4-32") == []


@pytest.mark.parametrize(
    ("nodes", "why"),
    [
        ([host("a", 0)], "1 of 2 hosts are present"),
        ([host("a", 1), host("a", 2)], "its hosts are workers 1, 2"),
        ([host("a", 0), host("a", 0)], "its hosts are workers 0, 0"),
        ([host("a", 0), host("a", 1, chips=3)], "a-1 has 3 of 4 chips"),
        ([host("a", 0, draining=True), host("a", 1)], "a-0 is being preempted"),
    ],
)
def test_a_broken_slice_is_no_place(nodes: list[Node], why: str) -> None:
    unique = [replace(node, id=f"{node.id}-{number}") for number, node in enumerate(nodes)]
    roster = SliceInventory(Resources(tpu="v4-16"))
    roster.update([*unique, host("b", 0), host("b", 1)])
    assert [place.name for place in roster.free(())] == ["b"]
    assert roster.broken == {"a": why}
    assert roster.describe() == f"b is complete; a: {why}"


def test_gpus_beside_slices() -> None:
    gpus = Node("g", "10.1.0.1", "gpus", {}, {"CPU": 8, "GPU": 2})
    beside = [("gpu", "gpus", ["g"])] * 2
    assert places([*TWO, gpus], gpus=1)[2:] == beside
    assert places([*TWO, gpus], gpus=1, cpus=5)[2:] == beside[:1]
    assert places([*TWO, gpus]) == places(TWO), "a CPU is no place for a trial that gets a slice"
    one = Node("h", "10.1.0.2", "single", {POD_TYPE: "v6e-8", WORKER_ID: "0"}, {"CPU": 8, "TPU": 8})
    assert places([one], tpu="v6e-8") == [("v6e-8", "single", ["h"])]


def test_a_place_is_gone_with_one_host() -> None:
    roster = SliceInventory(Resources(tpu="v4-16"))
    roster.update(TWO)
    first = next(iter(roster.free(())))
    assert roster.loss(first) == ""
    roster.update(TWO[2:])
    assert "a-1" in roster.loss(first)
    roster.update([host("a", 0), host("a", 1, draining=True)])
    assert roster.draining(first)
