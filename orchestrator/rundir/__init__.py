"""The layout of a run directory, and where it is.

`run_directory` is one in a folder, `object_store_run` one in object storage, and `locations` finds them by name.
"""

from orchestrator.rundir.locations import free_name, list_runs, run_at, run_of, runs_root
from orchestrator.rundir.run_directory import RunDirectory

__all__ = ["RunDirectory", "free_name", "list_runs", "run_at", "run_of", "runs_root"]
