"""The command ``sweep``: data on stdout, what is said beside it on stderr; heavy imports wait for their command."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.errors import SweepError

app = typer.Typer(
    name="sweep",
    help="Hyperparameter sweeps for PyTorch Lightning: launch, resume, rank, explain, and find the best checkpoint.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Runs = Annotated[
    Path | None,
    typer.Option("--runs", metavar="DIR", help="Folder of run directories; else $SWEEP_RUNS, else ./runs."),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the run.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Local = Annotated[bool, typer.Option("--local", help="Run in this process, one trial at a time, without Ray.")]


@app.command()
def launch(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="A sweep file, or the name of a shipped one.")],
    name: Annotated[str | None, typer.Option("--name", help="Name of the run; else the one in the file.")] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set any field: --set budget.trials=4. May be repeated."),
    ] = None,
    warm_start: Annotated[
        list[str] | None,
        typer.Option("--warm-start", metavar="RUN...", help="Earlier runs whose trials the searcher begins with."),
    ] = None,
    more: Annotated[list[str] | None, typer.Argument(metavar="RUN", hidden=True)] = None,
    runs: Runs = None,
    local: Local = False,
) -> None:
    """Check a sweep file, run the sweep to its end, and print the ranking."""
    from orchestrator.errors import UsageError
    from orchestrator.results.terminal import Progress
    from orchestrator.rundir import RunDirectory
    from orchestrator.spec import load

    if more and not warm_start:
        raise UsageError(f"{more[0]!r} is one argument too many", hint=f"one at a time: sweep launch {spec}")
    loaded = load(spec, overrides or (), name)
    with Progress(RunDirectory.at(loaded.name, runs)) as progress:
        from orchestrator import sweep

        warm = [*(warm_start or ()), *(more or ())]
        outcome = sweep.launch(loaded, runs, local=local, observer=progress, warm_start=warm)
    _finish(outcome)


@app.command()
def plan(
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="A sweep file, or the name of a shipped one.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set any field: --set budget.trials=4. May be repeated."),
    ] = None,
    measure: Annotated[
        bool,
        typer.Option("--measure", help="Train a few real steps: hours, memory, disk and money; or why it cannot be."),
    ] = False,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """What a sweep would take: trials, rungs and epochs at once; with --measure time, memory, disk and money."""
    from orchestrator import plan as planning
    from orchestrator.plan.words import as_record, lines
    from orchestrator.spec import load

    loaded = load(spec, overrides or ())
    found = planning.plan(loaded)
    costs = planning.measure(loaded, found, runs) if measure else None
    if as_json:
        _print_json(as_record(found, costs))
        return
    for line in lines(found, costs):
        typer.echo(line)


@app.command()
def resume(name: Name, runs: Runs = None, local: Local = False) -> None:
    """Go on with a run that was stopped: what ended stays, what was in flight starts from its last checkpoint."""
    from orchestrator.results.rows import find
    from orchestrator.results.terminal import Progress

    with Progress(find(name, runs)) as progress:
        from orchestrator import sweep

        outcome = sweep.resume(name, runs, local=local, observer=progress)
    _finish(outcome)


@app.command()
def retry(
    name: Name,
    failed: Annotated[bool, typer.Option("--failed", help="All trials that have failed.")] = False,
    trials: Annotated[
        list[int] | None, typer.Option("--trial", help="Number of a failed trial. May be repeated.")
    ] = None,
    runs: Runs = None,
    local: Local = False,
) -> None:
    """Give failed trials another chance, from their last checkpoint, and go on with the run."""
    from orchestrator.errors import UsageError
    from orchestrator.results.rows import find
    from orchestrator.results.terminal import Progress

    if failed == bool(trials):
        raise UsageError("which trials?", hint=f"sweep retry {name} --failed, or --trial N")
    with Progress(find(name, runs)) as progress:
        from orchestrator import sweep

        outcome = sweep.resume(name, runs, local=local, observer=progress, retry="failed" if failed else trials or ())
    _finish(outcome)


@app.command()
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
) -> None:
    """Let a run go on beyond the limits that it has come to: more trials, more epochs, more time."""
    from orchestrator.results.rows import find
    from orchestrator.results.terminal import Progress

    more = dict(_amount(text) for text in budget or ())
    with Progress(find(name, runs)) as progress:
        from orchestrator import sweep

        outcome = sweep.extend(
            name, runs, trials=trials, epochs=epochs, wall_clock=wall_clock, budget=more, local=local, observer=progress
        )
    _finish(outcome)


@app.command()
def status(name: Name, runs: Runs = None, as_json: Json = False) -> None:
    """How far a run is."""
    from orchestrator.policies.budget import amounts
    from orchestrator.results.rows import find, read_state
    from orchestrator.results.terminal import spending, summary
    from orchestrator.spec import SweepSpec

    run = find(name, runs)
    state = read_state(run)
    spent = amounts(SweepSpec.model_validate(state.spec), state)
    if as_json:
        _print_json(
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
                "directory": str(run.root),
            }
        )
        return
    typer.echo(summary(run, state, state.spec["budget"].get("trials")))
    if line := spending(state.spec["budget"], spent):
        typer.echo(line)
    typer.echo(f"{state.status}{f' ({state.reason})' if state.reason else ''}; {run.root}")


@app.command()
def stop(
    name: Name,
    trial: Annotated[int | None, typer.Option("--trial", help="End this trial only, at its next report.")] = None,
    runs: Runs = None,
) -> None:
    """Ask the process that runs a sweep, here or in another terminal, for a clean stop, or for the end of one trial."""
    from orchestrator import sweep

    asked = sweep.stop(name, runs, trial=trial)
    if trial is not None:
        typer.echo(f"trial {trial} of {name} has ended; the sweep goes on", err=True)
        return
    typer.echo(f"{name} stopped (it was run by {asked}); go on with: {_command('resume', name, runs)}", err=True)


@app.command("list")
def list_(runs: Runs = None, as_json: Json = False) -> None:
    """The runs that are here."""
    from orchestrator.errors import JournalError
    from orchestrator.results.rows import read_state
    from orchestrator.results.terminal import summary
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
        _print_json([row for row, _ in listed])
        return
    for _, line in listed:
        typer.echo(line)


@app.command()
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
        _save(found.epochs if epochs else found.trials, out)
    elif as_json:
        _print_json(_records(found.epochs) if epochs else found.rows)
    elif epochs:
        typer.echo(found.epochs.to_string(index=False))
    else:
        _print_ranking(found)


@app.command()
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
        _print_json({"trial": number, "why": sentences})
        return
    typer.echo(f"trial {number}")
    for sentence in sentences:
        typer.echo(f"  {sentence}")


@app.command()
def verify(name: Name, runs: Runs = None, as_json: Json = False) -> None:
    """Check a run: its journal's every record, each suggestion and decision derived anew, each checkpoint's SHA-256."""
    from dataclasses import asdict

    from orchestrator.results.rows import find
    from orchestrator.results.verify import check

    found = check(find(name, runs))
    if as_json:
        _print_json(asdict(found))
    else:
        typer.echo(
            f"{name}: {found.records} records read, {found.suggestions} suggestions and {found.decisions} decisions "
            f"derived anew, {found.checkpoints} checkpoints ({found.bytes / 1e6:.1f} MB) compared with what was written"
        )
        for line in (*found.notes, *found.violations):
            typer.echo(f"  {line}")
        typer.echo("all as it should be" if not found.violations else f"{len(found.violations)} violations")
    if found.violations:
        raise typer.Exit(4)


@app.command()
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
    }
    if as_json:
        _print_json(record)
        return
    for key, value in record.items():
        typer.echo(f"{key}: {json.dumps(value) if isinstance(value, dict) else value}")


@app.command()
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

    from orchestrator.engine.comparison import as_it_was, compare
    from orchestrator.engine.recorded import of_sweep, of_table
    from orchestrator.results.rows import find, read_state

    state = None if source.endswith(".npz") else read_state(find(source, runs))
    found = of_table(Path(source), task) if state is None else of_sweep(source, state)
    named = {"searcher": searcher, "scheduler": scheduler}
    asked = [*(f"{key}={value}" for key, value in named.items() if value), *(overrides or ())]
    was = [] if state is None else [as_it_was(found, state)]
    searches = was + compare(found, asked, workers or (state.slots if state else 1), seeds, _complain)
    if as_json:
        best = found.objective.loss(found.best)
        _print_json({"best": best, "searches": [asdict(search) for search in searches], "notes": found.notes})
        return
    _print_searches([asdict(search) for search in searches], found.objective.metric, found.notes)


@app.command()
def export(
    name: Name,
    trial: Annotated[int | None, typer.Option("--trial", help="Number of the trial; else the winner.")] = None,
    to: Annotated[Path | None, typer.Option("--to", metavar="DIR", help="The bundle's folder, not there yet.")] = None,
    runs: Runs = None,
) -> None:
    """Write the winner's checkpoint, and what it was trained with, into a folder of its own, and print its path."""
    from orchestrator.export import export as write

    typer.echo(str(write(name, runs, trial=trial, to=to)))


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="A W&B sweep file or a LightningCLI config.")],
    model: Annotated[str | None, typer.Option("--model", help="Import path of the LightningModule.")] = None,
    data: Annotated[str | None, typer.Option("--data", help="Import path of the LightningDataModule.")] = None,
) -> None:
    """Turn a W&B sweep file or a LightningCLI config into a sweep file, printed to stdout."""
    from orchestrator.spec import import_file

    typer.echo(import_file(file, model=model, data=data), nl=False)


@app.command()
def schema() -> None:
    """The JSON schema of sweep files, for editors to complete and check from."""
    from orchestrator.spec import json_schema

    _print_json(json_schema())


def main() -> None:
    """Run the command; errors meant for people go to stderr without a traceback, with their exit code."""
    with _errors_for_people():
        app()


@contextlib.contextmanager
def _errors_for_people() -> Iterator[None]:
    try:
        yield
    except SweepError as error:
        message, _, hint = str(error).partition("\nhint: ")
        _complain(f"error: {message}" + (f"\nhint: {hint}" if hint else ""))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:
        from orchestrator.files import storage_fault

        if not storage_fault(error):
            raise
        _complain(f"error: {storage_fault(error)}: {error.filename or error}")
        sys.exit(1)


def _amount(text: str) -> tuple[str, float]:
    """A key and a number out of ``cost=20``."""
    from orchestrator.errors import UsageError

    key, _, written = text.partition("=")
    try:
        number = float(written)
    except ValueError:
        raise UsageError(f"--budget {text}: a key and a number are wanted", hint="e.g. --budget cost=20") from None
    return key, int(number) if key == "epochs" and number.is_integer() else number


def _complain(text: str) -> None:
    from orchestrator.secrets import redact

    with contextlib.suppress(OSError):  # the terminal may be gone
        typer.echo(redact(text), err=True)


def _finish(outcome: Any) -> None:
    """The ranking, the winner and what to do next; then the exit code, which a closed terminal does not change."""
    with contextlib.suppress(OSError):
        _print_outcome(outcome)
    raise typer.Exit(outcome.exit_code)


def _print_outcome(outcome: Any) -> None:
    from orchestrator.results import Results

    found = Results(outcome.run)
    name, runs = outcome.run.name, outcome.run.root.parent
    _print_ranking(found)
    if outcome.state.status == "paused":
        typer.echo(f"\nstopped: {outcome.state.reason}\ngo on with: {_command('resume', name, runs)}", err=True)
    failed = outcome.state.count("failed")
    if failed:
        typer.echo(f"{failed} failed; try again: {_command('retry', name, runs, '--failed')}", err=True)
    winner = found.state.winner()
    if winner is None:
        said = next((row["error"] for row in found.rows if row["error"]), None)
        within = " within the constraints" if found.state.objective.constraints else ""
        typer.echo(
            f"\nno trial has a finite {found.metric}{within}" + (f"; one failed with: {said}" if said else ""), err=True
        )
        return
    best = found.best()
    typer.echo(f"\nbest: trial {best.trial}, {found.metric} {best.value:.4f} at epoch {best.epoch}")
    typer.echo(f"checkpoint: {best.checkpoint}")
    typer.echo("\nnext:", err=True)
    for command, what in (
        (_command("results", name, runs, "--json"), "every trial, ranked, for a program"),
        (_command("why", name, runs), "why the winner won; --trial N for another"),
        (_command("best", name, runs), "the winner's parameters and checkpoint"),
        (_command("export", name, runs), "the winner in a folder of its own, to take away"),
    ):
        typer.echo(f"  {command}   # {what}", err=True)


def _command(verb: str, name: str, runs: Path | None, *options: str) -> str:
    """A command that works from here, with ``--runs`` only where it is needed."""
    import os
    import shlex
    import shutil

    from orchestrator.rundir import runs_root

    program, beside = "sweep", Path(sys.executable).with_name("sweep")
    if not shutil.which(program) and beside.exists():  # an environment that is not activated
        program = min(os.path.relpath(beside), str(beside), key=len)
    elsewhere = ("--runs", str(runs)) if runs and Path(runs).absolute() != runs_root() else ()
    return shlex.join([program, verb, name, *options, *elsewhere])


def _print_ranking(found: Any) -> None:
    from rich.console import Console

    from orchestrator.results.terminal import ranking

    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    console.print(ranking(found.rows, found.metric))


def _print_searches(searches: list[dict[str, Any]], metric: str, notes: list[str]) -> None:
    from rich.console import Console

    from orchestrator.results.terminal import comparison

    console = Console()
    console = console if console.is_terminal else Console(width=200)
    console.print(comparison(searches, metric))
    for note in notes:
        typer.echo(f"note: {note}", err=True)


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, allow_nan=False))


def _records(frame: Any) -> list[dict[str, Any]]:
    """Rows of a DataFrame as strict JSON: what is not finite becomes null."""
    import math

    return [
        {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()}
        for row in frame.to_dict("records")
    ]


def _save(frame: Any, out: Path) -> None:
    from orchestrator.errors import UsageError

    if out.suffix == ".csv":
        frame.to_csv(out, index=False)
    elif out.suffix == ".parquet":
        frame.map(lambda value: json.dumps(value) if isinstance(value, dict | list) else value).to_parquet(out)
    else:
        raise UsageError(f"{out} ends neither in .csv nor in .parquet", hint=f"--out {out.with_suffix('.csv')}")
