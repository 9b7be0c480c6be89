"""The application ``sweep``, to which the modules of this folder add their commands."""

from __future__ import annotations

from typing import Annotated

import typer

PANEL_RUN = "Run a sweep"
PANEL_READ = "Read its results"
PANEL_WINNER = "Use the winner"
PANEL_ORDER = "Keep order among runs"
PANEL_FILES = "Sweep files"
PANEL_SCALE = "Clusters and TPUs"

app = typer.Typer(
    name="sweep",
    help="Run hyperparameter sweeps for PyTorch Lightning: launch, resume, rank, explain, and export the best model.",
    invoke_without_command=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(requested: bool) -> None:
    if requested:
        from orchestrator.version import version

        typer.echo(f"sweep-orchestrator {version()}")
        raise typer.Exit


BEGIN = """Hyperparameter sweeps for PyTorch Lightning. To begin with:

  sweep launch quickstart     run a first sweep, on 1,797 digits
  sweep watch                 follow the newest run on a screen
  sweep results               print its ranking
  sweep why                   explain its winner
  sweep export                write the winner to a folder

All commands: sweep --help. An example of each: sweep COMMAND --help.
Check this machine: sweep doctor. Check your own sweep file: sweep plan FILE."""


@app.callback()
def _root(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    if ctx.invoked_subcommand is None:
        typer.echo(BEGIN)
