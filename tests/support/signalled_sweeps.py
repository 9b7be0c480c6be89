"""Sweeps in a process of their own that are sent signals."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.chaos.forked import Forked

SPEC: dict[str, Any] = {
    "name": "tiny",
    "seed": 3,
    "objective": {"metric": "val_loss", "mode": "min"},
    "model": {"class_path": "tests.support.tiny.Tiny", "init_args": {"pause": 0.02}},
    "data": "tests.support.tiny.TinyData",
    "trainer": {"max_epochs": 8},
    "space": {"model.learning_rate": {"log_uniform": [1e-3, 0.5]}},
    "searcher": "random",
    "scheduler": "fifo",
    "budget": {"trials": 4},
    "resources": {"cpus": 0.5, "concurrent": 2},
}


def journal() -> Path:
    return Path(os.environ["SWEEP_RUNS"]) / "tiny" / "journal.jsonl"


def events() -> list[dict[str, Any]]:
    whole = [line for line in journal().read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    return [json.loads(line) for line in whole]


def said(type: str, count: int = 1) -> bool:
    return journal().exists() and sum(event["type"] == type for event in events()) >= count


Process = Forked | subprocess.Popen[bytes]


def wait_for(condition: Callable[[], bool], process: Process, seconds: float = 90.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, f"exit code {process.returncode}"
        assert time.monotonic() < until, "it did not come to that in time"
        time.sleep(0.005)
