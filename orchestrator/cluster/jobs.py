"""Sweeps as Ray Jobs: submitted from anywhere, run by the cluster."""

from __future__ import annotations

import contextlib
import secrets
import shlex
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.cluster import auth_token, ray_client
from orchestrator.cluster.cluster_file import installed
from orchestrator.cluster.code_upload import Shipment, ship
from orchestrator.cluster.dashboard_api import Dashboard
from orchestrator.cluster.job_preflight import READY
from orchestrator.cluster.ssh_tunnel import tunnel
from orchestrator.cluster.validation import load
from orchestrator.errors import SpecError, SweepError, UsageError
from orchestrator.spec import SweepSpec

_ARRIVAL_SECONDS = 180.0
_OVER = ("SUCCEEDED", "FAILED", "STOPPED")


@dataclass(frozen=True)
class Submitted:
    """A job that has arrived. ``runs`` is where its runs lie, as the cluster names it; empty where only it knows."""

    job: str
    runs: str
    shipment: Shipment


@contextlib.contextmanager
def reached(address: str, file: Path | None = None, *, insecure: bool = False) -> Iterator[tuple[Dashboard, str]]:
    """The dashboard of a cluster, by its file or its URL, and the folder of runs that its file names.

    ``file`` is the token's. Raises UsageError where the cluster asks for no token, or does not take ours.
    """
    if "://" in address:
        kept = auth_token.found(file)
        dashboard = Dashboard(address.rstrip("/"), auth_token.read(kept) if kept else "")
        dashboard.require_token(insecure)
        yield dashboard, ""
        return
    described = load(address)
    kept = file or described.token
    with tunnel(described) as url:
        dashboard = Dashboard(url, auth_token.read(kept) if kept else "")
        dashboard.require_token(insecure)
        yield dashboard, described.runs


def submit(
    address: str,
    words: Sequence[str],
    spec: SweepSpec,
    *,
    runs: str | None = None,
    token_file: Path | None = None,
    insecure: bool = False,
) -> Submitted:
    """Have a cluster run ``sweep`` with these words, beside the spec as sweep.yaml and its code; returns once it does.

    ``runs`` is the folder of runs as the cluster's nodes see it, else what the head's SWEEP_RUNS says.

    Raises SpecError where the spec's classes are wrong, UsageError where the cluster takes no job of ours or has
    another version, SweepError where it does not answer.
    """
    from orchestrator.training import class_loading

    roots = class_loading.import_roots(spec)
    if problems := class_loading.check(spec):
        raise SpecError(problems)
    with reached(address, token_file, insecure=insecure) as (dashboard, known), tempfile.TemporaryDirectory() as folder:
        shipment = ship(spec, roots, Path(folder))
        where = runs or known
        job = ray_client.submit(
            dashboard.url,
            dashboard.headers,
            entrypoint=_entrypoint(words, where),
            folder=folder,
            name=f"sweep-{spec.name}-{secrets.token_hex(3)}",
            metadata={"sweep": spec.name, "version": installed()},
        )
        _await_arrival(dashboard, job)
        return Submitted(job, where, shipment)


def _entrypoint(words: Sequence[str], runs: str) -> str:
    # Not by PATH: Ray starts a job by a shell that reads the user's own files, which may put another Python first.
    python = '"${SWEEP_PYTHON:-python}"'
    arrival = shlex.join(["-m", "orchestrator.cluster.job_preflight", installed(), *([runs] if runs else [])])
    said = shlex.join(["-m", "orchestrator", *words, "--address", "auto", *(["--runs", runs] if runs else [])])
    return f"{python} {arrival} && exec {python} {said}"


def _await_arrival(dashboard: Dashboard, job: str) -> None:
    """Wait until the job has seen that all is well there. Raises UsageError where it is not."""
    until = time.monotonic() + _ARRIVAL_SECONDS
    while True:
        told = dashboard.ask(f"/api/jobs/{job}")
        said = str(dashboard.ask(f"/api/jobs/{job}/logs").get("logs", ""))
        if READY in said:
            return
        if told["status"] in _OVER:
            lines = [line for line in said.splitlines() if line.strip()] or [str(told.get("message", ""))]
            error = next((line.removeprefix("error: ") for line in lines if line.startswith("error: ")), lines[-1])
            hint = next((line.removeprefix("hint: ") for line in lines if line.startswith("hint: ")), "")
            raise UsageError(f"the cluster cannot run it: {error[-600:]}", hint=hint)
        if time.monotonic() > until:
            raise SweepError(
                f"job {job} has not begun in {_ARRIVAL_SECONDS:g} s: it is {told['status']}",
                hint="it may yet: sweep cluster status",
            )
        time.sleep(0.3)
