"""Commands that show sweeps in a browser."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.app import Runs, app


@app.command(rich_help_panel="Read what it did")
def dashboard(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Names of runs; else all, new ones too.")
    ] = None,
    runs: Runs = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port on 127.0.0.1; else a free one.")] = 0,
    open_: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")] = False,
) -> None:
    """Runs in optuna-dashboard, live: history, curves, importance, slices. On this machine alone, and read-only."""
    import contextlib
    import webbrowser

    from orchestrator.dashboard import Server, Sweeps

    server = Server(Sweeps(names or (), runs), port)
    typer.echo(server.url)
    typer.echo("it follows the journals as they grow; Ctrl-C ends it", err=True)
    if open_:
        webbrowser.open(server.url)
    with contextlib.suppress(KeyboardInterrupt):
        server.serve()
    server.close()
