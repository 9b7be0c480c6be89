"""Commands for the winner: what is done with the best of a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.shared import Name, Runs, app


@app.command(rich_help_panel="The winner")
def export(
    name: Name,
    trial: Annotated[int | None, typer.Option("--trial", help="Number of the trial; else the winner.")] = None,
    to: Annotated[Path | None, typer.Option("--to", metavar="DIR", help="The bundle's folder, not there yet.")] = None,
    runs: Runs = None,
) -> None:
    """Write the winner's checkpoint, and what it was trained with, into a folder of its own, and print its path."""
    from orchestrator.export import export as write

    typer.echo(str(write(name, runs, trial=trial, to=to)))
