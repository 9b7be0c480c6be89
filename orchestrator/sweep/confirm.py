"""Finals after a search: the best configurations train again, in a sweep of their own inside the run directory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.engine.controller import Observer
from orchestrator.errors import RunHeldError, SpecError, UsageError
from orchestrator.journal import Journal, holder
from orchestrator.notify import Notifier
from orchestrator.policies.finals import confirmation, finals
from orchestrator.results.run_state import find, has_begun, read_state
from orchestrator.results.run_trust import trusted_roots
from orchestrator.results.winner import finals_number, finals_of
from orchestrator.rundir import RunDirectory
from orchestrator.spec import Finalists, SweepSpec
from orchestrator.state import SweepState, spec_in_force
from orchestrator.sweep.execution import Outcome
from orchestrator.sweep.lifecycle import extend, launch, resume
from orchestrator.sweep.preflight import notify_problems
from orchestrator.training.class_loading.import_paths import import_from


def confirm(
    name: str,
    runs: str | Path | None = None,
    *,
    finalists: Finalists | None = None,
    local: bool = False,
    address: str = "",
    observer: Observer | None = None,
    wait_for_cluster: bool = False,
    trust: bool = False,
) -> Outcome:
    """Train the best configurations again under fresh seeds until the winner is clear, and record the winner.

    Stopped finals resume. Ended finals are extended if ``finalists.trials`` is larger than before.

    Args:
        name: of the run.
        runs: the folder of runs, or a URL.
        finalists: by default those of the spec.
        local: run the trials in this process.
        address: a Ray cluster's.
        observer: called with the finals' state and each new event.
        wait_for_cluster: when finals resume, wait for a cluster that does not answer.
        trust: import what the run names, although somebody else wrote it.

    Returns:
        The outcome of the finals, a sweep of their own.

    Raises:
        UsageError: The search has not ended, or has no trial with a value.
        RunHeldError: The search is running.
    """
    run = find(name, runs)
    state = read_state(run)
    _require_ended(run, state)
    spec = spec_in_force(state)
    finalists = finalists or spec.finalists or Finalists()
    finals_run, number = finals_of(run, state), finals_number(state)
    finals_spec = finals(state, finalists, number, finals_run.name)
    import_from(trusted_roots(run, state, trust=trust))
    if problems := notify_problems(spec):
        raise SpecError(problems)
    if not state.finals_open:
        _append(run, "finals.begun", number=number, folder=finals_run.name)
    notifier = Notifier(spec.notify, run.name)
    options: dict[str, Any] = {"local": local, "address": address, "observer": observer}
    resumed: dict[str, Any] = {"wait_for_cluster": wait_for_cluster, "trust": trust}
    try:
        outcome = _run_finals(finals_run, finals_spec, finalists, options, resumed)
        result = confirmation(state, outcome.state) if outcome.state.status == "completed" else None
        if result is None or state.confirmation is None or state.confirmation["journal"] != result["journal"]:
            if result is not None:
                _append(run, "winner.confirmed", folder=finals_run.name, **result)
            notifier.finals_ended(outcome.state, result)
    except Exception as error:
        notifier.finals_failed(state, error)
        raise
    finally:
        notifier.close()
    return outcome


def _run_finals(
    run: RunDirectory, spec: SweepSpec, finalists: Finalists, options: dict[str, Any], resumed: dict[str, Any]
) -> Outcome:
    """Launch the finals, resume them, or extend them to ``finalists.trials``; ``resumed`` are options of resume."""
    if not has_begun(run):
        return launch(spec, run.runs, **options, preflight=False)  # the search has run this code
    outcome = resume(run.name, run.runs, **options, **resumed)
    trials = outcome.state.spec["budget"]["trials"]
    if outcome.state.status == "completed" and finalists.trials > trials:
        return extend(run.name, run.runs, trials=finalists.trials - trials, **options, trust=resumed["trust"])
    return outcome


def _require_ended(run: RunDirectory, state: SweepState) -> None:
    if state.status == "running":
        who = holder(run.journal)
        raise RunHeldError(f"{run.name!r} is still being run by {who}", hint="confirm it once it has ended")
    if state.status != "completed":
        raise UsageError(f"{run.name!r} has not ended: it is {state.status}", hint=f"first sweep resume {run.name}")


def _append(run: RunDirectory, type: str, **fields: Any) -> None:
    journal = Journal.open(run.journal)
    try:
        journal.append(type, **fields)
    finally:
        journal.close()
