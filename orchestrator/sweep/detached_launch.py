"""Launch a sweep from Python in a process that outlives this one, by the command that does so in a terminal."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from orchestrator.errors import SweepError, UsageError
from orchestrator.rundir import runs_root
from orchestrator.spec import SweepSpec, to_yaml


def launch_detached(spec: SweepSpec, runs: str | Path | None = None, *, local: bool = False, address: str = "") -> int:
    """Start the sweep and return the number of its process once it runs.

    Raises:
        UsageError: The sweep cannot be started; the message is the command's.
        SweepError: It failed for another reason.
    """
    with tempfile.TemporaryDirectory(prefix="sweep-detached-") as folder:
        file = Path(folder) / "sweep.yaml"
        file.write_text(to_yaml(spec), encoding="utf-8")
        words = ["launch", str(file), "--name", spec.name, "--runs", str(runs_root(runs)), "--detach", "--json"]
        words += ["--local"] if local else []
        words += ["--address", address] if address else []
        ended = subprocess.run(
            [sys.executable, "-m", "orchestrator", *words], stdout=subprocess.PIPE, text=True, check=False
        )
    try:
        printed = json.loads(ended.stdout)
    except ValueError:
        raise SweepError(f"the detached launch ended with exit code {ended.returncode}") from None
    if ended.returncode == 0:
        return int(printed["process"])
    error = printed.get("error") or {}
    kind = UsageError if ended.returncode == 2 else SweepError
    raise kind(str(error.get("message", "the sweep did not start")), hint=str(error.get("hint", "")))
