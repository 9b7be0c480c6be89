"""Commands that print what a sweep has done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.app import PANEL_READ, app
from orchestrator.cli.options import Json, Name, Runs, Trial
from orchestrator.cli.output import json_rows, print_json, print_lines, print_ranking, save_table
from orchestrator.cli.run_argument import chosen_run
from orchestrator.progress import counted
from orchestrator.safe_text import visible

_LAST_LINES = 10  # of the log of a segment that failed

if TYPE_CHECKING:
    from orchestrator.errors import RunStartingError
    from orchestrator.rundir import RunDirectory
    from orchestrator.state import Trial as State


@app.command(rich_help_panel=PANEL_READ)
def status(name: Name = None, runs: Runs = None, as_json: Json = False) -> None:
    """Print the progress of a run: its trials, its budget, its state.

    Example: sweep status
    """
    from dataclasses import asdict

    from orchestrator.errors import RunStartingError
    from orchestrator.results.failure_groups import failure_lines
    from orchestrator.results.live_trials import live_lines
    from orchestrator.results.run_state import has_begun, read_state
    from orchestrator.results.status import status_of
    from orchestrator.results.terminal_tables import left_text, spending, summary
    from orchestrator.results.verdict import evaluations_on_test_set, sentences
    from orchestrator.results.warning_digest import digest
    from orchestrator.results.winner import finals_of
    from orchestrator.rundir.startup import phases_text
    from orchestrator.rundir.stop_times import pending_stops

    run = chosen_run(name, runs)
    try:
        state = read_state(run)
    except RunStartingError as error:
        _print_start(run, error, as_json=as_json)
        return
    progress = status_of(run, state)
    if as_json:
        print_json(asdict(progress))
        return
    print_lines(summary(run, state, state.spec["budget"].get("trials")))
    print_lines(*(f"starting: {phases_text(progress.starting)}" for _ in progress.starting[:1]))
    if line := spending(progress.budget, progress.spent):
        print_lines(line)
    left = left_text(progress.time_left) if state.status != "completed" else ""
    print_lines(f"{state.status}{f' ({state.reason})' if state.reason else ''}{left and ', '}{left}; {run.where}")
    print_lines(*(f"will stop {when}" for when in pending_stops(run) if state.status == "running"))
    print_lines(*failure_lines(state, 3))
    print_lines(*live_lines({live.trial: live for live in progress.live}, state))
    finals = finals_of(run, state)
    if state.confirmation:
        print_lines(sentences(state.confirmation, state.objective.metric)[0])
    elif state.finals_open and has_begun(finals):
        race = read_state(finals)
        print_lines(f"finals: {summary(finals, race, race.spec['budget'].get('trials'))}; {race.status}")
    print_lines(*evaluations_on_test_set(state), *digest(run, state))


def _print_start(run: RunDirectory, error: RunStartingError, *, as_json: bool) -> None:
    """Print the progress of a run that has no journal yet."""
    from dataclasses import asdict

    from orchestrator.rundir.startup import starting

    if as_json:
        phases = [asdict(phase) for phase in starting(run)]
        print_json({"name": run.name, "status": "starting", "directory": run.where, "starting": phases})
    else:
        print_lines(error.message)


@app.command(rich_help_panel=PANEL_READ)
def results(
    name: Name = None,
    runs: Runs = None,
    as_json: Json = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the table to a .csv or .parquet file.")
    ] = None,
    reports: Annotated[
        bool,
        typer.Option(
            "--reports", "--epochs", help="Print one row for each report of a trial instead of one for each trial."
        ),
    ] = False,
) -> None:
    """Print the ranking of a run: every trial, best first.

    Example: sweep results cifar10 --out table.csv
    """
    from orchestrator.results import Results

    table = Results(chosen_run(name, runs))
    if out is not None:
        save_table(table.epochs if reports else table.trials, out)
    elif as_json:
        print_json(json_rows(table.epochs) if reports else table.rows)
    elif reports:
        print_lines(*table.epochs.rename(columns=visible).to_string(index=False).splitlines())
    else:
        print_ranking(table)


@app.command(rich_help_panel=PANEL_READ)
def best(name: Name = None, runs: Runs = None, as_json: Json = False) -> None:
    """Print the winner of a run: its objective, parameters and checkpoint.

    Example: sweep best cifar10 --json
    """
    from orchestrator.cli.outcome import best_record
    from orchestrator.progress import axis, figure
    from orchestrator.results import Results

    table = Results(chosen_run(name, runs))
    record = best_record(table)
    if as_json:
        print_json(record)
        return
    # The epoch is the progress where progress is in epochs; else people are told the latter.
    reached = {axis(table.state.unit): figure(record["progress"], table.state.unit)}
    for key, value in (record | reached).items():
        if key in {"epoch", "progress", "unit", "metric", "value"} - reached.keys():
            continue
        print_lines(f"{key}: {json.dumps(value) if isinstance(value, dict) else value}")


@app.command(rich_help_panel=PANEL_READ)
def why(name: Name = None, trial: Trial = None, runs: Runs = None, as_json: Json = False) -> None:
    """Explain a trial: why it got its parameters, why it ended, why it has its rank.

    Example: sweep why cifar10 --trial 7
    """
    from orchestrator.results import Results
    from orchestrator.results import why as explain

    table = Results(chosen_run(name, runs))
    number = table.best().trial if trial is None else trial
    sentences = explain(table.state, number)
    last = _last_lines(table.run, table.state.trials[number])
    if as_json:
        print_json({"trial": number, "why": sentences, **({"last_lines": last} if last else {})})
        return
    print_lines(f"trial {number}", *(f"  {sentence}" for sentence in sentences))
    if last:
        print_lines("  The last lines of its log:", *(f"    {line}" for line in last))


def _last_lines(run: RunDirectory, trial: State) -> list[str]:
    """Return the end of the log of a trial's last failed segment."""
    from orchestrator.results.log_reader import last_lines

    return last_lines(run, trial.number, trial.failures[-1].segment, _LAST_LINES) if trial.failures else []


@app.command(rich_help_panel=PANEL_READ)
def audit(name: Name = None, runs: Runs = None, as_json: Json = False) -> None:
    """Estimate how many winners early stopping has lost, what it saved, and which rungs predict the end.

    Example: sweep audit cifar10
    """
    from dataclasses import asdict

    from orchestrator.results.audit import audit_of
    from orchestrator.results.audit_text import audit_lines
    from orchestrator.results.run_state import read_state

    run = chosen_run(name, runs)
    state = read_state(run)
    result = audit_of(state)
    if as_json:
        print_json(asdict(result))
    else:
        print_lines(*audit_lines(run.name, result, state))


@app.command(rich_help_panel=PANEL_READ)
def verify(
    name: Name = None,
    runs: Runs = None,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="If the journal has two records of one number, as version 0.1.0 left it when it was interrupted, "
            "write a copy that can be read: NAME-repaired.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Check a run: read every journal record, replay every suggestion and decision, hash every checkpoint.

    Example: sweep verify cifar10
    """
    from dataclasses import asdict

    from orchestrator.results.verify import check

    run, dropped = chosen_run(name, runs), None
    checked = run.name
    if repair:
        run, dropped = _repair(run)
    findings = check(run)
    if as_json:
        print_json(asdict(findings) | ({"repaired": run.name, "dropped": dropped} if dropped else {}))
    else:
        if dropped:
            print_lines(f"{checked} stays as it is; the repaired copy is {run.where}, without {dropped}")
        print_lines(
            f"{run.name}: read {counted(findings.records, 'record')}, replayed "
            f"{counted(findings.suggestions, 'suggestion')} and {counted(findings.decisions, 'decision')}, "
            f"hashed {counted(findings.checkpoints, 'checkpoint')} ({findings.bytes / 1e6:.1f} MB)"
        )
        print_lines(*(f"  {line}" for line in (*findings.notes, *findings.violations)))
        print_lines("no violations" if not findings.violations else counted(len(findings.violations), "violation"))
    if findings.violations:
        raise typer.Exit(4)


def _repair(run: RunDirectory) -> tuple[RunDirectory, str | None]:
    """Return the repaired copy of a run and the record that it lacks; the run itself if its journal is sound."""
    from orchestrator.results.repaired_copy import write_repaired_copy

    written = write_repaired_copy(run)
    if written is None:
        return run, None
    copy, repair = written
    record = repair.dropped
    fields = ", ".join(f"{key} {record.fields[key]}" for key in ("trial", "epoch", "reason") if key in record.fields)
    return copy, f"one of two records of number {record.seq}: {record.type} ({fields})"
