"""Many launches of one name: one gets it, every other is told so at once and changes nothing."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator.journal import read
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
    """The same through the command, Python's start and all; in seconds of CPU, since eight at once share two cores."""
    file = tmp_path / "tiny.yaml"
    file.write_text(json.dumps(SPEC))
    command = [sys.executable, "-m", "orchestrator", "launch", str(file), "--local"]
    winner = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not (Path(os.environ["SWEEP_RUNS"]) / "tiny" / "lease").exists():
        assert time.monotonic() < until
        time.sleep(0.01)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    losers = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    for loser in losers:
        stderr = loser.communicate(timeout=60)[1]
        assert loser.returncode == 3, stderr
        assert "hint: " in stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / len(losers)
    print(f"a loser costs {seconds:.2f} s of CPU")
    assert seconds <= 2.0
    assert winner.wait(timeout=120) == 0
