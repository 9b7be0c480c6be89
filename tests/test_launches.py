"""Many launches of one name: one gets it, every other is told so at once and changes nothing."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator.journal import Journal, read
from tests.support.paths import ROOT

LAUNCHES = 50
SPEC: dict[str, Any] = {
    "name": "tiny",
    "objective": {"metric": "val_loss", "mode": "min"},
    "model": {"class_path": "tests.support.tiny.Tiny", "init_args": {"pause": 0.05}},
    "data": "tests.support.tiny.TinyData",
    "trainer": {"max_epochs": 3},
    "space": {"model.learning_rate": {"log_uniform": [1e-3, 0.5]}},
    "searcher": "random",
    "scheduler": "fifo",
    "budget": {"trials": 3},
}

# Forked from one process that has imported and read all, so that what is timed is the launch and not Python's start.
AT_ONCE = """
    import os, pathlib, sys, time
    import lightning
    from orchestrator import sweep
    from orchestrator.errors import SweepError
    from orchestrator.spec import load

    spec, runs, count = load(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    gate, opener = os.pipe()
    children = {}
    for _ in range(count):
        child = os.fork()
        if not child:
            os.close(opener)
            os.dup2(2, 1)  # what a trial prints is not among the parent's lines
            os.read(gate, 1)
            code = 0
            try:
                sweep.launch(spec, runs, local=True)
            except SweepError as error:
                pathlib.Path(sys.argv[4], str(os.getpid())).write_text(str(error))
                code = error.exit_code
            os._exit(code)
        children[child] = None
    os.close(opener)
    began = time.monotonic()
    for _ in range(count):
        child, status = os.wait()
        print("exit", os.waitstatus_to_exitcode(status), round(time.monotonic() - began, 3), flush=True)
"""


@pytest.mark.slow
def test_of_fifty_launches_at_once_one_wins_and_the_others_say_who(tmp_path: Path) -> None:
    file = tmp_path / "tiny.yaml"
    file.write_text(json.dumps(SPEC))
    script = tmp_path / "at_once.py"
    script.write_text(textwrap.dedent(AT_ONCE))
    (tmp_path / "told").mkdir()
    answer = subprocess.run(
        [sys.executable, str(script), str(file), str(tmp_path / "runs"), str(LAUNCHES), str(tmp_path / "told")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    ends = [line.split()[1:] for line in answer.stdout.splitlines()]
    losers = [float(seconds) for code, seconds in ends if code == "3"]
    print(f"{LAUNCHES} launches: {len(losers)} exit 3, the last after {max(losers):.2f} s")
    assert sorted(code for code, _ in ends) == ["0", *["3"] * (LAUNCHES - 1)], answer.stderr
    assert max(losers) <= 2.0
    told = [path.read_text() for path in (tmp_path / "told").iterdir()]
    assert len(told) == LAUNCHES - 1
    assert all("process" in line or "exists already" in line for line in told), told
    assert sum("process" in line for line in told) > LAUNCHES / 2, "those that lose while the winner runs name it"
    finished = [
        event["trial"] for event in read(tmp_path / "runs" / "tiny" / "journal.jsonl") if "finished" in event.type
    ]
    assert finished == [0, 1, 2]


@pytest.mark.slow
def test_a_command_that_finds_the_name_taken_costs_little(tmp_path: Path) -> None:
    """The same through the command, in seconds of CPU: at most twice those of a command that looks at the run."""
    file = tmp_path / "tiny.yaml"
    file.write_text(json.dumps(SPEC))
    command = [sys.executable, "-m", "orchestrator", "launch", str(file), "--local"]
    winner = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not (Path(os.environ["SWEEP_RUNS"]) / "tiny" / "lease").exists():
        assert time.monotonic() < until
        time.sleep(0.01)
    seconds, losers = _cpu_seconds_of_eight(command)
    for code, stderr in losers:
        assert code == 3, stderr
        assert "hint: " in stderr
    reference, _ = _cpu_seconds_of_eight([sys.executable, "-m", "orchestrator", "status", "tiny"])
    print(f"a loser costs {seconds:.2f} s of CPU, sweep status {reference:.2f} s")
    assert seconds <= 2 * reference
    assert winner.wait(timeout=120) == 0


def _cpu_seconds_of_eight(command: list[str]) -> tuple[float, list[tuple[int, str]]]:
    """Run a command eight times at once; return what one takes of CPU, and exit code and stderr of each."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    processes = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    ends = [(process.communicate(timeout=60)[1], process.returncode) for process in processes]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / len(processes)
    return seconds, [(code, stderr) for stderr, code in ends]


# What a launch does as it comes to the import of torch: a finder sees it, and a signal ends the launch there.
AT_THE_IMPORT = """
    import json, os, pathlib, sys
    from orchestrator import sweep
    from orchestrator.errors import SweepError
    from orchestrator.spec import load

    def children():
        tasks = pathlib.Path("/proc/self/task").glob("*/children")
        found = [number for task in tasks for number in task.read_text().split()]
        return [pathlib.Path(f"/proc/{number}/cmdline").read_text().split("\\0")[-2] for number in found]

    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name == "torch" and "checks" not in said:
                said["checks"], said["names"] = children(), os.listdir(sys.argv[2])
                os.kill(os.getpid(), int(sys.argv[3]))

    said = {}
    sys.meta_path.insert(0, Finder())
    try:
        sweep.launch(load(sys.argv[1]), sys.argv[2])
    except SweepError as error:
        said["exit"], said["error"] = error.exit_code, str(error)
    said["imported"] = "lightning" in sys.modules
    said["left"] = children()
    print(json.dumps(said))
"""


def _at_the_import(tmp_path: Path, number: int) -> dict[str, Any]:
    (tmp_path / "tiny.yaml").write_text(json.dumps(SPEC))
    (tmp_path / "script.py").write_text(textwrap.dedent(AT_THE_IMPORT))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment.pop("SWEEP_NO_PREFLIGHT", None)
    answer = subprocess.run(
        [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "tiny.yaml"), str(tmp_path / "runs"), str(number)],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    said: dict[str, Any] = json.loads(answer.stdout)
    return said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_check_starts_before_torch_is_imported_and_a_signal_there_ends_all(tmp_path: Path, number: int) -> None:
    said = _at_the_import(tmp_path, number)
    assert said["names"] == ["tiny"]
    assert said["checks"] == ["orchestrator.training.code_check"]
    assert said["exit"] == 128 + number
    assert not said["imported"], "the signal waits for no import"
    assert said["left"] == []
    assert not (tmp_path / "runs").exists(), "a launch that has not started takes no name"


def test_a_launch_that_loses_its_name_imports_no_torch(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path / "runs" / "tiny" / "journal.jsonl")
    try:
        said = _at_the_import(tmp_path, signal.SIGTERM)
    finally:
        journal.discard()
    assert said["exit"] == 3
    assert f"process {os.getpid()}" in said["error"]
    assert "checks" not in said, "it came to no import, and started no check"
    assert said["left"] == []
