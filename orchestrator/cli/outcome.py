"""The end of a command that runs trials: its ranking, the confirmation of its winner, and the next steps."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from orchestrator.cli.output import (
    command_line,
    print_json,
    print_lines,
    print_next,
    print_notices,
    print_ranking,
    wide_console,
)
from orchestrator.cli.supervisor import is_replacement
from orchestrator.cli.watch_key import WatchKey
from orchestrator.safe_text import show

if TYPE_CHECKING:
    from orchestrator.results import Results
    from orchestrator.rundir import RunDirectory
    from orchestrator.sweep import Outcome


def finish(outcome: Outcome, *, local: bool, address: str, as_json: bool = False) -> None:
    """Print the ranking, the winner and the next steps, run finals that are due, and exit with the run's code.

    As JSON, one record is printed at the end.
    """
    with contextlib.suppress(OSError):  # a closed terminal does not change the exit code
        if not as_json:
            _print_outcome(outcome, next_steps=not outcome.finals_due)
        print_notices(outcome.notices)
    code = outcome.exit_code
    if outcome.finals_due:
        code = run_finals(outcome.run, {}, local=local, address=address, silent=as_json)
    if as_json:
        with contextlib.suppress(OSError):
            print_json(run_record(outcome.run, outcome.notices))
    raise typer.Exit(code)


def run_record(run: RunDirectory, notices: Sequence[str] = ()) -> dict[str, Any]:
    """Return how a run stands, for JSON: its state, its winner and, if there were finals, what they confirmed."""
    from orchestrator.results import Results
    from orchestrator.results.status import STATUSES

    results = Results(run)
    state = results.state
    return {
        "name": run.name,
        "directory": run.where,
        "status": state.status,
        "reason": state.reason,
        "trials": {status: state.count(status) for status in STATUSES},
        "best": best_record(results) if state.winner() is not None else None,
        "confirmation": state.confirmation or None,
        "notices": list(notices),
    }


def best_record(results: Results) -> dict[str, Any]:
    """Return the winner for JSON; its value is under the metric's name, and as ``value``."""
    from orchestrator.codec import display, written

    winner = results.best()
    return {
        "trial": winner.trial,
        "metric": results.metric,
        "value": winner.value,
        results.metric: winner.value,
        "epoch": winner.epoch,
        "progress": winner.progress,
        "unit": results.state.unit,
        "params": {name: display(written(value)) for name, value in winner.params.items()},
        "checkpoint": str(winner.checkpoint) if winner.checkpoint else None,
        "confirmed": winner.confirmed,
    }


def run_finals(
    run: RunDirectory,
    options: Mapping[str, Any],
    *,
    local: bool,
    address: str,
    as_json: bool = False,
    silent: bool = False,
    trust: bool = True,
) -> int:
    """Run the finals of a run, show their progress and result, and return the exit code.

    ``options`` override fields of the spec's ``finalists``. ``trust`` is given for a run that this command has run.
    """
    from orchestrator.results.launch_progress import Progress
    from orchestrator.results.run_state import read_state
    from orchestrator.results.winner import finals_of
    from orchestrator.spec import finalists

    state = read_state(run)
    merged = finalists({**(state.spec.get("finalists") or {}), **options})
    from orchestrator import sweep

    finals = finals_of(run, state)
    with Progress(finals) as progress, WatchKey(finals, progress, own=not local):
        outcome = sweep.confirm(
            run.name,
            run.runs,
            finalists=merged,
            local=local,
            address=address,
            observer=progress,
            wait_for_cluster=is_replacement(),
            trust=trust,
        )
    with contextlib.suppress(OSError):  # a closed terminal does not change the exit code
        if not silent:
            _print_finals(run, outcome, as_json=as_json)
    return outcome.exit_code


def _print_outcome(outcome: Outcome, *, next_steps: bool) -> None:
    from orchestrator.results import Results
    from orchestrator.results.warning_digest import digest

    results = Results(outcome.run)
    name, runs = outcome.run.name, outcome.run.runs
    print_ranking(results)
    if outcome.state.status == "paused":
        resume = command_line("resume", name, runs)
        print_lines("", f"stopped: {outcome.state.reason}", f"resume with: {resume}", err=True)
    if failed := outcome.state.count("failed"):
        print_lines(f"{failed} failed; retry with: {command_line('retry', name, runs, '--failed')}", err=True)
    print_lines(*digest(outcome.run, results.state), err=True)
    if results.state.winner() is None:
        print_lines("", _no_winner(results), err=True)
        return
    from orchestrator.progress import place

    best = results.best()
    at = place(best.progress, results.state.unit)
    print_lines("", f"best: trial {best.trial}, {results.metric} {show(best.value)} at {at}")
    print_lines(f"checkpoint: {best.checkpoint or 'none, since the code saves none'}")
    if next_steps:
        steps = [
            (command_line("results", name, runs, "--json"), "every trial, ranked, as JSON"),
            (command_line("why", name, runs), "why the winner won; --trial N for another trial"),
            (command_line("report", name, runs), "one page with all figures"),
        ]
        if outcome.state.status == "completed":  # else it is refused
            steps.append(
                (command_line("confirm", name, runs), "retrain the best under fresh seeds to confirm the winner")
            )
        if results.state.spec.get("model") is not None:
            steps.append((command_line("export", name, runs), "write the winner to a folder"))
        print_next(steps)


def _no_winner(results: Results) -> str:
    error = next((row["error"] for row in results.rows if row["error"]), None)
    reason = f"; one failed with: {error}" if error else ""
    return f"no trial has a finite {results.metric}{results.state.objective.within}{reason}"


def _print_finals(run: RunDirectory, outcome: Outcome, *, as_json: bool) -> None:
    from orchestrator.errors import UsageError
    from orchestrator.results.run_state import read_state
    from orchestrator.results.verdict import finalist_table, sentences
    from orchestrator.results.winner import winner

    name, runs = run.name, run.runs
    state = read_state(run)
    confirmation = state.confirmation
    if outcome.state.status != "completed" or confirmation is None:
        confirm = command_line("confirm", name, runs)
        print_lines("", f"stopped: {outcome.state.reason}", f"resume with: {confirm}", err=True)
        return
    if as_json:
        print_json(confirmation)
        return
    metric = state.objective.metric
    wide_console().print(finalist_table(confirmation))
    print_lines(*sentences(confirmation, metric))
    with contextlib.suppress(UsageError):  # code of the user's may save no checkpoint
        best = winner(run, state)
        print_lines(f"its best model: {best.title}, {metric} {show(best.best.value)}")
        print_lines(f"checkpoint: {best.run.locate(best.checkpoint.path)}")
    steps = [
        (command_line("test", name, runs), "evaluate the winner on the test set, once"),
        (command_line("export", name, runs), "write the winner to a folder"),
    ]
    if state.spec.get("model") is None:
        steps = [(command_line("report", name, runs), "one page with all figures")]
    if not confirmation["clear"]:
        trials = str(2 * outcome.state.spec["budget"]["trials"])
        steps.insert(0, (command_line("confirm", name, runs, "--trials", trials), "more trainings to settle it"))
    print_next(steps)
