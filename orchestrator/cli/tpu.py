"""Commands for TPU slices."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.app import Address, Json, RunName, Runs, Spec, app, print_json, say
from orchestrator.cli.run import finish

tpu = typer.Typer(
    help="Sweeps on TPU slices: what the processes of a trial are, and how they are run.", no_args_is_help=True
)
app.add_typer(tpu, name="tpu", rich_help_panel="Scale it")

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set any field: --set resources.tpu=v5e-16. May be repeated."),
]


@tpu.command()
def plan(
    spec: Spec,
    overrides: Overrides = None,
    hosts: Annotated[
        list[str] | None,
        typer.Option("--host", metavar="ADDRESS", help="A host, in the order of TPU_WORKER_ID. May be repeated."),
    ] = None,
    as_json: Json = False,
) -> None:
    """For each host of a trial's slice: its processes, their environment and the command."""
    from orchestrator.spec import load
    from orchestrator.xla import slice_plan

    loaded = load(spec, overrides or ())
    planned = slice_plan.processes(loaded, hosts or ())
    if as_json:
        print_json(slice_plan.as_record(loaded, planned))
    else:
        say(*slice_plan.lines(loaded, planned))


@tpu.command()
def manifest(
    spec: Spec,
    image: Annotated[str, typer.Option("--image", help="An image with both environments and the sweep's code.")],
    claim: Annotated[str, typer.Option("--claim", metavar="PVC", help="The volume claim for run directories.")],
    overrides: Overrides = None,
    slices: Annotated[int, typer.Option("--slices", min=1, help="How many slices: so many trials at once.")] = 1,
    python: Annotated[
        str, typer.Option("--python", metavar="PATH", help="torch_xla's interpreter in the image.")
    ] = "/opt/tpu/bin/python",
) -> None:
    """A RayCluster of KubeRay's with slices on GKE, for kubectl apply."""
    from orchestrator.spec import load
    from orchestrator.xla import gke_manifest as manifests
    from orchestrator.xla import slice_plan

    loaded = load(spec, overrides or ())
    wanted, cpus = slice_plan.slice_for(loaded), loaded.resources.cpus
    count = slices * loaded.resources.slices
    text = manifests.manifest(wanted, name=loaded.name, count=count, image=image, claim=claim, python=python, cpus=cpus)
    say(*text.splitlines())


@tpu.command()
def launch(
    spec: Spec,
    overrides: Overrides = None,
    name: RunName = None,
    address: Address = "",
    gcloud: Annotated[
        str, typer.Option("--gcloud", metavar="TPU", help="Without Ray: run the one trial on this TPU VM's hosts.")
    ] = "",
    zone: Annotated[str, typer.Option("--zone", help="With --gcloud: the TPU VM's zone.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --gcloud: print the command only.")] = False,
    alone: Annotated[
        bool, typer.Option("--alone", help="Without Ray: this host's part of the one trial; run it on every host.")
    ] = False,
    runs: Runs = None,
) -> None:
    """Run a sweep on the slices of a pod's Ray cluster, or without Ray a single trial on one slice."""
    import shlex

    from orchestrator.results.terminal_tables import Progress
    from orchestrator.rundir import run_at
    from orchestrator.spec import load
    from orchestrator.xla import slice_plan

    loaded = load(spec, overrides or (), name)
    slice_plan.slice_for(loaded)
    if gcloud:
        from orchestrator.xla import gcloud_launch

        options = [word for key in overrides or () for word in ("--set", key)]
        options += ["--name", name] if name else []
        words = gcloud_launch.command([spec, *options, *(["--runs", str(runs)] if runs else [])], tpu=gcloud, zone=zone)
        if dry_run:
            say(shlex.join(words))
        raise typer.Exit(0 if dry_run else gcloud_launch.run(words))
    with Progress(run_at(loaded.name, runs)) as progress:
        from orchestrator import sweep

        if alone:
            outcome = sweep.launch_alone(loaded, runs, observer=progress)
        else:
            outcome = sweep.launch(loaded, runs, address=address, observer=progress)
    if outcome is not None:
        finish(outcome, False, address)
