"""The layout of a run directory: the one place that knows every file name in it, and where it lies.

`directory` is one in a folder, `away` one in object storage, `places` finds them by their names.
"""

from orchestrator.rundir.directory import RunDirectory
from orchestrator.rundir.places import list_runs, run_at, run_of, runs_root

__all__ = ["RunDirectory", "list_runs", "run_at", "run_of", "runs_root"]
