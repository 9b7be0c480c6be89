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
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(requested: bool) -> None:
    if requested:
        from orchestrator.version import version

        typer.echo(f"sweep-orchestrator {version()}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass
