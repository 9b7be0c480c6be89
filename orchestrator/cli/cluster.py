"""Commands for clusters: `sweep cluster …`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.app import Json, RunName, Spec, app, complain, print_json, say

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
    from orchestrator.cluster.auth_token import KEPT, fingerprint, found, make

    file = found(path) or Path(KEPT).expanduser()
    made = make(file, new=new)
    say(f"{file}: {'made' if made else 'there already'}, fingerprint {fingerprint(file)}")


@cluster.command()
def manifest(
    kind: Annotated[str, typer.Argument(metavar="kuberay|slurm", help="For which scheduler.")],
    spec: Spec,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set any field of the sweep file.")
    ] = None,
    name: RunName = None,
    nodes: Annotated[int, typer.Option("--nodes", min=1, help="Nodes, or pods for trials, at most.")] = 2,
    trials: Annotated[int, typer.Option("--trials-per-node", min=1, help="Trials at once on each.")] = 1,
    runs: Annotated[
        str, typer.Option("--runs", metavar="DIR|URL", help="The runs, as all nodes see them.")
    ] = "/mnt/sweeps",
    image: Annotated[str, typer.Option("--image", help="kuberay: an image with this project and your modules.")] = "",
    claim: Annotated[str, typer.Option("--claim", help="kuberay: the PersistentVolumeClaim of the runs.")] = "sweeps",
    memory: Annotated[str, typer.Option("--memory", help="kuberay: of each pod for trials.")] = "16Gi",
    time: Annotated[str, typer.Option("--time", help="slurm: as Slurm writes it.")] = "24:00:00",
    partition: Annotated[str, typer.Option("--partition", help="slurm: where to queue.")] = "",
) -> None:
    """Print what runs a sweep on Kubernetes (a RayJob for the KubeRay operator) or on Slurm (a batch script)."""
    from orchestrator.cluster import Allocation, Kubernetes, kuberay, slurm
    from orchestrator.errors import UsageError
    from orchestrator.spec import load

    loaded = load(spec, overrides or (), name)
    if kind == "kuberay":
        if not image:
            raise UsageError("which image?", hint="--image REGISTRY/NAME:TAG, with this project and your modules in it")
        wanted = Kubernetes(image, claim, runs, workers=nodes, trials=trials, memory=memory)
        typer.echo(kuberay(loaded, wanted), nl=False)
    elif kind == "slurm":
        typer.echo(slurm(loaded, Allocation(runs, nodes, time, trials, partition)), nl=False)
    else:
        raise UsageError(f"there is no manifest for {kind!r}", hint="kuberay, or slurm")


@cluster.command()
def wait(
    nodes: Annotated[int, typer.Argument(metavar="NODES", min=1, help="How many, the head among them.")],
    address: Annotated[str, typer.Option("--address", metavar="HOST:PORT", help="The head's.")],
    seconds: Annotated[float, typer.Option("--seconds", help="How long at most.")] = 300.0,
) -> None:
    """Wait until so many nodes have joined a Ray cluster."""
    from orchestrator.cluster import ray_client

    found = ray_client.wait(address, nodes, seconds)
    say(f"{len(found)} nodes: {', '.join(found)}", err=True)


@cluster.command()
def up(
    file: File = Path("cluster.yaml"),
    restart: Annotated[
        bool, typer.Option("--restart", help="Start Ray anew where it runs: what runs there is lost.")
    ] = False,
) -> None:
    """Start a cluster, or bring it to what its file says; what runs on it goes on running."""
    from orchestrator.cluster import launcher, load

    nodes = launcher.up(load(file), restart=restart)
    count = f"{len(nodes)} node{'s' if len(nodes) > 1 else ''}"
    say(f"{file}: up, with {count}: {', '.join(node.name for node in nodes)}")


@cluster.command()
def status(file: File = Path("cluster.yaml"), as_json: Json = False) -> None:
    """The nodes of a cluster, and the sweeps that were submitted to it."""
    from dataclasses import asdict

    from orchestrator.cluster import launcher, load

    nodes, jobs = launcher.status(load(file))
    if as_json:
        print_json({"nodes": [asdict(node) for node in nodes], "jobs": [_job(job) for job in jobs]})
        return
    for node in nodes:
        room = ", ".join(f"{amount:g} {name}" for name, amount in node.resources.items())
        say(f"{'head' if node.head else 'node'}  {node.name}  {node.address}  {'up' if node.alive else 'gone'}  {room}")
    for job in map(_job, jobs):
        say(f"job   {job['id']}  {job['status']}  {job['sweep']}")


def _job(job: dict[str, object]) -> dict[str, str]:
    metadata = job.get("metadata")
    sweep = metadata.get("sweep", "") if isinstance(metadata, dict) else ""
    return {"id": str(job["submission_id"]), "status": str(job["status"]), "sweep": str(sweep)}


@cluster.command()
def down(file: File = Path("cluster.yaml")) -> None:
    """Stop a cluster: end its machines, or Ray on hosts of your own, and see that nothing is left."""
    from orchestrator.cluster import launcher, load

    launcher.down(load(file))
    say(f"{file}: down")
