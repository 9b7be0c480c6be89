"""The command that writes a sweep's report."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.app import Name, Runs, app


class Format(StrEnum):
    html = "html"
    md = "md"
    png = "png"
    svg = "svg"


@app.command(rich_help_panel="Read what it did")
def report(
    name: Name,
    format: Annotated[
        Format | None,
        typer.Option("--format", help="html; md to paste; png or svg: one sheet. Else by FILE's ending."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Where to; else report.html in the run directory.")
    ] = None,
    runs: Runs = None,
) -> None:
    """Write a page about a run, live ones too: verdict, figures, all trials, failures. It needs no network."""
    from orchestrator.results import Results

    typer.echo(str(Results(name, runs).report(out, format=format.value if format else None)))
