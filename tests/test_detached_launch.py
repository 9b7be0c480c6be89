"""A sweep that Python launches in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Sweep
from orchestrator.errors import SweepError, UsageError
from orchestrator.spec import load
from orchestrator.sweep import detached_launch
from tests.support.small_sweeps import spec


@pytest.mark.parametrize(
    ("code", "printed", "kind", "says"),
    [
        (2, {"error": {"message": "no such class", "hint": "write it"}}, UsageError, "no such class"),
        (3, {"error": {"message": "exists already", "hint": ""}}, SweepError, "exists already"),
        (1, "Traceback", SweepError, "ended with exit code 1"),
    ],
)
def test_why_it_does_not_start_is_raised(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int, printed: Any, kind: type[Exception], says: str
) -> None:
    asked: list[Any] = []

    def run(words: list[str], **options: Any) -> Any:
        asked.append((load(words[4]), words))
        text = printed if isinstance(printed, str) else json.dumps(printed)
        return subprocess.CompletedProcess(words, code, text)

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(kind, match=says):
        detached_launch.launch_detached(spec(), tmp_path, address="head:1")
    [(written, words)] = asked
    assert written == spec()
    assert words[5:] == ["--name", "tiny", "--runs", str(tmp_path), "--detach", "--json", "--address", "head:1"]


@pytest.mark.slow
def test_a_detached_sweep_ends_by_itself(tmp_path: Path) -> None:
    sweep = Sweep._of(spec(budget={"trials": 1}, trainer={"max_epochs": 1}), None)
    process = sweep.launch_detached(tmp_path, local=True)
    assert os.path.exists(f"/proc/{process}") or Sweep.attach("tiny", tmp_path).status().status == "completed"  # noqa: PTH110
    deadline = time.monotonic() + 200
    while Sweep.attach("tiny", tmp_path).status().status != "completed":
        assert time.monotonic() < deadline
        time.sleep(1)
    with pytest.raises(SweepError, match="exists already"):
        sweep.launch_detached(tmp_path, local=True)
