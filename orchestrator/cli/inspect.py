"""Commands that say what a sweep has done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.cli.app import (
    Json,
    Name,
    Runs,
    app,
    complain,
    print_json,
    print_ranking,
    records,
    save,
    say,
    wide_console,
)
from orchestrator.safe_text import visible


@app.command(rich_help_panel="Read what it did")
def status(name: Name, runs: Runs = None, as_json: Json = False) -> None:
    """How far a run is."""
    from orchestrator.policies.budget import amounts
    from orchestrator.results.run_state import find, has_begun, read_state
    from orchestrator.results.terminal_tables import spending, summary
    from orchestrator.results.verdict import evaluations_on_test_set, sentences
    from orchestrator.results.winner import finals_of
    from orchestrator.spec import SweepSpec

    run = find(name, runs)
    state = read_state(run)
    spent = amounts(SweepSpec.model_validate(state.spec), state)
    if as_json:
        print_json(
            {
                "name": run.name,
                "status": state.status,
                "reason": state.reason,
                "trials": {
                    word: state.count(word)
                    for word in ("running", "interrupted", "set_aside", "finished", "stopped", "failed")
                },
                "budget": state.spec["budget"],
                "spent": spent,
                "seconds": round(state.active_seconds, 3),
                "directory": run.where,
            }
        )
        return
    say(summary(run, state, state.spec["budget"].get("trials")))
    if line := spending(state.spec["budget"], spent):
        say(line)
    say(f"{state.status}{f' ({state.reason})' if state.reason else ''}; {run.where}")
    finals = finals_of(run, state)
    if state.confirmation:
        say(sentences(state.confirmation, state.objective.metric)[0])
    elif state.finals_open and has_begun(finals):
        race = read_state(finals)
        say(f"finals: {summary(finals, race, race.spec['budget'].get('trials'))}; {race.status}")
    say(*evaluations_on_test_set(state))


@app.command(rich_help_panel="Read what it did")
def watch(name: Name, runs: Runs = None) -> None:
    """See a run on the whole screen, while it runs or afterwards; where there is no screen, how it stands now."""
    import os
    import sys

    from orchestrator.results.run_state import find
    from orchestrator.watch.snapshot import show, why_no_screen
    from orchestrator.watch.watched_sweep import Watched

    run = find(name, runs)
    streams = (sys.stdin, sys.stdout, sys.stderr)  # the last is where the screen is drawn
    reason = why_no_screen(os.environ, terminal=all(stream.isatty() for stream in streams))
    if reason is not None:
        if reason:
            complain(reason)
        watched = Watched(run)
        watched.look()
        show(watched)
        return
    from orchestrator.watch.screen import WatchApp

    WatchApp(run).run()


@app.command("list", rich_help_panel="Read what it did")
def list_(runs: Runs = None, as_json: Json = False) -> None:
    """The runs that are here."""
    from orchestrator.errors import JournalError
    from orchestrator.results.run_state import read_state
    from orchestrator.results.terminal_tables import summary
    from orchestrator.rundir import list_runs

    listed: list[tuple[dict[str, Any], str]] = []
    for run in list_runs(runs):
        try:
            state = read_state(run)
        except JournalError as error:  # one damaged run does not hide the others
            listed.append(({"name": run.name, "status": "damaged", "trials": None}, f"{run.name}: {error.message}"))
            continue
        row = {"name": run.name, "status": state.status, "trials": len(state.trials)}
        listed.append((row, f"{summary(run, state, state.spec['budget'].get('trials'))}; {state.status}"))
    if as_json:
        print_json([row for row, _ in listed])
        return
    say(*(line for _, line in listed))


@app.command(rich_help_panel="Read what it did")
def results(
    name: Name,
    runs: Runs = None,
    as_json: Json = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the table to a .csv or .parquet file.")
    ] = None,
    epochs: Annotated[bool, typer.Option("--epochs", help="One row a trial and epoch instead of one a trial.")] = False,
) -> None:
    """The ranking of a run: every trial, best first."""
    from orchestrator.results import Results

    found = Results(name, runs)
    if out is not None:
        save(found.epochs if epochs else found.trials, out)
    elif as_json:
        print_json(records(found.epochs) if epochs else found.rows)
    elif epochs:
        shown = found.epochs.rename(columns=visible).to_string(index=False)
        say(*shown.splitlines())
    else:
        print_ranking(found)


@app.command(rich_help_panel="Read what it did")
def why(
    name: Name,
    trial: Annotated[int | None, typer.Option("--trial", help="Number of the trial; else the winner.")] = None,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Why a trial got its parameters, ended as it did, and stands where it stands."""
    from orchestrator.results import Results
    from orchestrator.results import why as explain

    found = Results(name, runs)
    number = found.best().trial if trial is None else trial
    sentences = explain(found.state, number)
    if as_json:
        print_json({"trial": number, "why": sentences})
        return
    say(f"trial {number}", *(f"  {sentence}" for sentence in sentences))


@app.command(rich_help_panel="Read what it did")
def verify(name: Name, runs: Runs = None, as_json: Json = False) -> None:
    """Check a run: its journal's every record, each suggestion and decision derived anew, each checkpoint's SHA-256."""
    from dataclasses import asdict

    from orchestrator.results.run_state import find
    from orchestrator.results.verify import check

    found = check(find(name, runs))
    if as_json:
        print_json(asdict(found))
    else:
        say(
            f"{name}: {found.records} records read, {found.suggestions} suggestions and {found.decisions} decisions "
            f"derived anew, {found.checkpoints} checkpoints ({found.bytes / 1e6:.1f} MB) compared with what was written"
        )
        say(*(f"  {line}" for line in (*found.notes, *found.violations)))
        say("all as it should be" if not found.violations else f"{len(found.violations)} violations")
    if found.violations:
        raise typer.Exit(4)


@app.command(rich_help_panel="Read what it did")
def best(name: Name, runs: Runs = None, as_json: Json = False) -> None:
    """The winner of a run: its objective, parameters and checkpoint."""
    from orchestrator.results import Results

    found = Results(name, runs)
    winner = found.best()
    record = {
        "trial": winner.trial,
        found.metric: winner.value,
        "epoch": winner.epoch,
        "params": winner.params,
        "checkpoint": str(winner.checkpoint) if winner.checkpoint else None,
        "confirmed": winner.confirmed,
    }
    if as_json:
        print_json(record)
        return
    for key, value in record.items():
        say(f"{key}: {json.dumps(value) if isinstance(value, dict) else value}")


@app.command(rich_help_panel="Read what it did")
def simulate(
    source: Annotated[str, typer.Argument(metavar="NAME|TABLE.npz", help="A run, or a table of learning curves.")],
    searcher: Annotated[str | None, typer.Option("--searcher", help="Another searcher: its name or path.")] = None,
    scheduler: Annotated[str | None, typer.Option("--scheduler", help="Another scheduler.")] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Trials at once; else as in the run.")] = None,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Seeds that each search runs under.")] = 20,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set any field: --set budget.trials=200. May be repeated."),
    ] = None,
    task: Annotated[str | None, typer.Option("--task", help="Which curves of a table that holds several.")] = None,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """What another search would have cost and found, on the curves of a run or of a table; nothing is trained."""
    from dataclasses import asdict

    from orchestrator.engine.recorded_curves import of_sweep, of_table
    from orchestrator.engine.search_comparison import as_it_was, compare
    from orchestrator.results.run_state import find, read_state

    state = None if source.endswith(".npz") else read_state(find(source, runs))
    found = of_table(Path(source), task) if state is None else of_sweep(source, state)
    named = {"searcher": searcher, "scheduler": scheduler}
    asked = [*(f"{key}={value}" for key, value in named.items() if value), *(overrides or ())]
    was = [] if state is None else [as_it_was(found, state)]
    searches = was + compare(found, asked, workers or (state.slots if state else 1), seeds, complain)
    if as_json:
        best = found.objective.loss(found.best)
        print_json({"best": best, "searches": [asdict(search) for search in searches], "notes": found.notes})
        return
    _print_searches([asdict(search) for search in searches], found.objective.metric, found.notes)


def _print_searches(searches: list[dict[str, Any]], metric: str, notes: list[str]) -> None:
    from orchestrator.results.terminal_tables import comparison

    wide_console().print(comparison(searches, metric))
    say(*(f"note: {note}" for note in notes), err=True)
