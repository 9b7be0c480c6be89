"""Commands that show a run on a screen or a page: `sweep watch`, `sweep report`, `sweep open`."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.app import PANEL_READ, app
from orchestrator.cli.completion import run_names
from orchestrator.cli.options import Json, Name, Runs
from orchestrator.cli.output import echo_unmasked, print_json, warn
from orchestrator.cli.run_argument import chosen_run
from orchestrator.cli.watch_key import OPENED_BY


class Format(StrEnum):
    """Formats of a report."""

    html = "html"
    md = "md"
    png = "png"
    svg = "svg"


@app.command(rich_help_panel=PANEL_READ)
def watch(name: Name = None, runs: Runs = None, as_json: Json = False) -> None:
    """Show a live or ended run on the full screen; without a terminal, print its present state.

    With --json it prints what `sweep status --json` prints, once.

    Example: sweep watch
    """
    import os
    import sys

    if as_json:
        from orchestrator.cli.inspect import status

        status(name, runs, as_json=True)
        return
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

    WatchApp(run, opened_by=int(os.environ.pop(OPENED_BY, 0))).run()


@app.command(rich_help_panel=PANEL_READ)
def report(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...",
            help="The run, as elsewhere; 2 to 20 runs are compared. Default: the newest run here.",
            autocompletion=run_names,
        ),
    ] = None,
    format: Annotated[
        Format | None,
        typer.Option("--format", help="html; md to paste; png or svg for one sheet. Default: the suffix of FILE."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="File to write. Default: report.html in the run directory."),
    ] = None,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Write a self-contained page about a live or ended run: result, figures, trials, failures. Or compare several.

    Example: sweep report cifar10 --out report.md
    """
    from orchestrator.results import Results

    kind = format.value if format else None
    if names and len(names) > 1:
        from orchestrator.results.report import write_comparison

        written = str(write_comparison([chosen_run(name, runs) for name in names], out, kind))
    else:
        written = str(Results(chosen_run(names[0] if names else None, runs)).report(out, format=kind))
    print_json({"file": written}) if as_json else typer.echo(written)


@app.command("open", rich_help_panel=PANEL_READ)
def open_(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="The run to begin with. Default: all.", autocompletion=run_names),
    ] = None,
    runs: Runs = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port on 127.0.0.1. Default: a free one.")] = 0,
    browser: Annotated[
        bool | None,
        typer.Option("--browser/--no-browser", help="Open the page in the browser. Default: if there is a desktop."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show runs in the browser, live and read-only, on this machine and with a token: one run, all, or a comparison.

    Example: sweep open cifar10
    """
    import contextlib
    import os

    from orchestrator.page.followed_runs import FollowedRuns
    from orchestrator.page.page_token import has_desktop, opened_in_browser
    from orchestrator.page.server import Server

    run = chosen_run(name, runs) if name is not None else None
    server = Server(FollowedRuns(runs, run), run.name if run else None, port)
    address = {"url": server.url, "port": server.port, "token": server.tokens.value}
    echo_unmasked(json.dumps(address) if as_json else server.url)
    typer.echo("the page follows the runs; press Ctrl-C to stop", err=True)
    if "SSH_CONNECTION" in os.environ:
        typer.echo(f"from your own machine: ssh -L {server.port}:127.0.0.1:{server.port} HOST, then open it", err=True)
    shown = browser if browser is not None else has_desktop(os.environ)
    with contextlib.suppress(KeyboardInterrupt), opened_in_browser(server.url) if shown else contextlib.nullcontext():
        server.serve()
    server.close()
