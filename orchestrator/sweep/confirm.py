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
from orchestrator.results.winner import finals_number, finals_of
from orchestrator.rundir import RunDirectory
from orchestrator.spec import Finalists, SweepSpec
from orchestrator.state import SweepState
from orchestrator.sweep.lifecycle import Outcome, extend, launch, resume
from orchestrator.sweep.preflight import import_from, unreachable


def confirm(
    name: str,
    runs: str | Path | None = None,
    *,
    finalists: Finalists | None = None,
    local: bool = False,
    address: str = "",
    observer: Observer | None = None,
    patient: bool = False,
) -> Outcome:
    """Let the best configurations train again under fresh seeds until the winner is clear, and write down who won.

    Asked again, it goes on where it was stopped; with more ``finalists.trials`` than before, beyond its end. Without
    ``finalists`` those of the spec count. The outcome is that of the finals, a sweep of its own. ``patient``: a cluster
    that finals have begun on and that does not answer is waited for.

    Raises UsageError where the search has not ended or has no trial with a value, RunHeldError while it runs.
    """
    run = find(name, runs)
    state = read_state(run)
    _check_ended(run, state)
    spec = SweepSpec.model_validate(state.spec)
    wanted = finalists or spec.finalists or Finalists()
    race, number = finals_of(run, state), finals_number(state)
    described = finals(state, wanted, number, race.name)
    import_from(state.created.get("roots", []), run)
    if problems := unreachable(spec):
        raise SpecError(problems)
    if not state.finals_open:
        _append(run, "finals.begun", number=number, folder=race.name)
    notifier = Notifier(spec.notify, run.name)
    try:
        where: dict[str, Any] = {"local": local, "address": address, "observer": observer}
        outcome = _race(race, described, wanted, where, patient=patient)
        found = confirmation(state, outcome.state) if outcome.state.status == "completed" else None
        if found is None or state.confirmation is None or state.confirmation["journal"] != found["journal"]:
            if found is not None:
                _append(run, "winner.confirmed", folder=race.name, **found)
            notifier.raced(outcome.state, found)
    except Exception as error:
        notifier.broke(state, error)
        raise
    finally:
        notifier.close()
    return outcome


def _race(
    race: RunDirectory, described: SweepSpec, wanted: Finalists, where: dict[str, Any], *, patient: bool
) -> Outcome:
    """Begin the race, go on with it, or let it go on beyond its end."""
    name, runs = race.name, race.runs
    if not has_begun(race):
        return launch(described, runs, **where)
    outcome = resume(name, runs, **where, patient=patient)
    known = outcome.state.spec["budget"]["trials"]
    if outcome.state.status == "completed" and wanted.trials > known:
        return extend(name, runs, trials=wanted.trials - known, **where)
    return outcome


def _check_ended(run: RunDirectory, state: SweepState) -> None:
    if state.status == "running":
        who = holder(run.journal)
        raise RunHeldError(f"{run.name!r} is still being run by {who}", hint="confirm it when it is over")
    if state.status != "completed":
        raise UsageError(f"{run.name!r} has not ended: it is {state.status}", hint=f"first sweep resume {run.name}")


def _append(run: RunDirectory, type: str, **fields: Any) -> None:
    journal = Journal.open(run.journal)
    try:
        journal.append(type, **fields)
    finally:
        journal.close()
