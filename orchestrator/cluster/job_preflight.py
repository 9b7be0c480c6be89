"""What a job does first on the cluster: see that it is at home there. No more than the standard library is imported.

python -m orchestrator.cluster.job_preflight VERSION [RUNS]
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import version

from orchestrator.secrets import guard_streams

READY = "this is sweep-orchestrator"


def main(expected: str, runs: str = "") -> int:
    """0 where this project is here in the version that is expected and the runs have a folder; else 2, and why."""
    here = version("sweep-orchestrator")
    if here != expected:
        print(f"error: the cluster has sweep-orchestrator {here}, and it was submitted by {expected}", file=sys.stderr)
        print("hint: one version everywhere: bring the cluster up again, or use the other one here", file=sys.stderr)
        return 2
    folder = runs or os.environ.get("SWEEP_RUNS", "")
    if not folder or ("://" not in folder and not os.path.isdir(os.path.dirname(os.path.abspath(folder)))):  # noqa: PTH112, PTH120, PTH100
        said = f"there is no {folder} here for the runs" if folder else "the cluster names no folder for the runs"
        print(f"error: {said}", file=sys.stderr)
        print("hint: a folder that every node sees: --runs DIR, or SWEEP_RUNS=DIR on the head", file=sys.stderr)
        return 2
    print(f"{READY} {here}", flush=True)
    return 0


if __name__ == "__main__":
    guard_streams()
    sys.exit(main(*sys.argv[1:]))
