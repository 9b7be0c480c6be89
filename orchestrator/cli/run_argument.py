"""The argument NAME: the run that a command is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.cli.output import print_lines

if TYPE_CHECKING:
    from orchestrator.rundir import RunDirectory

NEWEST = "-"
"""Means the newest run where a further argument follows NAME."""


def chosen_run(name: str | None, runs: str | None) -> RunDirectory:
    """Return the run that NAME means; if that is not its plain name, print which one on stderr.

    Raises:
        UsageError: There is none, or several are meant.
    """
    from orchestrator.results.run_state import find

    omitted = name in (None, NEWEST)
    run = find(None if omitted else name, runs)
    if omitted:
        print_lines(f"run: {run.name} (the newest here)", err=True)
    elif name != run.name and run.name.startswith(name or ""):
        print_lines(f"run: {run.name}", err=True)
    return run
