"""Commands about sweep files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.app import PANEL_FILES, app
from orchestrator.cli.output import print_json, warn


@app.command("import", rich_help_panel=PANEL_FILES)
def import_(
    file: Annotated[
        Path,
        typer.Argument(
            help="Of W&B, LightningCLI, Hydra or Katib; or a Python file with a sweep_config or param_space."
        ),
    ],
    model: Annotated[str | None, typer.Option("--model", help="Import path of the LightningModule.")] = None,
    data: Annotated[str | None, typer.Option("--data", help="Import path of the LightningDataModule.")] = None,
) -> None:
    """Convert a file of W&B, LightningCLI, Hydra, Katib or Ray Tune to a sweep file, and print it.

    Example: sweep import wandb-sweep.yaml --model my_model.Net > sweep.yaml
    """
    from orchestrator.spec import import_file

    typer.echo(import_file(file, model=model, data=data), nl=False)


@app.command(rich_help_panel=PANEL_FILES)
def schema() -> None:
    """Print the JSON schema of sweep files, for completion and checks in editors.

    Example: sweep schema > sweep.schema.json
    """
    from orchestrator.spec import json_schema

    print_json(json_schema(warn=warn))
