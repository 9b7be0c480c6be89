"""Commands that show a run on a screen or a page: `sweep watch`, `sweep report`, `sweep dashboard`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.app import PANEL_READ, app
from orchestrator.cli.completion import run_names
from orchestrator.cli.options import Name, Runs
from orchestrator.cli.output import echo_unmasked, warn
from orchestrator.cli.run_argument import chosen_run


class Format(StrEnum):
    """Formats of a report."""

    html = "html"
    md = "md"
    png = "png"
    svg = "svg"


@app.command(rich_help_panel=PANEL_READ)
def watch(name: Name = None, runs: Runs = None) -> None:
    """Show a live or ended run on the full screen; without a terminal, print its present state.

    Example: sweep watch
    """
    import os
    import sys

    from orchestrator.watch.snapshot import show, why_no_screen
    from orchestrator.watch.watched_sweep import Watched

    run = chosen_run(name, runs)
    streams = (sys.stdin, sys.stdout, sys.stderr)  # the screen is drawn on stderr
    reason = why_no_screen(os.environ, terminal=all(stream.isatty() for stream in streams))
    if reason is not None:
        if reason:
            warn(reason)
        watched = Watched(run)
        watched.refresh()
        show(watched)
        return
    from orchestrator.watch.screen import WatchApp

    WatchApp(run).run()


@app.command(rich_help_panel=PANEL_READ)
def report(
    name: Name = None,
    format: Annotated[
        Format | None,
        typer.Option("--format", help="html; md to paste; png or svg for one sheet. Default: the suffix of FILE."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="File to write. Default: report.html in the run directory."),
    ] = None,
    runs: Runs = None,
) -> None:
    """Write a self-contained page about a live or ended run: result, figures, trials, failures.

    Example: sweep report cifar10 --out report.md
    """
    from orchestrator.results import Results

    typer.echo(str(Results(chosen_run(name, runs)).report(out, format=format.value if format else None)))


@app.command(rich_help_panel=PANEL_READ)
def dashboard(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...",
            help="Runs, each as elsewhere. Default: all, including new ones.",
            autocompletion=run_names,
        ),
    ] = None,
    runs: Runs = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port on 127.0.0.1. Default: a free one.")] = 0,
    open_: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")] = False,
) -> None:
    """Serve runs to optuna-dashboard, live and read-only, on this machine and with a token: history, curves.

    Example: sweep dashboard --open
    """
    import contextlib

    from orchestrator.dashboard import Server, Sweeps
    from orchestrator.dashboard.page_token import opened_in_browser

    server = Server(Sweeps(names or (), runs), port)
    echo_unmasked(server.url)
    typer.echo("the page follows the runs; press Ctrl-C to stop", err=True)
    with contextlib.suppress(KeyboardInterrupt), opened_in_browser(server.url) if open_ else contextlib.nullcontext():
        server.serve()
    server.close()
