"""What the commands share: the application, common options, and how things are printed."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.safe_text import csv_cell, visible

app = typer.Typer(
    name="sweep",
    help="Hyperparameter sweeps for PyTorch Lightning: launch, resume, rank, explain, and find the best checkpoint.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Runs = Annotated[
    str | None,
    typer.Option(
        "--runs", metavar="DIR|URL", help="Run directories: a folder, or s3://…, gs://…; else $SWEEP_RUNS, else ./runs."
    ),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the run.")]
Spec = Annotated[str, typer.Argument(metavar="SPEC", help="A sweep file, or the name of a shipped one.")]
RunName = Annotated[str | None, typer.Option("--name", help="Name of the run; else the one in the file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set any field: --set budget.trials=4. May be repeated."),
]
Bundle = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A folder that `sweep export` has written.")]
DataArguments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="An argument of the DataModule: --set data_dir=DIR."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Local = Annotated[bool, typer.Option("--local", help="Run in this process, one trial at a time, without Ray.")]
Address = Annotated[
    str,
    typer.Option(
        "--address", envvar="RAY_ADDRESS", metavar="ADDRESS", help="A Ray cluster that is there: auto, or host:port."
    ),
]


def complain(text: str) -> None:
    """What is said beside the data: on stderr, of several lines perhaps, without secrets."""
    from orchestrator.secrets import redact

    with contextlib.suppress(OSError):  # the terminal may be gone
        typer.echo(visible(redact(text), keep="\n"), err=True)


def say(*lines: str, err: bool = False) -> None:
    """Lines for people, each one line whatever stands in it."""
    for line in lines:
        typer.echo(visible(line), err=err)


def command(verb: str, name: str, runs: str | Path | None, *options: str) -> str:
    """A command that works from here, with ``--runs`` only where it is needed."""
    import os
    import shlex
    import shutil

    from orchestrator.rundir import runs_root

    program, beside = "sweep", Path(sys.executable).with_name("sweep")
    if not shutil.which(program) and beside.exists():  # an environment that is not activated
        program = min(os.path.relpath(beside), str(beside), key=len)
    elsewhere = ("--runs", str(runs)) if runs and runs_root(runs) != runs_root() else ()
    return shlex.join([program, verb, name, *options, *elsewhere])


def wide_console() -> Any:
    """The terminal, or a width in which no table is cut off."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=10_000)


def print_ranking(found: Any) -> None:
    from orchestrator.results.terminal_tables import ranking

    console = wide_console()
    console.print(ranking(found.rows, found.metric, width=console.width))


def print_next(commands: Iterable[tuple[str, str]]) -> None:
    """What to do next: each command, and what for."""
    say("", "next:", *(f"  {line}   # {what}" for line, what in commands), err=True)


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, allow_nan=False))


def records(frame: Any) -> list[dict[str, Any]]:
    """Rows of a DataFrame as strict JSON: what is not finite becomes null."""
    import math

    return [
        {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()}
        for row in frame.to_dict("records")
    ]


def save(frame: Any, out: Path) -> None:
    from orchestrator.errors import UsageError

    if out.suffix == ".csv":
        inert = frame.map(lambda value: csv_cell(str(value)) if isinstance(value, str | dict | list) else value)
        inert.rename(columns=csv_cell).to_csv(out, index=False)
    elif out.suffix == ".parquet":
        frame.map(lambda value: json.dumps(value) if isinstance(value, dict | list) else value).to_parquet(out)
    else:
        raise UsageError(f"{out} ends neither in .csv nor in .parquet", hint=f"--out {out.with_suffix('.csv')}")
