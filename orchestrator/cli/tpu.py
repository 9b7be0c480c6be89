"""Commands for TPU slices: `sweep tpu …`."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.app import PANEL_SCALE, app
from orchestrator.cli.options import Address, Json, Overrides, Preset, RunName, Runs, Spec
from orchestrator.cli.outcome import finish
from orchestrator.cli.output import print_json, print_lines

tpu = typer.Typer(help="Plan and run sweeps on TPU slices.", no_args_is_help=True)
app.add_typer(tpu, name="tpu", rich_help_panel=PANEL_SCALE)


@tpu.command()
def plan(
    spec: Spec,
    overrides: Overrides = None,
    preset: Preset = None,
    hosts: Annotated[
        list[str] | None,
        typer.Option("--host", metavar="ADDRESS", help="A host, in the order of TPU_WORKER_ID. May be repeated."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Print, for each host of a trial's slice, its processes, their environment and the command.

    Example: sweep tpu plan sweep.yaml
    """
    from orchestrator.spec import load
    from orchestrator.xla import process_env

    loaded = load(spec, overrides or (), preset=preset)
    processes = process_env.plan_processes(loaded, hosts or ())
    if as_json:
        print_json(process_env.plan_record(loaded, processes))
    else:
        print_lines(*process_env.plan_lines(loaded, processes))


@tpu.command()
def manifest(
    spec: Spec,
    image: Annotated[str, typer.Option("--image", help="Image with both environments and the sweep's code.")],
    claim: Annotated[str, typer.Option("--claim", metavar="PVC", help="Volume claim of the run directories.")],
    overrides: Overrides = None,
    preset: Preset = None,
    slices: Annotated[int, typer.Option("--slices", min=1, help="Number of slices, and so of concurrent trials.")] = 1,
    python: Annotated[
        str, typer.Option("--python", metavar="PATH", help="Interpreter with torch_xla in the image.")
    ] = "/opt/tpu/bin/python",
    as_json: Json = False,
) -> None:
    """Print a KubeRay RayCluster with TPU slices on GKE, for kubectl apply.

    Example: sweep tpu manifest sweep.yaml --image lab/sweep:1 --claim sweeps
    """
    from orchestrator.spec import load
    from orchestrator.xla import gke_manifest, process_env

    loaded = load(spec, overrides or (), preset=preset)
    text = gke_manifest.manifest(
        process_env.required_slice(loaded),
        name=loaded.name,
        count=slices * loaded.resources.slices,
        image=image,
        claim=claim,
        python=python,
        cpus=loaded.resources.cpu_count,
    )
    print_json({"kind": "raycluster", "manifest": text}) if as_json else print_lines(*text.splitlines())


@tpu.command()
def launch(
    spec: Spec,
    overrides: Overrides = None,
    preset: Preset = None,
    name: RunName = None,
    address: Address = "",
    gcloud: Annotated[
        str, typer.Option("--gcloud", metavar="TPU", help="Without Ray: run the only trial on this TPU VM's hosts.")
    ] = "",
    zone: Annotated[str, typer.Option("--zone", help="With --gcloud: zone of the TPU VM.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --gcloud: print the command and exit.")] = False,
    alone: Annotated[
        bool, typer.Option("--alone", help="Without Ray: run this host's part of the only trial; use it on every host.")
    ] = False,
    runs: Runs = None,
    as_json: Json = False,
) -> None:
    """Run a sweep on the slices of a Ray cluster, or a single trial on one slice without Ray.

    Example: sweep tpu launch sweep.yaml --gcloud my-tpu --zone us-central2-b
    """
    import shlex

    from orchestrator.results.launch_progress import Progress
    from orchestrator.rundir import run_at
    from orchestrator.spec import load
    from orchestrator.xla import process_env

    loaded = load(spec, overrides or (), name, preset)
    process_env.required_slice(loaded)
    if gcloud:
        from orchestrator.xla import no_ray_launch

        arguments = [spec, *(word for override in overrides or () for word in ("--set", override))]
        arguments += ["--preset", preset] if preset else []
        arguments += ["--name", name] if name else []
        arguments += ["--runs", runs] if runs else []
        command = no_ray_launch.gcloud_command(arguments, tpu=gcloud, zone=zone)
        if dry_run:
            print_json({"command": command}) if as_json else print_lines(shlex.join(command))
        raise typer.Exit(0 if dry_run else no_ray_launch.run_gcloud(command))
    with Progress(run_at(loaded.name, runs)) as progress:
        progress.phase("importing torch")
        from orchestrator import sweep

        if alone:
            outcome = sweep.launch_without_ray(loaded, runs, observer=progress)
        else:
            outcome = sweep.launch(loaded, runs, address=address, observer=progress)
    if outcome is not None:
        finish(outcome, local=False, address=address, as_json=as_json)
