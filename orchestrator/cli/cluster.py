"""Commands for clusters: `sweep cluster …`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator import registry
from orchestrator.cli.app import PANEL_SCALE, app
from orchestrator.cli.options import HeadAddress, Json, NodeRuns, Overrides, Preset, RunName, Spec, TokenFile
from orchestrator.cli.output import print_done, print_json, print_lines, warn

cluster = typer.Typer(no_args_is_help=True, help="Describe, start, inspect and stop Ray clusters.")
app.add_typer(cluster, name="cluster", rich_help_panel=PANEL_SCALE)

File = Annotated[Path, typer.Argument(metavar="FILE", help="A cluster file, as `ray up` reads it.")]


@cluster.command()
def init(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="|".join(registry.names("cluster_providers", installed=False)), help="Provider of the machines."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="File to write.")] = Path("cluster.yaml"),
    as_json: Json = False,
) -> None:
    """Write a template of a cluster file, with comments on what to fill in.

    Example: sweep cluster init aws
    """
    from orchestrator.cluster.templates import template
    from orchestrator.errors import UsageError

    text = template(kind, out.absolute().parent)
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{out} exists already", hint="specify another file: --out FILE") from None
    print_done({"file": str(out)}, f"wrote {out}; fill in what its first lines list", as_json=as_json)


@cluster.command()
def validate(file: File = Path("cluster.yaml"), as_json: Json = False) -> None:
    """Check a cluster file: Ray's schema, closed ports, fast detection of lost nodes, one version everywhere.

    Example: sweep cluster validate cluster.yaml
    """
    from orchestrator.cluster import load

    description = load(file)
    if as_json:
        print_json({"file": str(file), "name": description.name, "kind": description.kind,
                    "to_do": [str(item) for item in description.open_items]})  # fmt: skip
        return
    for item in description.open_items:
        warn(f"to do: {item}")
    notes = f"; {len(description.open_items)} to do" if description.open_items else ""
    print_lines(f"{file} is valid: {description.name} on {description.kind}{notes}")


@cluster.command()
def token(
    path: TokenFile = None,
    new: Annotated[bool, typer.Option("--new", help="Replace the token by a new one.")] = False,
    as_json: Json = False,
) -> None:
    """Create the token that clusters require, unless it exists. Only its owner can read it; it is not printed.

    Example: sweep cluster token
    """
    from orchestrator.cluster.auth_token import DEFAULT_PATH, create, find, fingerprint

    file = find(path) or Path(DEFAULT_PATH).expanduser()
    created = create(file, new=new)
    if as_json:
        print_json({"file": str(file), "created": bool(created), "fingerprint": fingerprint(file)})
        return
    print_lines(f"{file}: {'created' if created else 'exists already'}, fingerprint {fingerprint(file)}")


@cluster.command()
def manifest(
    kind: Annotated[
        str, typer.Argument(metavar="|".join(registry.names("manifests", installed=False)), help="Kind of manifest.")
    ],
    spec: Spec,
    overrides: Overrides = None,
    preset: Preset = None,
    name: RunName = None,
    nodes: Annotated[int, typer.Option("--nodes", min=1, help="Maximum number of nodes, or of trial pods.")] = 2,
    trials: Annotated[int, typer.Option("--trials-per-node", min=1, help="Concurrent trials on each node.")] = 1,
    runs: NodeRuns = "/mnt/sweeps",
    image: Annotated[str, typer.Option("--image", help="kuberay: image with this project and your modules.")] = "",
    claim: Annotated[str, typer.Option("--claim", help="kuberay: PersistentVolumeClaim of the runs.")] = "sweeps",
    memory: Annotated[str, typer.Option("--memory", help="kuberay: memory of each trial pod.")] = "16Gi",
    time: Annotated[str, typer.Option("--time", help="slurm: time limit, in Slurm's format.")] = "24:00:00",
    partition: Annotated[str, typer.Option("--partition", help="slurm: partition.")] = "",
    options: Annotated[
        list[str] | None, typer.Option("--option", metavar="KEY=VALUE", help="Any option of the manifest.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print a manifest that runs a sweep: a RayJob for the KubeRay operator, or a Slurm batch script.

    Example: sweep cluster manifest slurm cifar10 --nodes 4
    """
    from orchestrator.cluster.manifest import render
    from orchestrator.errors import UsageError
    from orchestrator.spec import load

    malformed = next((option for option in options or () if "=" not in option), None)
    if malformed is not None:
        raise UsageError(f"--option {malformed!r} is not KEY=VALUE", hint="for example --option image=lab/sweep:1")
    flags = {
        "runs": runs, "nodes": nodes, "trials": trials, "image": image, "claim": claim, "memory": memory,
        "time": time, "partition": partition,
    }  # fmt: skip
    extra = {key: value for key, _, value in (option.partition("=") for option in options or ())}
    text = render(kind, load(spec, overrides or (), name, preset), flags, extra)
    print_json({"kind": kind, "manifest": text}) if as_json else typer.echo(text, nl=False)


@cluster.command()
def wait(
    nodes: Annotated[int, typer.Argument(metavar="NODES", min=1, help="Number of nodes, the head included.")],
    address: HeadAddress,
    seconds: Annotated[float, typer.Option("--seconds", help="Maximum time to wait.")] = 300.0,
    as_json: Json = False,
) -> None:
    """Wait until a number of nodes have joined a Ray cluster.

    Example: sweep cluster wait 4 --address head:6379
    """
    from orchestrator.cluster import ray_client

    names = ray_client.wait_for_nodes(address, nodes, seconds)
    print_done({"nodes": list(names)}, f"{len(names)} nodes: {', '.join(names)}", as_json=as_json)


@cluster.command()
def up(
    file: File = Path("cluster.yaml"),
    restart: Annotated[
        bool, typer.Option("--restart", help="Restart Ray where it runs, which loses everything running there.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Start a cluster, or update a running one to its file without interrupting it.

    Example: sweep cluster up
    """
    from orchestrator.cluster import launcher, load

    nodes = launcher.up(load(file), restart=restart)
    if as_json:
        print_json({"file": str(file), "nodes": [node.name for node in nodes]})
        return
    count = f"{len(nodes)} node{'s' if len(nodes) > 1 else ''}"
    print_lines(f"{file}: up, with {count}: {', '.join(node.name for node in nodes)}")


@cluster.command()
def status(file: File = Path("cluster.yaml"), as_json: Json = False) -> None:
    """Print the nodes of a cluster and the sweeps submitted to it.

    Example: sweep cluster status --json
    """
    from dataclasses import asdict

    from orchestrator.cluster import launcher, load

    nodes, jobs = launcher.status(load(file))
    if as_json:
        print_json({"nodes": [asdict(node) for node in nodes], "jobs": [_job_row(job) for job in jobs]})
        return
    for node in nodes:
        kind, state = ("head" if node.head else "node"), ("up" if node.alive else "gone")
        resources = ", ".join(f"{amount:g} {name}" for name, amount in node.resources.items())
        print_lines(f"{kind}  {node.name}  {node.address}  {state}  {resources}")
    for job in map(_job_row, jobs):
        print_lines(f"job   {job['id']}  {job['status']}  {job['sweep']}")


def _job_row(job: dict[str, object]) -> dict[str, str]:
    metadata = job.get("metadata")
    sweep = metadata.get("sweep", "") if isinstance(metadata, dict) else ""
    return {"id": str(job["submission_id"]), "status": str(job["status"]), "sweep": str(sweep)}


@cluster.command()
def down(file: File = Path("cluster.yaml"), as_json: Json = False) -> None:
    """Stop a cluster: terminate its machines, or stop Ray on hosts of your own, and verify that nothing remains.

    Example: sweep cluster down
    """
    from orchestrator.cluster import launcher, load

    launcher.down(load(file))
    print_json({"file": str(file), "nodes": []}) if as_json else print_lines(f"{file}: down")
