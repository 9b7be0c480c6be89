"""Commands that say how good the winner really is."""

from __future__ import annotations

import contextlib
import sys
from typing import Annotated, Any

import typer

from orchestrator.cli.app import (
    Address,
    Json,
    Local,
    Name,
    Runs,
    app,
    command,
    print_json,
    print_next,
    say,
    wide_console,
)
from orchestrator.cli.supervisor import again, alone, supervise

_PANEL = "The winner"


@app.command(rich_help_panel=_PANEL)
def confirm(
    name: Name,
    top: Annotated[
        int | None, typer.Option("--top", min=1, help="How many of the best take part; near-ties come on top.")
    ] = None,
    trials: Annotated[
        int | None, typer.Option("--trials", min=3, help="Trainings at most, of all together; more to go on.")
    ] = None,
    confidence: Annotated[
        float | None, typer.Option("--confidence", help="Probability of being the best with which one has won.")
    ] = None,
    runs: Runs = None,
    local: Local = False,
    address: Address = "",
    as_json: Json = False,
) -> None:
    """Train the best again in full, under fresh seeds, until the winner is clear: mean, interval, and how sure."""
    from orchestrator.results.run_state import find, read_state
    from orchestrator.results.winner import finals_of

    run = find(name, runs)
    given = {"top": top, "trials": trials, "confidence": confidence}
    if alone(address, local):
        raise typer.Exit(supervise(finals_of(run, read_state(run)), sys.argv[1:]))
    raise typer.Exit(
        hold_finals(run, {key: value for key, value in given.items() if value is not None}, local, address, as_json)
    )


def hold_finals(run: Any, given: dict[str, Any], local: bool, address: str, as_json: bool = False) -> int:
    """Finals of a run, with their progress, and what they came to; returns the exit code."""
    from orchestrator.results.run_state import read_state
    from orchestrator.results.terminal_tables import Progress
    from orchestrator.results.winner import finals_of
    from orchestrator.spec import finalists

    state = read_state(run)
    wanted = finalists({**(state.spec.get("finalists") or {}), **given})
    from orchestrator import sweep

    race = finals_of(run, state)
    with Progress(race) as progress:
        outcome = sweep.confirm(
            run.name, run.runs, finalists=wanted, local=local, address=address, observer=progress, patient=again()
        )
    with contextlib.suppress(OSError):  # a closed terminal does not change how it ended
        _print_finals(run, outcome, as_json)
    return int(outcome.exit_code)


def _print_finals(run: Any, outcome: Any, as_json: bool) -> None:
    from orchestrator.results.run_state import read_state
    from orchestrator.results.verdict import finalist_table, sentences
    from orchestrator.results.winner import winner

    name, runs = run.name, run.runs
    state = read_state(run)
    found = state.confirmation
    if outcome.state.status != "completed" or found is None:
        say("", f"stopped: {outcome.state.reason}", f"go on with: {command('confirm', name, runs)}", err=True)
        return
    if as_json:
        print_json(found)
        return
    metric = state.objective.metric
    wide_console().print(finalist_table(found))
    say(*sentences(found, metric))
    won = winner(run, state)
    say(f"its best model: {won.title}, {metric} {won.best.value:.4f}")
    say(f"checkpoint: {won.run.locate(won.checkpoint.path)}")
    more = str(2 * outcome.state.spec["budget"]["trials"])
    unclear = [(command("confirm", name, runs, "--trials", more), "more trainings, until it is clear")]
    next_ = (
        *([] if found["clear"] else unclear),
        (command("test", name, runs), "the winner's score on the test set: once"),
        (command("export", name, runs), "the winner in a folder of its own, to take away"),
    )
    print_next(next_)


@app.command("test", rich_help_panel=_PANEL)
def look(
    name: Name,
    trial: Annotated[int | None, typer.Option("--trial", help="Number of a trial of the search instead.")] = None,
    unconfirmed: Annotated[
        bool, typer.Option("--unconfirmed", help="Look although no finals have confirmed it.")
    ] = False,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Evaluate the confirmed winner on the test set. Every look is on record, and a second one says so."""
    from orchestrator import sweep

    seen = sweep.look(name, runs, trial=trial, unconfirmed=unconfirmed)
    if as_json:
        print_json({"look": seen.number, "of": seen.of.title, "metrics": seen.written})
    else:
        for metric, value in seen.metrics.items():
            say(f"{metric}: {value:.4f}")
    say(f"look {seen.number} at the test set: {seen.of.title}", err=True)
    if seen.before:
        times = "once" if len(seen.before) == 1 else f"{len(seen.before)} times"
        say(f"it had been looked at {times} before: the best of several looks is no longer an unbiased score", err=True)
    else:
        say(f"next: {command('export', name, runs)}   # the winner in a folder of its own", err=True)
