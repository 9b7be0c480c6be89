"""Sweeps under a real Ray, through the command line, and what they leave behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.forked import Forked
from tests.support.paths import ROOT

SWEEP = [sys.executable, "-m", "orchestrator"]


SPEC: dict[str, Any] = {
    "name": "tiny",
    "seed": 3,
    "objective": {"metric": "val_loss", "mode": "min"},
    "model": {"class_path": "tests.support.tiny.Tiny", "init_args": {}},
    "data": "tests.support.tiny.TinyData",
    "trainer": {"max_epochs": 3},
    "space": {"model.learning_rate": {"log_uniform": [1e-3, 0.5]}},
    "searcher": "random",
    "scheduler": {"name": "asha", "grace_epochs": 1, "reduction_factor": 2},
    "budget": {"trials": 8},
    "resources": {"cpus": 0.5, "concurrent": 2},
}


_drivers: list[Forked] = []  # of this test


def written(folder: Path, **fields: Any) -> str:
    path = folder / "tiny.yaml"
    path.write_text(json.dumps({**SPEC, **fields}))  # JSON is YAML
    return str(path)


def sweep(*arguments: str, code: int = 0) -> str:
    """Run a command to its end, and return what it prints."""
    if arguments[0] not in ("launch", "resume"):  # these import neither torch nor Lightning
        answer = subprocess.run([*SWEEP, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
        assert answer.returncode == code, answer.stderr
        return answer.stdout
    output = _log().with_name("stdout")
    process = started(*arguments, output=output)
    assert process.wait(240) == code, said()
    assert "Traceback" not in said()
    return output.read_text()


def started(*arguments: str, output: str | Path = os.devnull) -> Forked:
    """A command that runs; `said` is what it writes on stderr."""
    _drivers.append(Forked(arguments, env=os.environ, output=output, errors=_log()))
    return _drivers[-1]


def said() -> str:
    return _log().read_text()


def _log() -> Path:
    return Path(os.environ["SWEEP_RUNS"]).with_name("stderr")


def rows() -> list[dict[str, Any]]:
    found = json.loads(sweep("results", "tiny", "--json"))
    assert isinstance(found, list)
    return found


def events() -> list[dict[str, Any]]:
    path = Path(os.environ["SWEEP_RUNS"]) / "tiny" / "journal.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def wait_for(condition: Any, process: Forked) -> None:
    until = time.monotonic() + 200
    while True:
        try:
            if condition():
                return
        except (FileNotFoundError, json.JSONDecodeError):
            pass
        assert process.poll() is None, f"the sweep ended with {process.returncode}"
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.fixture
def nothing_is_left(own_environment: None) -> Any:
    yield
    until = time.monotonic() + 10
    while (left := ours()) and time.monotonic() < until:
        time.sleep(0.2)
    for driver in _drivers:
        driver.kill()
    _drivers.clear()
    assert not left, left


def ours() -> dict[int, str]:
    """Processes whose environment carries this test's folder of runs, with what they run; the test itself is none.

    A forked driver counts too: the system shows the environment of the process that it was forked from.
    """
    runs = os.environ["SWEEP_RUNS"].encode()
    found = {driver.pid: " ".join(driver.args) for driver in _drivers if driver.poll() is None}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if int(folder.name) != os.getpid() and runs in (folder / "environ").read_bytes():
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
    return found
