"""Commands that run a sweep, or change how it runs."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from orchestrator.cli.app import (
    Address,
    Json,
    Local,
    Name,
    Overrides,
    RunName,
    Runs,
    Spec,
    app,
    command,
    print_json,
    print_next,
    print_ranking,
    say,
)
from orchestrator.cli.confirm import hold_finals
from orchestrator.cli.submit import Cluster, Insecure, TokenFile, spec_of, submit
from orchestrator.cli.supervisor import again, alone, supervise


@app.command(rich_help_panel="Run a sweep")
def launch(
    spec: Spec,
    name: RunName = None,
    overrides: Overrides = None,
    warm_start: Annotated[
        list[str] | None,
        typer.Option("--warm-start", metavar="RUN...", help="Earlier runs whose trials the searcher begins with."),
    ] = None,
    more: Annotated[list[str] | None, typer.Argument(metavar="RUN", hidden=True)] = None,
    runs: Runs = None,
    local: Local = False,
    address: Address = "",
    cluster: Cluster = None,
    token: TokenFile = None,
    insecure: Insecure = False,
) -> None:
    """Check a sweep file, run the sweep to its end, and print the ranking; or have a cluster do it."""
    from orchestrator.errors import UsageError
    from orchestrator.results.terminal_tables import Progress
    from orchestrator.rundir import run_at
    from orchestrator.spec import load

    if more and not warm_start:
        raise UsageError(f"{more[0]!r} is one argument too many", hint=f"one at a time: sweep launch {spec}")
    loaded = load(spec, overrides or (), name)
    if cluster is not None and local:
        raise UsageError("--local runs here, and --cluster elsewhere", hint="one of the two")
    if cluster is not None:
        words = [word for run in (*(warm_start or ()), *(more or ())) for word in ("--warm-start", run)]
        submit(cluster, ["launch", "sweep.yaml", *words], loaded, runs, token, insecure)
        return
    run = run_at(loaded.name, runs)
    if alone(address, local):
        raise typer.Exit(supervise(run, _resuming(loaded.name, runs, address)))
    with Progress(run) as progress:
        from orchestrator import sweep

        warm = [*(warm_start or ()), *(more or ())]
        outcome = sweep.launch(loaded, runs, local=local, address=address, observer=progress, warm_start=warm)
    finish(outcome, local, address)


@app.command(rich_help_panel="Run a sweep")
def plan(
    spec: Spec,
    overrides: Overrides = None,
    measure: Annotated[
        bool,
        typer.Option("--measure", help="Train a few real steps: hours, memory, disk and money; or why it cannot be."),
    ] = False,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """What a sweep would take: trials, rungs and epochs at once; with --measure time, memory, disk and money."""
    from orchestrator import plan as planning
    from orchestrator.plan.formatting import as_record, lines
    from orchestrator.spec import load

    loaded = load(spec, overrides or ())
    found = planning.plan(loaded)
    costs = planning.measure(loaded, found, runs) if measure else None
    if as_json:
        print_json(as_record(found, costs))
        return
    say(*lines(found, costs))


@app.command(rich_help_panel="Run a sweep")
def resume(
    name: Name,
    runs: Runs = None,
    local: Local = False,
    address: Address = "",
    cluster: Cluster = None,
    token: TokenFile = None,
    insecure: Insecure = False,
) -> None:
    """Go on with a run that was stopped: what ended stays, what was in flight starts from its last checkpoint."""
    from orchestrator.results.run_state import find
    from orchestrator.results.terminal_tables import Progress

    run = find(name, runs)
    if cluster is not None:
        submit(cluster, ["resume", name], spec_of(run), runs, token, insecure)
        return
    if alone(address, local):
        raise typer.Exit(supervise(run, _resuming(name, runs, address)))
    with Progress(run) as progress:
        from orchestrator import sweep

        outcome = sweep.resume(name, runs, local=local, address=address, observer=progress, patient=again())
    finish(outcome, local, address)


@app.command(rich_help_panel="Run a sweep")
def retry(
    name: Name,
    failed: Annotated[bool, typer.Option("--failed", help="All trials that have failed.")] = False,
    trials: Annotated[
        list[int] | None, typer.Option("--trial", help="Number of a failed trial. May be repeated.")
    ] = None,
    runs: Runs = None,
    local: Local = False,
    address: Address = "",
) -> None:
    """Give failed trials another chance, from their last checkpoint, and go on with the run."""
    from orchestrator.errors import UsageError
    from orchestrator.results.run_state import find
    from orchestrator.results.terminal_tables import Progress

    if failed == bool(trials):
        raise UsageError("which trials?", hint=f"sweep retry {name} --failed, or --trial N")
    run = find(name, runs)
    if alone(address, local):
        raise typer.Exit(supervise(run, _resuming(name, runs, address)))
    with Progress(run) as progress:
        from orchestrator import sweep

        outcome = sweep.resume(
            name,
            runs,
            local=local,
            address=address,
            observer=progress,
            retry="failed" if failed else trials or (),
            patient=again(),
        )
    finish(outcome, local, address)


@app.command(rich_help_panel="Run a sweep")
def extend(
    name: Name,
    trials: Annotated[int, typer.Option("--trials", min=0, help="So many more trials.")] = 0,
    epochs: Annotated[
        int, typer.Option("--epochs", min=0, help="So many more epochs for each trial; those that finished go on.")
    ] = 0,
    wall_clock: Annotated[str, typer.Option("--wall-clock", metavar="TIME", help="So much more time: 2h.")] = "",
    budget: Annotated[
        list[str] | None,
        typer.Option(
            "--budget",
            metavar="KEY=AMOUNT",
            help="More of a budget: epochs=500, gpu_hours=5, cost=20; or another target=0.97. May be repeated.",
        ),
    ] = None,
    runs: Runs = None,
    local: Local = False,
    address: Address = "",
) -> None:
    """Let a run go on beyond the limits that it has come to: more trials, more epochs, more time."""
    from orchestrator.results.run_state import find
    from orchestrator.results.terminal_tables import Progress

    more = dict(_amount(text) for text in budget or ())
    run = find(name, runs)
    if alone(address, local):
        raise typer.Exit(supervise(run, _resuming(name, runs, address)))
    with Progress(run) as progress:
        from orchestrator import sweep

        outcome = sweep.extend(
            name,
            runs,
            trials=trials,
            epochs=epochs,
            wall_clock=wall_clock,
            budget=more,
            local=local,
            address=address,
            observer=progress,
            patient=again(),
        )
    finish(outcome, local, address)


@app.command(rich_help_panel="Run a sweep")
def stop(
    name: Name,
    trial: Annotated[int | None, typer.Option("--trial", help="End this trial only, at its next report.")] = None,
    runs: Runs = None,
) -> None:
    """Ask the process that runs a sweep, here or in another terminal, for a clean stop, or for the end of one trial."""
    from orchestrator import sweep

    asked = sweep.stop(name, runs, trial=trial)
    if trial is not None:
        say(f"trial {trial} of {name} has ended; the sweep goes on", err=True)
        return
    say(f"{name} stopped (it was run by {asked}); go on with: {command('resume', name, runs)}", err=True)


@app.command(rich_help_panel="Run a sweep")
def promote(
    name: Name,
    trial: Annotated[int, typer.Option("--trial", help="Number of a trial that was set aside.")],
    runs: Runs = None,
) -> None:
    """Ask the process that runs a sweep to let a trial go on that its scheduler has set aside."""
    from orchestrator import sweep

    if sweep.promote(name, runs, trial=trial):
        say(f"trial {trial} of {name} goes on as soon as there is room for it", err=True)
    else:
        say(f"trial {trial} of {name} was asked for; it is taken up when a trial next reports", err=True)


@app.command(rich_help_panel="Run a sweep")
def sync(name: Name, runs: Runs = None) -> None:
    """Send to W&B and MLflow what they have not got yet of a run; nothing is sent twice."""
    from orchestrator.results.run_state import find, read_state
    from orchestrator.spec import SweepSpec
    from orchestrator.sweep import send

    run = find(name, runs)
    lines = send(run, SweepSpec.model_validate(read_state(run).spec))
    print_notices(lines)
    raise typer.Exit(1 if lines else 0)


def _resuming(name: str, runs: str | None, address: str) -> list[str]:
    """The words of the command that goes on with a run."""
    return ["resume", name, "--address", address, *(["--runs", runs] if runs else [])]


def print_notices(lines: Sequence[str]) -> None:
    """What a tracker has not been sent, on stderr."""
    for line in lines:
        say("", line, err=True)


def _amount(text: str) -> tuple[str, float]:
    """A key and a number out of ``cost=20``."""
    from orchestrator.errors import UsageError

    key, _, written = text.partition("=")
    try:
        number = float(written)
    except ValueError:
        raise UsageError(f"--budget {text}: a key and a number are wanted", hint="e.g. --budget cost=20") from None
    return key, int(number) if key == "epochs" and number.is_integer() else number


def finish(outcome: Any, local: bool, address: str) -> None:
    """The ranking, the winner and what to do next; then the exit code, which a closed terminal does not change."""
    state = outcome.state
    finals = state.spec.get("finalists") and state.status == "completed" and not state.confirmation
    finals = finals and not outcome.exit_code
    with contextlib.suppress(OSError):
        _print_outcome(outcome, last=not finals)
        print_notices(outcome.notices)
    raise typer.Exit(hold_finals(outcome.run, {}, local, address) if finals else outcome.exit_code)


def _print_outcome(outcome: Any, last: bool) -> None:
    from orchestrator.results import Results

    found = Results(outcome.run)
    name, runs = outcome.run.name, outcome.run.runs
    print_ranking(found)
    if outcome.state.status == "paused":
        say("", f"stopped: {outcome.state.reason}", f"go on with: {command('resume', name, runs)}", err=True)
    failed = outcome.state.count("failed")
    if failed:
        say(f"{failed} failed; try again: {command('retry', name, runs, '--failed')}", err=True)
    winner = found.state.winner()
    if winner is None:
        said = next((row["error"] for row in found.rows if row["error"]), None)
        within = " within the constraints" if found.state.objective.constraints else ""
        failed_with = f"; one failed with: {said}" if said else ""
        say("", f"no trial has a finite {found.metric}{within}{failed_with}", err=True)
        return
    best = found.best()
    say("", f"best: trial {best.trial}, {found.metric} {best.value:.4f} at epoch {best.epoch}")
    say(f"checkpoint: {best.checkpoint}")
    if not last:
        return
    next_ = (
        (command("results", name, runs, "--json"), "every trial, ranked, for a program"),
        (command("why", name, runs), "why the winner won; --trial N for another"),
        (command("report", name, runs), "all of it on one page, with figures"),
        (command("confirm", name, runs), "train the best again under fresh seeds: how sure is the winner?"),
        (command("export", name, runs), "the winner in a folder of its own, to take away"),
    )
    print_next(next_)
