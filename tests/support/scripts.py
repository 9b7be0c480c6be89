"""Scripts that define the class they sweep, as people write them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.paths import ROOT

LAUNCH = """s = Sweep(name="own", model=M, data="tests.support.tiny.TinyData", objective=("val_loss", "min"),
          trainer={"max_epochs": 1}, space={"model.learning_rate": log_uniform(1e-3, 1e-1)}, searcher="random",
          scheduler="fifo", budget=1)
"""
HEAD = """from orchestrator import Sweep, log_uniform
from tests.support.tiny import Tiny
print("runs")
class M(Tiny): pass
"""
GUARD = 'if __name__ == "__main__":\n'
RUN = "print(s.launch({options}).trials['status'].tolist())\n"


def script(*, guard: bool, options: str = "local=True") -> str:
    """Return a script that launches a sweep of its own class."""
    body = LAUNCH + RUN.format(options=options)
    return HEAD + (GUARD + "".join(f"    {line}\n" for line in body.splitlines()) if guard else body)


def python(folder: Path, *arguments: str, stdin: str = "") -> tuple[int, str]:
    """Run Python in a folder; return the exit code and everything that it prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SWEEP_RUNS": str(folder / "runs")}
    answer = subprocess.run(
        [sys.executable, "-W", "ignore", *arguments], cwd=folder, input=stdin, env=environment,
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    return answer.returncode, answer.stdout + answer.stderr
