"""Read a sweep: tables, rankings, explanations, figures and reports, all computed from its journal.

Nothing here changes a run. Start with `load_results` or `Results`.
"""

from __future__ import annotations

from orchestrator.results.dataframes import BestTrial, Results, load_results
from orchestrator.results.run_state import read_state
from orchestrator.results.trial_rows import rows
from orchestrator.results.why import why

__all__ = ["BestTrial", "Results", "load_results", "read_state", "rows", "why"]
