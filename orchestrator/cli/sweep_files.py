"""Commands about sweep files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.app import app, print_json


@app.command("import", rich_help_panel="Sweep files")
def import_(
    file: Annotated[Path, typer.Argument(help="A W&B sweep file or a LightningCLI config.")],
    model: Annotated[str | None, typer.Option("--model", help="Import path of the LightningModule.")] = None,
    data: Annotated[str | None, typer.Option("--data", help="Import path of the LightningDataModule.")] = None,
) -> None:
    """Turn a W&B sweep file or a LightningCLI config into a sweep file, printed to stdout."""
    from orchestrator.spec import import_file

    typer.echo(import_file(file, model=model, data=data), nl=False)


@app.command(rich_help_panel="Sweep files")
def schema() -> None:
    """The JSON schema of sweep files, for editors to complete and check from."""
    from orchestrator.spec import json_schema

    print_json(json_schema())
