"""What may die under a sweep, one by one: the sweep goes on by itself, and nothing of ours outlives its driver."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.engine import process_reaper
from orchestrator.engine.tune import loss_diagnosis
from orchestrator.engine.watchdog import START_SECONDS, Watchdog
from orchestrator.rundir import RunDirectory
from tests.support.paths import ROOT
from tests.support.ray_sweeps import events, ours, rows, said, started, sweep, wait_for, written

pytestmark = pytest.mark.usefixtures("nothing_is_left")

BOUND = 10.0  # seconds after the driver's end in which all of ours has to be gone
SLOW = {"class_path": "tests.support.tiny.Tiny", "init_args": {"pause": 0.05}}


def reports(at_least: int = 1) -> Callable[[], bool]:
    return lambda: sum(event["type"] == "segment.reported" for event in events()) >= at_least


def failures() -> list[tuple[int, str]]:
    return [(event["trial"], event["kind"]) for event in events() if event["type"] == "segment.failed"]


def folder_of(processes: dict[int, str]) -> Path:
    """The temporary folder of the instance that these processes belong to."""
    command = next(command for command in processes.values() if "reaper.py" in command)
    return Path(command.split()[-1])


def all_gone(folder: Path) -> float:
    """Seconds until no process of ours runs and the folder is gone."""
    began = time.monotonic()
    while ours() or folder.exists():
        assert time.monotonic() - began < BOUND, (ours(), folder.exists())
        time.sleep(0.05)
    return time.monotonic() - began


# Nothing outlives the driver


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("model", ["Tiny", "Fertile"])
def test_nothing_of_ours_outlives_a_killed_driver(tmp_path: Path, model: str) -> None:
    """Fertile: its trials run programs of their own, one of them in another session and without output."""
    module = "tests.support.tiny.Tiny" if model == "Tiny" else "tests.support.faulty.Fertile"
    slow = {"class_path": module, "init_args": {"pause": 0.05}}
    data = {"class_path": "tests.support.faulty.Loaded"}
    process = started("launch", written(tmp_path, scheduler="fifo", model=slow, data=data))
    wait_for(reports(), process)
    before = ours()
    assert sum("time.sleep(600)" in command for command in before.values()) >= (2 if model == "Fertile" else 0)
    process.kill()
    process.wait()
    print(f"{len(before)} processes gone {all_gone(folder_of(before)):.1f} s after kill -9 of the driver")


@pytest.mark.slow
@pytest.mark.ray
def test_nothing_is_left_after_a_driver_that_was_killed_while_ray_starts(tmp_path: Path) -> None:
    process = started("launch", written(tmp_path))
    wait_for(lambda: any("gcs_server" in command for command in ours().values()), process)
    folder = folder_of(ours())
    process.kill()
    process.wait()
    all_gone(folder)


@pytest.mark.slow
@pytest.mark.ray
def test_nothing_is_left_after_a_normal_end(tmp_path: Path) -> None:
    process = started("launch", written(tmp_path, budget={"trials": 2}))
    wait_for(reports(), process)
    folder = folder_of(ours())
    process.wait(120)
    assert process.returncode == 0
    assert not folder.exists()
    assert not ours(), "it is all gone before the driver ends"


def test_the_reaper_spares_who_only_looks_and_kills_who_belongs(tmp_path: Path) -> None:
    """A person may read a log of the instance; a process that writes there is part of it, whatever its environment."""
    log = tmp_path / "worker.log"
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    with log.open("w") as writing, log.open() as reading:
        writer = subprocess.Popen(sleep, stdout=writing)
        titled = subprocess.Popen(["ray::Agent", *sleep[1:]], executable=sleep[0], pass_fds=[writing.fileno()])
        marked = subprocess.Popen(sleep, env={**os.environ, process_reaper.MARK: str(tmp_path)})
        neighbour = subprocess.Popen(sleep, env={**os.environ, process_reaper.MARK: f"{tmp_path}2"})
        reader = subprocess.Popen([*sleep, str(log)], stdin=reading)
    try:
        assert sorted(process_reaper.members(tmp_path)) == sorted([writer.pid, titled.pid, marked.pid])
        process_reaper.reap(tmp_path, grace=0)
        assert {writer.wait(5), titled.wait(5), marked.wait(5)} == {-signal.SIGKILL}
        assert neighbour.poll() is reader.poll() is None
        assert not tmp_path.exists()
    finally:
        for process in (writer, titled, marked, neighbour, reader):
            process.kill()
            process.wait()


@pytest.mark.slow
def test_the_reaper_ignores_polite_signals_and_ends_with_its_driver(tmp_path: Path) -> None:
    folder = tmp_path / "instance"
    folder.mkdir()
    code = f"import os, sys; sys.path.insert(0, {str(ROOT)!r}); from pathlib import Path; "
    code += f"from orchestrator.engine.process_reaper import Reaper; r = Reaper(Path({str(folder)!r})); "
    code += "print(r._process.pid, flush=True); os.fork() or __import__('time').sleep(30); sys.stdin.read()"
    driver = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert driver.stdout
    process = int(driver.stdout.readline())
    time.sleep(0.5)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(process, number)
    time.sleep(0.2)
    assert folder.exists()
    os.kill(process, 0)
    driver.kill()  # a process that it has forked lives on, with the pipe in its hand
    began = time.monotonic()
    while folder.exists():
        assert time.monotonic() - began < BOUND
        time.sleep(0.05)
    driver.communicate()


# Ray's own processes die


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("victim", ["raylet", "gcs_server"])
def test_the_sweep_outlives_ray(tmp_path: Path, victim: str) -> None:
    process = started(
        "launch", written(tmp_path, scheduler="fifo", model=SLOW, budget={"trials": 3}, trainer={"max_epochs": 8})
    )
    wait_for(reports(2), process)
    os.kill(next(number for number in ours() if process_reaper.program(number) == victim), signal.SIGKILL)
    assert process.wait(150) == 0
    assert [row["status"] for row in rows()] == ["finished"] * 3
    assert {kind for _, kind in failures()} == {"node"}
    ends = [event["trial"] for event in events() if event["type"] == "trial.finished"]
    assert sorted(ends) == [0, 1, 2], "each trial ends once"


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("victim", ["raylet", "gcs_server"])
def test_ray_that_dies_while_it_starts_ends_the_driver_at_worst(tmp_path: Path, victim: str) -> None:
    """A call into a Ray without a GCS may never come back."""
    process = started("launch", written(tmp_path, budget={"trials": 1}))
    wait_for(lambda: bool(numbers(victim)), process)
    os.kill(numbers(victim)[0], signal.SIGKILL)
    began = time.monotonic()
    code = process.wait(90)
    print(f"exit {code} {time.monotonic() - began:.1f} s after the {victim}'s end")
    assert code in (0, 1), said()
    if code:
        assert f"Ray's {victim} process ended, and Ray does not answer" in said()
        sweep("resume", "tiny")
    assert [row["status"] for row in rows()] == ["finished"]


@pytest.mark.slow
@pytest.mark.ray
def test_a_driver_that_ray_does_not_answer_ends_in_our_words(tmp_path: Path) -> None:
    """Ray's own client would wait for a minute and say more."""
    code = f"""
import os, pathlib, subprocess, sys, time
sys.path.insert(0, {str(ROOT)!r})
import orchestrator.engine.tune.ray_lifecycle
instance = sys.modules["orchestrator.engine.tune.ray_lifecycle"]
instance._STUCK_SECONDS = 0.5
guard = instance._Guard(pathlib.Path({str(tmp_path)!r}))
environment = {{**os.environ, {process_reaper.MARK!r}: {str(tmp_path)!r}}}
sleep = ["-c", "import time; time.sleep(30)"]
gcs = subprocess.Popen(["gcs_server", *sleep], executable=sys.executable, env=environment)
time.sleep(2)
gcs.kill()
time.sleep(20)
"""
    began = time.monotonic()
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 1
    assert answer.stderr.startswith("error: Ray's gcs_server process ended, and Ray does not answer\nhint: ")
    assert time.monotonic() - began < 15


def numbers(victim: str) -> list[int]:
    return [number for number in ours() if process_reaper.program(number) == victim]


@pytest.mark.ray
def test_ray_that_always_dies_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrator.engine import tune
    from orchestrator.engine.tune.ray_lifecycle import RayDied
    from orchestrator.errors import SweepError

    starts = []

    def dies(cpus: int) -> Any:
        starts.append(cpus)
        raise RayDied("its raylet process ended")

    class Live:
        spec = sweep_spec(tmp_path)
        stop_reason = ""
        state = type("State", (), {"trials": {}})

    monkeypatch.setattr(tune, "instance", dies)
    with pytest.raises(SweepError, match=r"Ray has ended 4 times.*raylet"):
        tune.run(Live(), type("Nobody", (), {"reason": ""})(), roots=[])  # type: ignore[arg-type]
    assert len(starts) == tune.RESTARTS + 1


def sweep_spec(folder: Path) -> Any:
    from orchestrator.spec import load

    return load(written(folder))


# A trial's process dies, hangs or takes all memory


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("how", ["sleep", "stop", "gil"])
def test_a_trial_that_hangs_is_moved(tmp_path: Path, how: str) -> None:
    model = {
        "class_path": "tests.support.faulty.Hangs",
        "init_args": {"marker": str(tmp_path / "hung"), "how": how},
    }
    recovery = {"stalled_after": "3s"}
    sweep("launch", written(tmp_path, scheduler="fifo", model=model, budget={"trials": 3}, recovery=recovery))
    assert [row["status"] for row in rows()] == ["finished"] * 3
    assert [kind for _, kind in failures()] == ["stalled"]


@pytest.mark.slow
@pytest.mark.ray
def test_a_trial_that_the_kernel_kills_goes_on(tmp_path: Path) -> None:
    model = {"class_path": "tests.support.faulty.Killed", "init_args": {"marker": str(tmp_path / "killed")}}
    sweep("launch", written(tmp_path, scheduler="fifo", model=model, budget={"trials": 3}))
    assert [row["status"] for row in rows()] == ["finished"] * 3
    assert [kind for _, kind in failures()] == ["lost"]


@pytest.mark.slow
@pytest.mark.ray
def test_one_trial_out_of_memory_is_told_from_its_neighbour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's memory monitor kills, which ends Tune; the threshold is set just above what the machine uses now."""
    total, used = memory()
    if total - used < 4_000_000_000:
        pytest.skip("needs 4 GB of free memory")
    # Driver, Ray and two workers with torch and Lightning take some 2 GB; the greedy one as much again, if it may.
    monkeypatch.setenv("RAY_memory_usage_threshold", f"{(used + 3_000_000_000) / total:.4f}")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "100")
    arguments = {"marker": str(tmp_path / "greedy"), "megabytes": 3000, "pause": 0.2}
    model = {"class_path": "tests.support.faulty.Greedy", "init_args": arguments}
    sweep("launch", written(tmp_path, scheduler="fifo", model=model, budget={"trials": 3}))
    assert [row["status"] for row in rows()] == ["finished"] * 3
    kinds = [kind for _, kind in failures()]
    assert kinds.count("memory") == 1, kinds
    assert set(kinds) <= {"memory", "preempted"}


def memory() -> tuple[int, int]:
    """Bytes of memory in all, and in use."""
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    fields = {line[0].rstrip(":"): int(line[1]) * 1024 for line in lines}
    return fields["MemTotal"], fields["MemTotal"] - fields["MemAvailable"]


# What is known without Ray


def test_who_used_most_memory_is_to_blame() -> None:
    text = (
        "2 worker(s) were killed due to the node running low on memory.\nConsidered workers: [\n"
        "Selected to kill: (Actor(ca3d01): job ID=01, task name=T.__init__, pid=16900, actual memory used=0.11GB, x)\n"
        "Selected to kill: (Actor(531701): job ID=01, task name=T.__init__, pid=16901, actual memory used=1.25GB, x)\n]"
    )
    outer = RuntimeError("Caught unexpected exception")
    outer.__cause__ = MemoryError(text)
    assert loss_diagnosis.largest_memory_victim(outer) == "531701"
    assert loss_diagnosis.largest_memory_victim(RuntimeError("something else")) == ""
    assert loss_diagnosis.kind_of(text)[0] == "memory"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", "lost"),
        ("The actor died unexpectedly before finishing this task.\n\tpid: 7\nWorker exits with SIGKILL", "lost"),
        ("The actor died.\nThe actor is dead because its node has died. Node Id: 08ab", "node"),
        ("The actor died.\nits node has died: the node was preempted", "preempted"),
    ],
)
def test_what_rays_text_says_of_a_loss(text: str, kind: str) -> None:
    found, message = loss_diagnosis.kind_of(text)
    assert found == kind
    assert message
    assert "\n" not in message


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_segment_is_stalled_once_its_signs_of_life_end(tmp_path: Path, clock: Clock) -> None:
    file, dog = tmp_path / "progress", Watchdog(60, RunDirectory(tmp_path).changed, clock)
    file.touch()
    dog.start("a", file)
    clock.now = START_SECONDS - 1
    assert not list(dog.stalled()), "it may still be importing"
    os.utime(file, (0, 0))  # a clock that was set back: a change is a change
    for _ in range(5):
        assert not list(dog.stalled())
        clock.now += 55
        dog.alive("a")
    clock.now += 59
    assert not list(dog.stalled())
    clock.now += 8
    assert [name for name, _ in dog.stalled()] == ["a"]
    clock.now += 1000
    assert not list(dog.stalled()), "it is told of once"


def test_a_segment_that_never_shows_life_is_stalled_too(tmp_path: Path, clock: Clock) -> None:
    changed = RunDirectory(tmp_path).changed
    dog, never = Watchdog(60, changed, clock), Watchdog(None, changed, clock)
    for watchdog in (dog, never):
        watchdog.start("a", tmp_path / "absent")
        watchdog.start("b", tmp_path / "absent")
        watchdog.end("b")
    clock.now = START_SECONDS + 1
    assert [name for name, _ in dog.stalled()] == ["a"]
    assert not list(never.stalled())
