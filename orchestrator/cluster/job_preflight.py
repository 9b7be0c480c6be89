"""The first step of a submitted job: check the version of this project, and the folder of runs, on the cluster.

    python -m orchestrator.cluster.job_preflight VERSION [RUNS]

It imports the standard library and `orchestrator.secrets` only.
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import version

from orchestrator.secrets import guard_streams

READY = "this is sweep-orchestrator"


def main(expected: str, runs: str = "") -> int:
    """Return 0 if this project has the expected version here and the runs have a folder; else print why, return 2."""
    installed = version("sweep-orchestrator")
    if installed != expected:
        message = f"the cluster has sweep-orchestrator {installed}, but {expected} submitted the job"
        print(f"error: {message}", file=sys.stderr)
        print(f"hint: update the cluster (sweep cluster up), or install {installed} here", file=sys.stderr)
        return 2
    folder = runs or os.environ.get("SWEEP_RUNS", "")
    if not folder or ("://" not in folder and not os.path.isdir(os.path.dirname(os.path.abspath(folder)))):  # noqa: PTH112, PTH120, PTH100
        reason = (
            f"the cluster has no folder {folder} for the runs" if folder else "no folder of runs is set on the cluster"
        )
        print(f"error: {reason}", file=sys.stderr)
        print("hint: specify a folder that every node sees: --runs DIR, or SWEEP_RUNS=DIR on the head", file=sys.stderr)
        return 2
    print(f"{READY} {installed}", flush=True)
    return 0


if __name__ == "__main__":
    guard_streams()
    sys.exit(main(*sys.argv[1:]))
