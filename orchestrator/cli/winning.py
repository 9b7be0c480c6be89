"""Commands for the winner: what is done with the best of a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.shared import Name, Runs, app, complain


@app.command(rich_help_panel="The winner")
def export(
    name: Name,
    trial: Annotated[int | None, typer.Option("--trial", help="Number of the trial; else the winner.")] = None,
    to: Annotated[Path | None, typer.Option("--to", metavar="DIR", help="The bundle's folder, not there yet.")] = None,
    runs: Runs = None,
) -> None:
    """Write the winner as a bundle (checkpoint, safetensors, ONNX, .pt2, model card), and print its folder.

    Each format is run on validation data and has to give what the checkpoint gives.
    """
    from orchestrator.export import export_with_report

    found = export_with_report(name, runs, trial=trial, to=to)
    for missing, reason in found.missing.items():
        complain(f"without {missing}: {reason}")
    complain(f"{', '.join(found.present)}: compared with the checkpoint in {found.seconds:.1f} s")
    typer.echo(str(found.folder))
