"""Run directories in object storage: by a real S3 server, near and far, and one that is cut off."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.durable_files import storage_fault
from orchestrator.errors import ObjectStoreError, RunHeldError, UsageError
from orchestrator.journal import holder, read
from orchestrator.object_storage import is_url, objects
from orchestrator.results.run_state import find, read_state
from orchestrator.results.trial_rows import rows
from orchestrator.rundir import list_runs, run_at
from orchestrator.spec import SweepSpec, to_yaml
from orchestrator.state import SweepState
from orchestrator.sweep import stop
from orchestrator.sweep.lifecycle import launch, resume
from tests.chaos.drivers import weights
from tests.support.doc_blocks import blocks_of, words
from tests.support.paths import ROOT
from tests.support.ray_sweeps import SPEC as RAY_SPEC
from tests.support.s3 import Line

PAGE = "docs/cluster.md"
SPEC: dict[str, Any] = {
    **RAY_SPEC,
    "trainer": {"max_epochs": 4},
    "scheduler": "fifo",
    "budget": {"trials": 4},
}


def spec(**more: Any) -> SweepSpec:
    return SweepSpec.model_validate({**SPEC, **more})


def kinds(runs: Path | str, name: str = "tiny") -> list[tuple[Any, ...]]:
    """What happened, but for when, and what depends on where."""
    found = []
    for event in read(run_at(name, runs).journal):
        told = {key: value for key, value in event.fields.items() if key not in ("host", "pid", "seconds", "sha256")}
        if event.type in ("segment.reported", "segment.checkpointed", "trial.suggested", "trial.finished"):
            found.append((event.type, told.get("trial"), told.get("epoch"), told.get("path"), told.get("params")))
    return found


def away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Another machine: nothing of the run lies in its cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another"))


def test_a_sweep_is_what_it_is_in_a_folder(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same records, ranking and weights; all of it is seen from another machine, and what is large lies there."""
    assert launch(spec(), tmp_path / "here", local=True).exit_code == 0
    assert launch(spec(), f"{s3}/runs", local=True).exit_code == 0
    assert kinds(f"{s3}/runs") == kinds(tmp_path / "here")
    run, same = find("tiny", f"{s3}/runs"), find("tiny", tmp_path / "here")
    assert not list(run.root.rglob("*.ckpt")), "a checkpoint was left on the machine that trained it"

    away(monkeypatch, tmp_path)
    seen = find("tiny", f"{s3}/runs")
    assert seen.root != run.root
    ranked, wanted = rows(seen, read_state(seen)), rows(same, read_state(same))
    assert [(row["trial"], row["best"]) for row in ranked] == [(row["trial"], row["best"]) for row in wanted]
    assert all(row["checkpoint"].startswith(f"{s3}/runs/tiny/trials/") for row in ranked[:1])
    for one, other in zip(ranked, wanted, strict=True):
        if other["checkpoint"]:
            kept = one["checkpoint"].removeprefix(f"{s3}/runs/tiny/")
            assert weights(str(seen.fetch(kept))) == weights(other["checkpoint"])
    names = objects(seen.url).names()
    assert {name for name in names if name.endswith(".ckpt")} == {
        path.relative_to(same.root).as_posix() for path in same.root.rglob("*.ckpt")
    }, "what is kept is the same"
    assert "spec.yaml" in names
    assert "trials/0000/logs/segment_0/metrics.csv" in names
    assert [found.name for found in list_runs(f"{s3}/runs")] == ["tiny"]


def command(*words: str, code: int = 0, folder: Path | None = None) -> str:
    ended = subprocess.run(
        [sys.executable, "-m", "orchestrator", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert ended.returncode == code, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


@pytest.mark.slow
def test_every_command_works_from_another_machine(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = f"{s3}/deep/runs/"
    launch(spec(finalists={"trials": 3}), runs, local=True)
    away(monkeypatch, tmp_path)
    monkeypatch.setenv("SWEEP_RUNS", runs)
    assert "4 of 4 trials" in command("status", "tiny")
    assert "tiny" in command("list")
    assert "no violations" in command("verify", "tiny")
    page = Path(command("report", "tiny", folder=tmp_path).strip().splitlines()[-1])
    assert page.is_file()
    assert objects(f"{runs}tiny").get("report.html") == page.read_bytes()
    assert "tiny-export/trial-" in command("export", "tiny", folder=tmp_path)
    assert list(tmp_path.glob("tiny-export/trial-*/MANIFEST.json"))
    assert "evaluate the winner on the test set" in command("confirm", "tiny", "--local")
    assert "4 of 4 trials" in command("status", "tiny")
    command("test", "tiny", code=2)  # this data has no test set, which is found when the checkpoint is there
    said = command("status", "tinny", code=2)
    assert "did you mean 'tiny'" in said


@pytest.mark.slow
def test_the_page_says_what_works(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = [block for block in blocks_of(ROOT / PAGE, ROOT) if block.what == "tests/test_bucket.py"]
    first, *lines = [line for block in blocks for line in block.commands()]
    assert first == "export SWEEP_RUNS=s3://bucket/runs"
    monkeypatch.setenv("SWEEP_RUNS", f"{s3}/runs")
    for line in lines:
        assert command(*words(line)[1:], folder=tmp_path)


@pytest.mark.slow
def test_a_driver_elsewhere_is_asked_to_stop(s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = f"{s3}/runs"
    slow = {"class_path": "tests.support.tiny.Tiny", "init_args": {"pause": 0.05}}
    written = tmp_path / "tiny.yaml"
    written.write_text(to_yaml(spec(model=slow, budget={"trials": 1000})))
    driver = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "launch", str(written), "--local", "--runs", runs],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + 100
        while not (found := [run for run in list_runs(runs) if len(read_state(run).trials) > 1]):
            assert time.monotonic() < until
            time.sleep(0.2)
        run = found[0]
        away(monkeypatch, tmp_path)
        with pytest.raises(RunHeldError):
            resume("tiny", runs, local=True)
        assert holder(run.journal)
        assert str(driver.pid) in stop("tiny", runs)
        assert driver.wait(30) == 0
    finally:
        driver.kill()
    state = read_state(run)
    assert (state.status, state.reason) == ("paused", "sweep stop")
    assert not run.pending_requests()
    assert not holder(run.journal)


@pytest.mark.slow
def test_what_is_wrong_is_said_at_once(s3: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        launch(spec(), "s3://there-is-no-such-bucket/runs", local=True)
    with pytest.raises(UsageError, match="runs cannot be kept in ftp"):
        launch(spec(), "ftp://host/runs", local=True)
    with pytest.raises(UsageError, match="names no bucket"):
        is_url("s3://")
    assert not is_url("runs")
    assert not is_url(tmp_path)
    launch(spec(), f"{s3}/runs", local=True)
    with pytest.raises(RunHeldError, match="exists already: s3://"):
        launch(spec(), f"{s3}/runs", local=True)


@pytest.fixture
def line(s3: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    """All requests of what a test starts go this way."""
    found = Line(s3_endpoint)
    monkeypatch.setenv("AWS_ENDPOINT_URL", found.endpoint)
    yield found
    found.close()


@pytest.mark.slow
def test_a_store_without_the_condition_is_refused(s3: str, line: Line) -> None:
    line.unconditional = True
    with pytest.raises(UsageError, match="overwrite each other"):
        launch(spec(), f"{s3}/runs", local=True)
    assert objects(f"{s3}/runs").names() == []
    line.unconditional = False
    assert launch(spec(), f"{s3}/runs", local=True).exit_code == 0


@pytest.mark.slow
def test_a_store_that_is_cut_off_is_a_fault_of_the_storage(s3: str, line: Line) -> None:
    kept = objects(f"{s3}/cut")
    kept.put("one", b"1")
    line.cut()
    began = time.monotonic()
    with pytest.raises(ObjectStoreError) as told:
        kept.get("one")
    assert time.monotonic() - began < 30
    assert "the object store fails" in storage_fault(told.value)
    line.mend()
    assert kept.get("one") == b"1"


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_an_outage_of_20_s_costs_nothing(s3: str, line: Line) -> None:
    """Driver and trial stand still meanwhile; no retry is used, and no epoch is trained twice."""
    slow = {"class_path": "tests.support.tiny.Tiny", "init_args": {"pause": 0.1}}

    def out() -> None:
        line.cut()
        time.sleep(20)
        line.mend()

    outage = threading.Timer(4, out)
    outage.start()
    outcome = launch(spec(model=slow, budget={"trials": 3}), f"{s3}/runs", local=True)
    outage.join()
    assert outcome.exit_code == 0
    assert [trial.status for trial in outcome.state.trials.values()] == ["finished"] * 3
    assert [trial.segments for trial in outcome.state.trials.values()] == [1] * 3
    assert not any(trial.failures for trial in outcome.state.trials.values())
    launch(spec(model=slow, budget={"trials": 3}, name="unbroken"), f"{s3}/runs", local=True)
    assert kinds(f"{s3}/runs") == kinds(f"{s3}/runs", "unbroken")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_driver_killed_twice_on_a_slow_store_loses_no_trial(s3: str, line: Line, tmp_path: Path) -> None:
    """Under Ray, each request 80 ms: the ranking is the unbroken one's, and no trial repeats more than an epoch."""
    line.delay = 0.08
    runs, written = f"{s3}/runs", tmp_path / "tiny.yaml"
    slow = {"class_path": "tests.support.tiny.Tiny", "init_args": {"pause": 0.1}}
    written.write_text(to_yaml(spec(model=slow)))

    def driver(*words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "orchestrator", *words, "--runs", runs]
        told = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_worker_niceness": "0"}
        return subprocess.Popen(command, env=told, stdout=subprocess.DEVNULL, start_new_session=True)

    def reports() -> int:
        return sum(event.type == "segment.reported" for event in read(run_at("tiny", runs).journal))

    process, before = driver("launch", str(written)), 0
    for _ in range(2):
        until = time.monotonic() + 200
        while not run_at("tiny", runs).exists() or reports() < before + 3:
            assert time.monotonic() < until
            assert process.poll() is None
            time.sleep(0.3)
        process.send_signal(signal.SIGKILL)
        process.wait()
        before = reports()
        process = driver("resume", "tiny")
    assert process.wait(250) == 0
    state = SweepState(read(run_at("tiny", runs).journal))
    assert [trial.status for trial in state.trials.values()] == ["finished"] * 4
    assert not any(trial.failures for trial in state.trials.values())
    launch(spec(model=slow, name="unbroken"), runs, local=True)
    unbroken = read_state(find("unbroken", runs))
    bests = [
        [row["best"] for row in rows(find(name, runs), found)]
        for name, found in [("tiny", state), ("unbroken", unbroken)]
    ]
    assert bests[0] == bests[1]
    assert not reported_twice(runs), "an epoch that had been reported was lost"


def reported_twice(runs: str) -> list[tuple[int, int]]:
    """Epochs of trials that a later segment trained anew."""
    told = [(e["trial"], e["epoch"]) for e in read(run_at("tiny", runs).journal) if e.type == "segment.reported"]
    return [one for one in set(told) if told.count(one) > 1]


@pytest.mark.slow
def test_many_objects_are_read_at_once_and_in_order(s3: str, line: Line) -> None:
    line.delay = 0.1
    kept = objects(f"{s3}/many")
    names = [f"{number:03d}" for number in range(64)]
    contents = [name.encode() for name in names]
    for name, content in zip(names, contents, strict=True):
        kept.put(name, content)
    began = time.monotonic()
    assert list(kept.get_all(names)) == contents
    assert time.monotonic() - began < 64 * line.delay / 3
