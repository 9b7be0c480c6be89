"""The command that trains a bundle's model again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.shared import Json, app, complain, print_json


@app.command(rich_help_panel="The winner")
def replay(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="A folder that `sweep export` has written.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="An argument of the DataModule: --set data_dir=DIR."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Train an exported model again, from the bundle alone: identical, within tolerance, or where it differs.

    Exit code 1 where it differs. Builds the classes that the bundle names: only for bundles you trust.
    """
    from dataclasses import asdict

    from orchestrator.bundle.evaluation import arguments
    from orchestrator.bundle.manifest import CONFIG, verify_bundle

    manifest = verify_bundle(bundle)
    changed = arguments(overrides or [])
    config = manifest.read_json(CONFIG)
    from orchestrator.bundle.replay import replay as train_again

    complain(f"training {config['epoch']} epochs again, as {config['model']['class_path']} was for {bundle}")
    found = train_again(manifest, changed)
    then, now = found.objective
    if as_json:
        print_json(asdict(found))
    else:
        typer.echo(f"{found.verdict}: {config['metric']} {then:.9g} then, {now:.9g} now, after {found.epochs} epochs")
        for line in (*found.where, *found.environment):
            typer.echo(f"  {line}")
    if found.verdict == "differs":
        raise typer.Exit(1)
