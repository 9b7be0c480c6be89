"""How a command is handed to a cluster instead of being run here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from orchestrator.cli.app import command, print_next, say

Cluster = Annotated[
    str | None,
    typer.Option(
        "--cluster", metavar="FILE|URL", help="Submit to a cluster, by its file or its dashboard's URL; returns."
    ),
]
Insecure = Annotated[bool, typer.Option("--insecure", help="Submit to a cluster that asks nobody for a token.")]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        "--token", metavar="FILE", help="The cluster's token; else $RAY_AUTH_TOKEN_PATH, else ~/.sweep/token."
    ),
]


def submit(cluster: str, words: Sequence[str], spec: Any, runs: str | None, token: Path | None, insecure: bool) -> None:
    """Have a cluster run a command on this spec, and say where to look."""
    from orchestrator.cluster import jobs

    found = jobs.submit(cluster, words, spec, runs=str(runs) if runs else None, token_file=token, insecure=insecure)
    shipment = found.shipment
    with_it = f"{shipment.files} files of code, {shipment.size / 1e3:,.0f} kB" if shipment.files else "no code of yours"
    say(f"{spec.name} is submitted as {found.job}, with {with_it}")
    if shipment.large:
        say(f"left here, for they are too large to be code: {', '.join(shipment.large)}", err=True)
    where = found.runs or runs  # perhaps a URL
    print_next(
        (
            (command("watch", spec.name, where), "follow it"),
            (command("status", spec.name, where), "how far it is"),
            (command("stop", spec.name, where), "pause it; then sweep resume --cluster"),
        )
    )


def spec_of(run: Any) -> Any:
    """The spec of a run that is there."""
    from orchestrator.results.run_state import read_state
    from orchestrator.spec import SweepSpec

    return SweepSpec.model_validate(read_state(run).spec)
