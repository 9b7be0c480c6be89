"""Submit a sweep to a cluster as a Ray Job."""

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
from orchestrator.cluster.code_upload import CodeUpload, collect
from orchestrator.cluster.dashboard_api import Dashboard
from orchestrator.cluster.job_preflight import READY
from orchestrator.cluster.ssh_tunnel import tunnel
from orchestrator.cluster.validation import load
from orchestrator.errors import SpecError, SweepError, UsageError
from orchestrator.spec import SweepSpec
from orchestrator.trust import CARRIED, carried_author

_START_SECONDS = 180.0
_END_STATES = ("SUCCEEDED", "FAILED", "STOPPED")


@dataclass(frozen=True)
class SubmittedJob:
    """A job whose preflight has passed.

    Attributes:
        job: Ray's id of it.
        runs: The folder of runs on the cluster; empty if only the cluster knows it.
        upload: The code that was uploaded.
    """

    job: str
    runs: str
    upload: CodeUpload


@contextlib.contextmanager
def connect(address: str, token_file: Path | None = None, *, insecure: bool = False) -> Iterator[tuple[Dashboard, str]]:
    """Connect to a cluster, by its cluster file or the URL of its dashboard.

    Args:
        address: The file, or the URL.
        token_file: The token's file, if it is not the default.
        insecure: Accept a cluster that requires no token.

    Yields:
        The dashboard, and the folder of runs that the cluster file names (empty for a URL).

    Raises:
        UsageError: The cluster requires no token, or refuses ours.
    """
    if "://" in address:
        token = auth_token.find(token_file)
        dashboard = Dashboard(address.rstrip("/"), auth_token.read(token) if token else "")
        dashboard.require_token(insecure)
        yield dashboard, ""
        return
    cluster = load(address)
    token = token_file or cluster.token
    with tunnel(cluster) as url:
        dashboard = Dashboard(url, auth_token.read(token) if token else "")
        dashboard.require_token(insecure)
        yield dashboard, cluster.runs


def submit(
    address: str,
    words: Sequence[str],
    spec: SweepSpec,
    *,
    runs: str | None = None,
    token_file: Path | None = None,
    insecure: bool = False,
) -> SubmittedJob:
    """Run ``sweep WORDS`` on a cluster, in a folder with sweep.yaml and the sweep's code; return once it has begun.

    Args:
        address: The cluster's file, or the URL of its dashboard.
        words: Arguments of ``sweep``.
        spec: The sweep.
        runs: The folder of runs as the cluster's nodes see it; by default the head's SWEEP_RUNS.
        token_file: The token's file, if it is not the default.
        insecure: Accept a cluster that requires no token.

    Raises:
        SpecError: The spec's classes are wrong.
        UsageError: The cluster refuses the job, or has another version of this project.
        SweepError: The cluster does not answer.
    """
    from orchestrator.training import class_loading

    roots = class_loading.import_roots(spec)
    if problems := class_loading.check(spec):
        raise SpecError(problems)
    with (
        connect(address, token_file, insecure=insecure) as (dashboard, default),
        tempfile.TemporaryDirectory() as folder,
    ):
        upload = collect(spec, roots, Path(folder))
        runs = runs or default
        job = ray_client.submit(
            dashboard.url,
            dashboard.headers,
            entrypoint=_entrypoint(words, runs),
            folder=folder,
            name=f"sweep-{spec.name}-{secrets.token_hex(3)}",
            metadata={"sweep": spec.name, "version": installed()},
            variables=_carried(words, spec),
        )
        _wait_for_preflight(dashboard, job)
        return SubmittedJob(job, runs, upload)


def _carried(words: Sequence[str], spec: SweepSpec) -> dict[str, str]:
    """Return the variables that let this user's commands trust the run that the job launches."""
    signature = carried_author(spec.model_dump(mode="json")) if words[0] == "launch" else ""
    return {CARRIED: signature} if signature else {}


def _entrypoint(words: Sequence[str], runs: str) -> str:
    # Not by PATH: Ray starts jobs in a shell whose startup files may put another Python first.
    python = '"${SWEEP_PYTHON:-python}"'
    preflight = shlex.join(["-m", "orchestrator.cluster.job_preflight", installed(), *([runs] if runs else [])])
    command = shlex.join(["-m", "orchestrator", *words, "--address", "auto", *(["--runs", runs] if runs else [])])
    return f"{python} {preflight} && exec {python} {command}"


def _wait_for_preflight(dashboard: Dashboard, job: str) -> None:
    """Wait until the job's preflight has passed. Raises UsageError if it fails."""
    deadline = time.monotonic() + _START_SECONDS
    while True:
        details = dashboard.get(f"/api/jobs/{job}")
        log = str(dashboard.get(f"/api/jobs/{job}/logs").get("logs", ""))
        if READY in log:
            return
        if details["status"] in _END_STATES:
            lines = [line for line in log.splitlines() if line.strip()] or [str(details.get("message", ""))]
            error = next((line.removeprefix("error: ") for line in lines if line.startswith("error: ")), lines[-1])
            hint = next((line.removeprefix("hint: ") for line in lines if line.startswith("hint: ")), "")
            raise UsageError(f"the cluster cannot run the sweep: {error[-600:]}", hint=hint)
        if time.monotonic() > deadline:
            raise SweepError(
                f"job {job} has not started within {_START_SECONDS:g} s: its status is {details['status']}",
                hint="it may still start; poll it with sweep cluster status",
            )
        time.sleep(0.3)
