"""The command that checks a machine: `sweep doctor`."""

from __future__ import annotations

import typer

from orchestrator.cli.app import PANEL_FILES, app
from orchestrator.cli.options import Json, Runs
from orchestrator.cli.output import print_json, print_lines


@app.command(rich_help_panel=PANEL_FILES)
def doctor(runs: Runs = None, as_json: Json = False) -> None:
    """Check Python, disk, shared memory, ports, GPU driver, W&B login and bucket access; exit with 1 if one fails.

    Example: sweep doctor --runs s3://lab/sweeps
    """
    from dataclasses import asdict

    from orchestrator.sweep.machine_checks import check_machine

    checks = check_machine(runs)
    if as_json:
        print_json([asdict(check) for check in checks])
    else:
        for check in checks:
            print_lines(f"{check.state:8}{check.name}: {check.message}")
            print_lines(*(f"        hint: {check.hint}" for _ in (1,) if check.hint))
    if any(check.state == "failed" for check in checks):
        raise typer.Exit(1)
