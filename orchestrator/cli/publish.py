"""Commands for what was exported: train it again, hand it on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.app import Bundle, DataArguments, Json, app, complain, print_json, say


@app.command(rich_help_panel="The winner")
def replay(
    bundle: Bundle,
    overrides: DataArguments = None,
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
        say(f"{found.verdict}: {config['metric']} {then:.9g} then, {now:.9g} now, after {found.epochs} epochs")
        say(*(f"  {line}" for line in (*found.where, *found.environment)))
    if found.verdict == "differs":
        raise typer.Exit(1)


@app.command(rich_help_panel="The winner")
def publish(
    bundle: Bundle,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="DIR", help="A folder of models: DIR/NAME/VERSION is written.")
    ] = None,
    wandb: Annotated[
        str | None, typer.Option("--wandb", metavar="PROJECT", help="A W&B project, or ENTITY/PROJECT: an artifact.")
    ] = None,
    name: Annotated[str, typer.Option("--name", help="Of the model; else the sweep's.")] = "",
) -> None:
    """Hand a bundle on, once every file was compared: into a folder of versions, or to W&B as an artifact."""
    from orchestrator.bundle.manifest import verify_bundle
    from orchestrator.errors import UsageError

    if not to and not wandb:
        raise UsageError("where to?", hint="--to DIR, or --wandb PROJECT")
    manifest = verify_bundle(bundle)
    from orchestrator.export.publish import publish_to_folder, publish_to_wandb

    if to:
        say(str(publish_to_folder(manifest, to, name)))
    if wandb:
        say(publish_to_wandb(manifest, wandb, name))
