"""The read side: everything here is computed from the journal and changes nothing.

The module can be called: ``orchestrator.results("name")`` is ``Results("name")``. The room and the public function
share a name, and importing a submodule always binds it on its package, so the module itself has to be the function.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

from orchestrator.results.dataframes import BestTrial, Results
from orchestrator.results.run_state import read_state
from orchestrator.results.trial_rows import rows
from orchestrator.results.why import why

__all__ = ["BestTrial", "Results", "read_state", "rows", "why"]


class _ResultsModule(ModuleType):
    def __call__(self, name: str, runs: str | Path | None = None) -> Results:
        """What a run has found: ``.trials`` and ``.epochs`` as DataFrames, ``.best()``. Raises UsageError if none."""
        return Results(name, runs)


sys.modules[__name__].__class__ = _ResultsModule
