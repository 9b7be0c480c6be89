"""How far a trial is between two reports: the file that says so, its cost, its readers, and its end."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import lru_cache
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from orchestrator.engine.segment_runner import attempt
from orchestrator.engine.simulator import simulate
from orchestrator.journal import Event
from orchestrator.journal.lease import acquire
from orchestrator.object_storage import objects
from orchestrator.results import notebook
from orchestrator.results.live_trials import live_lines, live_trials
from orchestrator.results.notebook import status_html
from orchestrator.results.status import status_of
from orchestrator.rundir import RunDirectory
from orchestrator.rundir.live_progress import LIMIT, LiveProgress
from orchestrator.spec import from_mapping
from orchestrator.state import SweepState
from orchestrator.training import Report, gpu_use
from orchestrator.training.live_writer import LiveWriter, Moment, live_writer
from orchestrator.training.progress_meter import ProgressMeter
from orchestrator.training.shared_storage import start_heartbeat
from orchestrator.watch.snapshot import snapshot
from orchestrator.watch.watched_sweep import Watched
from tests.support.paths import ROOT
from tests.support.small_sweeps import tiny_job
from tests.support.tiny import TinyData
from tests.support.watched_runs import write, written

PLACE = {"epoch": 2.5, "step": 130, "samples": 4160.0, "seconds": 13.0}
START = {"epoch": 2, "step": 100, "samples": 3200.0, "seconds": 10.0}
LIVE = LiveProgress(
    trial=0, segment=0, at=1.0, phase="training", batch=30, batches=60, place=PLACE, start=START, elapsed=4.0,
    loss=0.25, samples_per_second=320.0, step_seconds=0.1, data_wait=0.125, memory=10**9,
)  # fmt: skip
UNITS = {"epochs": "max_epochs", "steps": "max_steps", "seconds": "max_time", "samples": "", "metric:tokens": ""}
ENDS = {"epochs": 9, "steps": 450, "seconds": 45, "samples": 14400, "metric:tokens": 28800}


def test_a_segment_says_how_far_it_is_and_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.training.live_writer.INTERVAL_SECONDS", 0.02)
    job, seen = tiny_job(tmp_path, trial=3, epochs=8, pause=0.03), list[tuple[LiveProgress, Report]]()
    run = RunDirectory(tmp_path / "run")

    def report(told: Report) -> bool:
        live = LiveProgress.from_bytes(run.read_live([3]).get(3, b""))
        seen.extend([(live, told)] if live else [])
        return True

    assert attempt(job, report) is None
    assert len(seen) >= 6
    for live, told in seen:
        assert (live.trial, live.segment, live.batches) == (3, 0, 4 if live.phase == "training" else 1)
        assert told.epoch - 1 <= live.place["epoch"] <= told.epoch
        assert told.step - 4 <= live.place["step"] <= told.step
        assert told.samples - 64 <= live.place["samples"] <= told.samples
        assert live.place["seconds"] <= told.seconds
        assert set(live.start.values()) == {0} | {live.start["seconds"]}
    last = seen[-1][0]
    assert last.loss is not None
    assert last.step_seconds is not None
    assert last.step_seconds >= 0.03  # each waits as long
    assert last.samples_per_second == pytest.approx(16 / last.step_seconds, rel=0.01)
    assert last.memory is not None
    assert last.memory > 50e6
    assert sorted(path.name for path in Path(job.folder).iterdir()) == ["checkpoints", "logs", "progress"]


class SlowPoints(torch.utils.data.Dataset[Any]):
    """Points that take 2 ms each to load, so 32 ms a batch."""

    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> Any:
        time.sleep(0.002)
        return torch.full((2,), float(index % 4)), torch.ones(1)


class SlowData(TinyData):
    def train_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(SlowPoints(), self.batch_size)


def test_loss_and_waiting_are_those_of_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a step that waits as long as its data, and with gradients of two batches, whose loss Lightning halves."""
    monkeypatch.setattr("orchestrator.training.live_writer.INTERVAL_SECONDS", 0.02)
    job = tiny_job(tmp_path, trial=3, epochs=8, pause=0.034, learning_rate=0.0)
    data = {"class_path": "tests.test_live_progress.SlowData", "init_args": {}}
    job = replace(job, data=data, trainer={**job.trainer, "max_epochs": 3, "accumulate_grad_batches": 2})
    seen: list[tuple[LiveProgress, Report]] = []

    def report(told: Report) -> bool:
        live = LiveProgress.from_bytes(RunDirectory(tmp_path / "run").read_live([3]).get(3, b""))
        seen.extend([(live, told)] if live else [])
        return True

    assert attempt(job, report) is None
    live, told = seen[-1]
    assert live.loss == pytest.approx(told.metrics["train_loss"], rel=0.05)  # every batch is alike
    assert live.data_wait == pytest.approx(0.5, abs=0.25)
    assert live.step_seconds is not None
    assert live.step_seconds >= 2 * 0.06  # two batches a step, each of which waits twice for 0.034 s


def test_a_failed_segment_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.training.live_writer.INTERVAL_SECONDS", 0.01)
    job = tiny_job(tmp_path, trial=3, epochs=8, fault="raise", pause=0.05)
    failure = attempt(job, lambda report: True)
    assert failure is not None
    assert not RunDirectory(tmp_path / "run").live(3).exists()


def test_a_batch_costs_less_than_half_a_percent_of_a_millisecond(tmp_path: Path) -> None:
    """Also of a batch after which a moment is noted, once in a thousand; the thread's part is in benchmarks/."""
    meter, batch = ProgressMeter(), [torch.zeros(4, 2), torch.zeros(4)]
    without = min(_seconds(meter, batch) for _ in range(7))
    meter.live = LiveWriter(tiny_job(tmp_path, trial=3, epochs=8), lambda content: None)
    cost = min(_seconds(meter, batch) for _ in range(7)) - without
    print(f"live progress: {cost * 1e9:.0f} ns a batch")
    assert cost < 5e-6


def _seconds(meter: ProgressMeter, batch: Any, rounds: int = 5000) -> float:
    trainer: Any = SimpleNamespace(world_size=1, global_step=1, num_training_batches=9)
    outputs = {"loss": torch.tensor(0.5)}
    start = time.perf_counter()
    for _ in range(rounds):
        meter.on_train_batch_start(trainer, trainer, batch, 0)
        meter.on_train_batch_end(trainer, trainer, outputs, batch, 0)
    return (time.perf_counter() - start) / rounds


def test_the_thread_takes_less_than_half_a_percent_of_a_core(tmp_path: Path) -> None:
    """Processor time of one write, over the time between two."""
    writer = LiveWriter(tiny_job(tmp_path, trial=3, epochs=8))
    writer._start = Moment(START, 1, 9)
    for _ in range(40):
        writer.trained({"loss": torch.tensor(0.5)})
    writer.note(Moment(PLACE, 2, 9))
    assert min(_write(writer) for _ in range(5)) < 0.005 * 2.0


def _write(writer: LiveWriter) -> float:
    start = time.thread_time()
    writer._send(writer._progress().to_bytes())
    return time.thread_time() - start


numbers = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
anything = st.recursive(
    numbers, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)


@settings(deadline=None, max_examples=60)
@given(field=st.sampled_from([*asdict(LIVE), "other"]), value=anything | st.sampled_from([PLACE, math.nan, 10**400]))
def test_whatever_is_in_the_file_is_shown_or_ignored(field: str, value: Any) -> None:
    live = LiveProgress.from_bytes(json.dumps(asdict(LIVE) | {field: value}).encode())
    if live is not None:
        state, run = running("steps")
        shown = live_trials(FakeRun(run, live), state)  # type: ignore[arg-type]
        json.dumps([asdict(one) for one in shown.values()], allow_nan=False)
        assert all(isinstance(line, str) for line in live_lines(shown, state))


class FakeRun:
    """A run whose trial 0 says this."""

    def __init__(self, run: str, live: LiveProgress) -> None:
        self.where, self._content = run, live.to_bytes()

    def read_live(self, numbers: Any) -> dict[int, bytes]:
        return {0: self._content}


@settings(deadline=None)
@given(st.binary(max_size=200) | st.integers(0, 400).map(lambda cut: LIVE.to_bytes()[:cut]))
def test_a_torn_file_is_ignored(content: bytes) -> None:
    assert LiveProgress.from_bytes(content) is None


def test_the_file_says_what_was_written() -> None:
    assert LiveProgress.from_bytes(LIVE.to_bytes()) == LIVE


@lru_cache
def cut(unit: str) -> list[Event]:
    """A sweep's events until trial 0 has reported twice and runs on."""
    end = ENDS[unit]
    progress = {"unit": unit, "every": end / 9, "until": end}
    spec = {
        "name": "watched",
        "objective": {"metric": "val_acc", "mode": "max"},
        "model": "nowhere.Never",
        "space": {"model.width": {"int": [1, 64]}},
        "scheduler": "fifo",
        "progress": progress,
        "budget": {"trials": 2},
    }
    events = simulate(from_mapping(spec)).events
    reports = [number for number, event in enumerate(events) if event.type == "segment.reported"]
    found = events[: reports[1] + 1]
    # The simulator counts in one unit only.
    return [replace(e, fields={**e.fields, "samples": 3200}) if e.type == "segment.reported" else e for e in found]


def running(unit: str) -> tuple[SweepState, str]:
    state = SweepState(cut(unit))
    assert state.status == "running"
    return state, "watched"


@pytest.fixture(params=UNITS)
def run(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[RunDirectory]:
    """A run whose trial 0 is halfway between its second report and the third."""
    events = cut(request.param)
    run = written(tmp_path, events)
    folder = run.live(0).parent
    folder.mkdir(parents=True)
    run.live(0).write_bytes(replace(LIVE, at=time.time()).to_bytes())
    lease = acquire(run.root / "lease", after=events[-1].lease)
    yield run
    lease.release()


def test_readers_say_the_place_in_the_unit_and_the_time_left(run: RunDirectory) -> None:
    watched = Watched(run)
    assert watched.refresh()
    state, live = watched.state, watched.live[0]
    tokens = 6400 * 4160 / 3200  # the last report's, by the samples since
    expected = {"epochs": 2.5, "steps": 130, "seconds": 13, "samples": 4160, "metric:tokens": tokens}[state.unit]
    begun = {"epochs": 2, "steps": 100, "seconds": 10, "samples": 3200, "metric:tokens": 6400}[state.unit]
    assert (live.progress, live.end) == (expected, ENDS[state.unit])
    assert live.remaining is not None
    assert live.remaining == pytest.approx((ENDS[state.unit] - expected) / ((expected - begun) / 4.0), abs=0.1)
    text = StringIO()
    Console(file=text, width=200).print(snapshot(watched, 200))
    said = {"epochs": "epoch 2.5", "steps": "step 130", "seconds": "13 s", "samples": "4160 samples",
            "metric:tokens": "8320 tokens"}[state.unit]  # fmt: skip
    line = next(line.rstrip() for line in text.getvalue().splitlines() if line.strip().startswith("trial 0:"))
    assert said in line
    assert "training batch 30 of 60, loss 0.25, 320 samples/s, 100 ms a step, 12% waiting for data, memory 1 GB" in line
    assert line.endswith(f"about {round(live.remaining)} s left")
    html = status_html(status_of(run, state))
    assert said in html
    assert not watched.refresh()  # nothing has changed
    run.live(0).write_bytes(replace(LIVE, at=time.time(), batch=31).to_bytes())
    assert watched.refresh()
    assert watched.changed_trials == set()


@pytest.mark.parametrize("run", ["steps"], indirect=True)
def test_what_is_stale_is_not_shown(run: RunDirectory) -> None:
    state = SweepState(cut("steps"))
    assert live_trials(run, state).keys() == {0}
    for stale in (replace(LIVE, segment=1), replace(LIVE, trial=1)):
        run.live(0).write_bytes(stale.to_bytes())
        assert live_trials(run, state) == {}
    run.live(0).write_bytes(replace(LIVE, at=time.time() - 200).to_bytes())
    assert live_trials(run, state)[0].silent == 180
    assert "last seen 3 min ago" in live_lines(live_trials(run, state), state)[0]
    state.mark_interrupted()
    assert live_trials(run, state) == {}


@pytest.mark.parametrize("run", ["steps"], indirect=True)
def test_no_link_pipe_or_large_file_is_read(run: RunDirectory, tmp_path: Path) -> None:
    place, other = run.live(0), tmp_path / "elsewhere"
    place.rename(other)
    place.symlink_to(other)
    assert run.read_live([0, 1]) == {}
    place.unlink()
    os.mkfifo(place)
    assert run.read_live([0]) == {}
    place.unlink()
    place.write_bytes(other.read_bytes() + b" " * LIMIT)
    assert run.read_live([0]) == {}


@pytest.mark.parametrize("run", ["steps"], indirect=True)
def test_files_that_a_killed_worker_left_are_removed(run: RunDirectory) -> None:
    part = run.live(0).with_name(".live.json.tmp")
    part.write_text("{")
    run.remove_live([0, 1])
    assert list(run.live(0).parent.iterdir()) == []


@pytest.mark.slow
def test_in_object_storage_it_comes_with_the_sign_of_life(s3: str, tmp_path: Path) -> None:
    job = replace(tiny_job(tmp_path, trial=3, epochs=8), url=f"{s3}/runs/live")
    run = job.run
    heartbeat = start_heartbeat(job)
    assert run.read_live([3]) == {}, "the first says nothing yet"
    writer = live_writer(job, heartbeat)
    writer._send(replace(LIVE, trial=3).to_bytes())
    heartbeat._due = 0
    heartbeat.beat()
    deadline = time.monotonic() + 30
    while not (found := run.read_live([2, 3])) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert LiveProgress.from_bytes(found[3]) == replace(LIVE, trial=3)
    assert not run.live(3).exists(), "nothing is written on the worker's own disk"
    run.remove_live([2, 3])
    assert objects(f"{run.url}/progress").names() == []


def test_a_trial_that_says_nothing_is_named() -> None:
    state, _ = running("steps")
    assert live_lines({}, state) == [
        "no live progress of trial 0: still starting, or on a host that does not share the run directory"
    ]
    state.trials[0].started = time.time()
    state.trials[0].reports.clear()
    assert live_lines({}, state) == []


@pytest.mark.parametrize("run", ["samples"], indirect=True)
def test_a_notebook_follows_a_sweep_until_it_does_not_run(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown: list[str] = []
    handle = SimpleNamespace(update=shown.append)
    monkeypatch.setattr(notebook, "_display", lambda html: handle)
    monkeypatch.setattr(notebook, "_html", lambda html: html)
    monkeypatch.setattr(notebook, "_in_notebook", lambda: True)
    events = cut("samples")

    def pause(seconds: float) -> None:
        ended = replace(events[-1], seq=events[-1].seq + 1, type="sweep.paused", fields={"reason": "sweep stop"})
        write(run, [ended], "ab")

    monkeypatch.setattr("orchestrator.results.notebook.time.sleep", pause)
    notebook.follow(run, 0.01)
    assert '<th scope="col">running</th>' in shown[0]
    assert "4160 samples" in shown[0]
    assert "epoch" not in "".join(shown)
    assert "running</th>" not in shown[-1]
    monkeypatch.setattr(notebook, "_in_notebook", lambda: False)
    notebook.follow(run, 0.01)
    assert "watched: 0 of 2 trials" in capsys.readouterr().err


SWEEP = """
name: live
objective: {metric: val_loss, mode: min}
model: {class_path: tests.support.tiny.Tiny, init_args: {pause: 0.4}}
data: tests.support.tiny.TinyData
trainer: {max_epochs: 6, accelerator: cpu}
space: {model.learning_rate: {log_uniform: [0.001, 0.5]}}
scheduler: fifo
budget: {trials: 2}
"""


def sweep(runs: Path, *words: str) -> subprocess.Popen[str]:
    """Start a command on the runs there."""
    command = [sys.executable, "-m", "orchestrator", *words, "--runs", str(runs)]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT)


def status(runs: Path) -> dict[str, Any]:
    """Return what `sweep status --json` says; before the launch has written anything, that nothing runs."""
    with sweep(runs, "status", "live", "--json") as process:
        text = process.communicate(timeout=60)[0]
    found: dict[str, Any] = {"live": []} if process.returncode else json.loads(text)
    return found


def until_live(runs: Path) -> dict[str, Any]:
    """Return the first status that shows a running trial."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if (found := status(runs)).get("live"):  # a sweep that starts has no such entry yet
            return found
        time.sleep(0.2)
    raise AssertionError(f"no live progress in {list(runs.rglob('*'))}")


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("engine", [pytest.param("local"), pytest.param("ray", marks=pytest.mark.ray)])
def test_another_process_sees_it_and_a_killed_sweep_leaves_nothing_to_show(
    tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver is killed, and with it whoever would have removed the file; the resumed sweep does."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "ray"))
    runs, file = tmp_path / "runs", tmp_path / "live.yaml"
    file.write_text(SWEEP)
    local = ["--local"] if engine == "local" else []
    with sweep(runs, "launch", str(file), *local) as process:
        (live,) = until_live(runs)["live"][:1]
        assert live["phase"] in ("training", "validation")
        assert 0 < live["progress"] <= live["end"] == 6
        assert live["loss"] is not None
        assert live["memory"] > 50e6
        with sweep(runs, "status", "live") as said:
            assert re.search(r"^trial [01]: epoch", said.communicate(timeout=60)[0], re.MULTILINE)
        if engine == "local":
            process.kill()
        process.communicate(timeout=300)
    if engine == "local":
        assert list(runs.rglob("live.json")), "the worker was killed, so its file stays"
        assert status(runs)["live"] == [], "and is not shown, since nothing runs"
        with sweep(runs, "resume", "live", "--local") as resumed:
            assert resumed.communicate(timeout=300)[0] is not None
        assert resumed.returncode == 0
    assert list(runs.rglob("*live.json*")) == []
    assert status(runs)["trials"]["finished"] == 2


def test_a_gpu_without_nvml_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_use, "_library", lambda: None)
    assert gpu_use.gpu_use("0123") is None


@pytest.mark.parametrize(("found", "answers", "said"), [(0, 0, 0.87), (0, 3, None), (6, 0, None)])
def test_what_nvml_says_of_a_gpu(monkeypatch: pytest.MonkeyPatch, found: int, answers: int, said: float | None) -> None:
    """By a stand-in: no GPU is needed. 3 is NVML's "not supported", 6 its "not found"."""
    asked: list[bytes] = []

    class Library:
        def nvmlDeviceGetHandleByUUID(self, name: bytes, handle: Any) -> int:
            asked.append(name)
            return found

        def nvmlDeviceGetUtilizationRates(self, handle: Any, use: Any) -> int:
            use._obj.gpu = 87
            return answers

    monkeypatch.setattr(gpu_use, "_library", Library)
    gpu_use._handle.cache_clear()
    assert gpu_use.gpu_use("01-23") == said
    assert asked == [b"GPU-01-23"]
    gpu_use._handle.cache_clear()
