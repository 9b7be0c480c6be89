"""What commands print: results on stdout, messages and next steps on stderr."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from orchestrator.safe_text import csv_cell, visible
from orchestrator.secrets import masked, masked_values

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from orchestrator.results import Results


def warn(text: str) -> None:
    """Print a message of one or more lines on stderr, with secrets masked."""
    with contextlib.suppress(OSError):  # the terminal may be closed
        typer.echo(visible(text, keep="\n"), err=True)


def echo_unmasked(text: str) -> None:
    """Print a line on stdout as it is: an address with its token, which the user is to open."""
    typer.echo(text, file=getattr(sys.stdout, "unmasked", sys.stdout))


def print_lines(*lines: str, err: bool = False) -> None:
    """Print each text on one line, with its control characters escaped."""
    for line in lines:
        typer.echo(visible(line), err=err)


def print_notices(notices: Sequence[str]) -> None:
    """Print what a tracker has not been sent yet, on stderr."""
    for notice in notices:
        print_lines("", notice, err=True)


def print_json(value: Any) -> None:
    """Print a value as indented JSON. Raises ValueError for NaN and infinities."""
    typer.echo(json.dumps(masked_values(value), indent=2, allow_nan=False))


def print_done(record: Mapping[str, Any], text: str, *, as_json: bool) -> None:
    """Print what was done: as JSON on stdout, or as a sentence on stderr."""
    if as_json:
        print_json(record)
    else:
        print_lines(text, err=True)


def print_next(commands: Iterable[tuple[str, str]]) -> None:
    """Print the next steps on stderr: pairs of a command and its purpose."""
    print_lines("", "next:", *(f"  {line}   # {purpose}" for line, purpose in commands), err=True)


def print_ranking(results: Results) -> None:
    """Print the table of trials, best first."""
    from orchestrator.results.terminal_tables import ranking

    console = wide_console()
    console.print(ranking(results.rows, results.metric, width=console.width, unit=results.state.unit))


def wide_console() -> Console:
    """Return a console: the terminal, or a file of a width that cuts no table off."""
    from rich.console import Console

    console = Console()
    return console if console.is_terminal else Console(width=10_000)


def command_line(verb: str, name: str, runs: str | Path | None, *options: str) -> str:
    """Return a command that works in the present folder, with ``--runs`` only if it is needed."""
    import os
    import shlex
    import shutil

    from orchestrator.rundir import runs_root

    program, installed = "sweep", Path(sys.executable).with_name("sweep")
    if not shutil.which(program) and installed.exists():  # the environment is not activated
        program = min(os.path.relpath(installed), str(installed), key=len)
    where = ("--runs", str(runs)) if runs and runs_root(runs) != runs_root() else ()
    return shlex.join([program, verb, name, *options, *where])


def json_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a DataFrame for strict JSON: NaN and infinities become None."""
    import math

    return [
        {
            str(key): None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in row.items()
        }
        for row in frame.to_dict("records")
    ]


def save_table(frame: pd.DataFrame, out: Path) -> None:
    """Write a DataFrame to a .csv or .parquet file. Raises UsageError for any other suffix."""
    from orchestrator.errors import UsageError

    if out.suffix == ".csv":
        inert = frame.map(lambda value: csv_cell(str(value)) if isinstance(value, str | dict | list) else value)
        inert.rename(columns=csv_cell).to_csv(out, index=False)
    elif out.suffix == ".parquet":
        written = frame.map(lambda value: json.dumps(value) if isinstance(value, dict | list) else value)
        written.map(lambda value: masked(value) if isinstance(value, str) else value).to_parquet(out)
    else:
        raise UsageError(f"{out} must end in .csv or .parquet", hint=f"--out {out.with_suffix('.csv')}")
