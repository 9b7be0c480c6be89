"""The layout of a run directory: the one place that knows every file name in it, and where it lies.

`directory` is one in a folder, `away` one in object storage, `places` finds them by their names.
"""

from orchestrator.rundir.locations import free_name, list_runs, run_at, run_of, runs_root
from orchestrator.rundir.run_directory import RunDirectory

__all__ = ["RunDirectory", "free_name", "list_runs", "run_at", "run_of", "runs_root"]
