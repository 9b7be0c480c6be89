"""Commands for clusters: `sweep cluster …`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.shared import app, complain, say

cluster = typer.Typer(no_args_is_help=True, help="Clusters: their files, their tokens, starting and stopping them.")
app.add_typer(cluster, name="cluster", rich_help_panel="Clusters")

File = Annotated[Path, typer.Argument(metavar="FILE", help="A cluster file, as `ray up` reads it.")]
TokenFile = Annotated[
    Path | None,
    typer.Option("--token", metavar="FILE", help="The token's file; else $RAY_AUTH_TOKEN_PATH, else ~/.sweep/token."),
]


@cluster.command()
def init(
    kind: Annotated[str, typer.Argument(metavar="aws|gcp|local", help="Who provides the machines.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where to write it.")] = Path("cluster.yaml"),
) -> None:
    """Write a cluster file to begin with, with comments that say what to fill in."""
    from orchestrator.cluster.templates import template
    from orchestrator.errors import UsageError

    text = template(kind, out.absolute().parent)
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{out} is there already", hint="another name: --out FILE") from None
    say(f"{out} is written; what it says at its top is to be filled in", err=True)


@cluster.command()
def validate(file: File = Path("cluster.yaml")) -> None:
    """Check a cluster file: its form by Ray's schema, and that it is closed, quick to notice losses, of one version."""
    from orchestrator.cluster import load

    found = load(file)
    for note in found.notes:
        complain(f"to do: {note}")
    say(f"{file} is sound: {found.name} on {found.kind}" + (f"; {len(found.notes)} to do" if found.notes else ""))


@cluster.command()
def token(
    path: TokenFile = None,
    new: Annotated[bool, typer.Option("--new", help="Another one in its place.")] = False,
) -> None:
    """See that there is a token, which clusters ask everyone for, readable by you alone; it is not shown."""
    from orchestrator.cluster.token import KEPT, fingerprint, found, make

    file = found(path) or Path(KEPT).expanduser()
    made = make(file, new=new)
    say(f"{file}: {'made' if made else 'there already'}, fingerprint {fingerprint(file)}")
