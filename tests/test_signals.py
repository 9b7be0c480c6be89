"""Signals in every phase of a launch: the right exit code, bounded time, nothing left running, and resumable."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from orchestrator.engine.stop_requests import StopRequests
from tests.chaos.forked import Forked
from tests.support.paths import ROOT
from tests.support.signalled_sweeps import SPEC, Process, events, journal, said, wait_for

FRESH = [sys.executable, "-m", "orchestrator"]
BOUND = 25.0  # seconds from a signal to the end of the process


def _trial_folder() -> Path:
    return journal().parent / "trials" / "0000" / "checkpoints"


# A phase, and how one sees from outside that it has come.
PHASES: dict[str, Callable[[], bool]] = {
    "parse": lambda: True,
    "start": lambda: (journal().parent / "lease").exists(),
    "run": lambda: said("segment.reported"),
    "checkpoint": lambda: _trial_folder().exists() and any(_trial_folder().iterdir()),
    "finish": lambda: said("trial.finished", 4) or said("sweep.completed"),
}
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts the command; what a failed test leaves is ended."""
    processes: list[Process] = []

    def start(*arguments: str, fresh: Sequence[str] = ()) -> Process:
        log = tmp_path / "log"
        if not fresh:
            processes.append(Forked(arguments, env=os.environ, output=log, errors=log))
        else:
            with log.open("wb") as output:
                processes.append(subprocess.Popen([*fresh, *arguments], cwd=ROOT, stdout=output, stderr=output))
        return processes[-1]

    yield start
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.wait()


def cases() -> Iterator[Any]:
    """Each signal in each phase; what is stopped under Ray in each phase, and by each signal while trials run."""
    for phase, number, local in product(PHASES, SIGNALS, (True, False)):
        if not local and (phase in ("parse", "checkpoint") or (phase != "run" and number is not signal.SIGINT)):
            continue  # the same code as --local
        sampled = (phase, number, local) == ("run", signal.SIGTERM, False)
        marks = [pytest.mark.ray] if sampled else [pytest.mark.ray, pytest.mark.slow]
        name = f"{phase}-{number.name}-{'local' if local else 'ray'}"
        yield pytest.param(phase, number, local, marks=marks, id=name)


@pytest.mark.parametrize(("phase", "number", "local"), list(cases()))
def test_a_signal_in_a_phase(
    phase: str, number: signal.Signals, local: bool, tmp_path: Path, started: Callable[..., Process]
) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text(json.dumps(SPEC))
    options = ["--local"] if local else []
    process = started("launch", str(file), *options, fresh=FRESH if phase == "parse" else ())
    wait_for(PHASES[phase], process)
    began = time.monotonic()
    process.send_signal(number)
    process.wait(60)
    output = (tmp_path / "log").read_text()
    took = time.monotonic() - began
    print(f"{phase} {number.name} {'local' if local else 'ray'}: exit {process.returncode} after {took:.1f} s")
    assert took < BOUND, output
    assert "Traceback" not in output
    # A process that a signal ends by default reads as 128 + signal in a shell.
    expected = {128 + number, -number} if phase in ("parse", "start", "finish") else {128 + number}
    if phase == "finish":
        expected.add(0)
    assert process.returncode in expected, output
    if not journal().exists():
        assert phase in ("parse", "start")
        assert not journal().parent.exists() or phase == "parse", "nothing was started, so nothing is left"
        return
    assert left_running(str(tmp_path)) == []
    again = started("resume", "tiny", "--local")
    assert again.wait(120) == 0, (tmp_path / "log").read_text()
    told = events()
    ends = [event["trial"] for event in told if event["type"] == "trial.finished"]
    assert sorted(ends) == [0, 1, 2, 3]
    assert told[-1]["type"] == "sweep.completed"


@pytest.mark.slow
@pytest.mark.ray
def test_under_nohup_a_closed_terminal_changes_nothing(tmp_path: Path, started: Callable[..., Process]) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text(json.dumps(SPEC))
    process = started("launch", str(file), "--local", fresh=["nohup", *FRESH])
    for phase in ("start", "run"):
        wait_for(PHASES[phase], process)
        process.send_signal(signal.SIGHUP)
    assert process.wait(60) == 0, (tmp_path / "log").read_text()
    assert events()[-1]["type"] == "sweep.completed"


@pytest.mark.slow
@pytest.mark.ray
def test_a_second_signal_ends_it_at_once(tmp_path: Path, started: Callable[..., Process]) -> None:
    slow = {"class_path": "tests.support.tiny.Tiny", "init_args": {"pause": 1.5}}  # an epoch of 6 s
    file = tmp_path / "tiny.yaml"
    file.write_text(json.dumps({**SPEC, "model": slow}))
    process = started("launch", str(file), "--local")
    wait_for(lambda: said("segment.started"), process)
    time.sleep(4)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    process.wait(60)
    output = (tmp_path / "log").read_text()
    assert process.returncode == 130, output
    assert time.monotonic() - began < 4, output
    assert events()[-1]["type"] == "sweep.paused"


def left_running(text: str) -> list[str]:
    """Command lines of processes, other than this one, that name the text (the test's own folder)."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in line and int(entry.name) != os.getpid():
            found.append(line)
    return found


def test_a_process_that_a_trial_forks_ends_by_sigterm() -> None:
    """``multiprocessing.Pool`` ends its workers so, and waits for them for ever."""
    context = multiprocessing.get_context("fork")
    is_up = context.Event()

    def work() -> None:
        is_up.set()
        time.sleep(30)

    with StopRequests():
        child = context.Process(target=work)
        child.start()
        assert is_up.wait(10)
        child.terminate()
        child.join(5)
        ended = child.exitcode
        child.kill()
        assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
    assert ended == -signal.SIGTERM
