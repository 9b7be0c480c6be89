"""Commands about sweep files."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli import completion
from orchestrator.cli.app import PANEL_FILES, app
from orchestrator.cli.options import Json, Overrides, Runs
from orchestrator.cli.output import print_json, print_lines, print_next, warn


@app.command("import", rich_help_panel=PANEL_FILES)
def import_(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="Of W&B, LightningCLI, Hydra or Katib; or a Python file with a sweep_config, a param_space or an "
            "objective of Optuna. Of several LightningCLI configs, later ones override earlier ones. Or an Optuna "
            "storage: study.db, or study.db:NAME if it holds several studies.",
        ),
    ],
    model: Annotated[str | None, typer.Option("--model", help="Import path of the LightningModule.")] = None,
    data: Annotated[str | None, typer.Option("--data", help="Import path of the LightningDataModule.")] = None,
    train: Annotated[
        str | None,
        typer.Option("--train", help="Script (train.py) or function (my_project.train:main) to run, not a model."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Convert a file of W&B, LightningCLI, Hydra, Katib, Ray Tune or Optuna to a sweep file, and print it.

    Example: sweep import wandb-sweep.yaml --model my_model.Net > sweep.yaml
    """
    from orchestrator.spec import import_file

    text = import_file(files[0], model=model, data=data, train=train, overriding=files[1:])
    print_json({"sweep_file": text}) if as_json else typer.echo(text, nl=False)


@app.command(rich_help_panel=PANEL_FILES)
def transfer(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...",
            help="The runs of smaller models: one for each size, or one whose space has the size as a parameter.",
            autocompletion=completion.run_names,
        ),
    ],
    to: Annotated[
        str, typer.Option("--to", metavar="KEY=NUMBER", help="The parameter that is the size, and the new size.")
    ],
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Propose the search for a larger model, from how the optima move in sweeps of smaller ones. Prints a sweep file.

    Example: sweep transfer small-32 small-64 small-128 --to width=512 > large.yaml
    """
    from orchestrator.errors import UsageError
    from orchestrator.results.transfer import transfer as propose
    from orchestrator.results.transfer_text import transfer_lines, transfer_record

    name, _, written = to.partition("=")
    try:
        size = float(written)
    except ValueError:
        raise UsageError(f"--to {to} names no size", hint="write the parameter and a number: --to width=512") from None
    proposal = propose(names, {name: size}, runs)
    if as_json:
        print_json(transfer_record(proposal))
        return
    print_lines(*transfer_lines(proposal), err=True)
    typer.echo(proposal.sweep_file(), nl=False)


@app.command(rich_help_panel=PANEL_FILES)
def init(
    model: Annotated[str, typer.Argument(metavar="CLASS", help="Import path of the LightningModule.")],
    data: Annotated[str | None, typer.Option("--data", help="Import path of the LightningDataModule.")] = None,
    overrides: Overrides = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="File to write. Default: the class's name.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a first sweep file for a class, from its signature and a few steps of training.

    Example: sweep init my_model.Regressor --data my_model.Diabetes
    """
    from orchestrator.plan import plan
    from orchestrator.plan.formatting import lines
    from orchestrator.sweep.sweep_file_draft import write_draft

    draft = write_draft(model, data, overrides or (), out)
    if as_json:
        spec = draft.spec
        print_json({"file": str(draft.file), "name": spec.name, "space": list(spec.space), "seconds": draft.seconds})
        return
    print_lines(str(draft.file), *lines(plan(draft.spec)))
    print_next(
        (
            (shlex.join(["sweep", "plan", str(draft.file), "--measure"]), "hours, memory and disk"),
            (shlex.join(["sweep", "launch", str(draft.file)]), "start it"),
        )
    )


@app.command(rich_help_panel=PANEL_FILES)
def schema(as_json: Json = False) -> None:
    """Print the JSON schema of sweep files, for completion and checks in editors. It is JSON without --json, too.

    Example: sweep schema > sweep.schema.json
    """
    from orchestrator.spec import json_schema

    print_json(json_schema(warn=warn))
