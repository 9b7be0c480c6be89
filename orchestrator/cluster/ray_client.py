"""What is asked of Ray itself: the one place of this room that imports it."""

from __future__ import annotations

import time

from orchestrator import compat_ray
from orchestrator.errors import SweepError
from orchestrator.secrets import masked, masked_values

_ANSWER_SECONDS = 5.0


def nodes(address: str, *, patience: float = 5.0) -> list[str]:
    """The hosts that are alive, as the head at ``address`` (HOST:PORT) sees it; none where it is silent."""
    import socket

    host, _, port = address.rpartition(":")
    try:  # Ray's own client waits for ever for a head that is not there
        with socket.create_connection((host, int(port)), timeout=patience):
            pass
    except (OSError, ValueError):
        return []
    try:
        alive = compat_ray.alive_nodes(compat_ray.gcs_client(address), patience)
    except Exception:
        return []
    return sorted(node["NodeManagerHostname"] for node in alive)


def wait(address: str, count: int, seconds: float) -> list[str]:
    """Wait until so many hosts are alive; returns their names. Raises SweepError where it takes longer than that."""
    until = time.monotonic() + seconds
    while len(found := nodes(address)) < count:
        if time.monotonic() > until:
            raise SweepError(
                f"{len(found)} of {count} nodes have joined {address} in {seconds:g} s",
                hint="is the token the same on all of them? RAY_AUTH_MODE and RAY_AUTH_TOKEN_PATH",
            )
        time.sleep(1.0)
    return found


def drain(address: str, seconds: float, why: str) -> int:
    """Tell the head at ``address`` (HOST:PORT) that this machine will be gone in so many seconds.

    Nothing more is placed on its nodes here, whose number is returned. Raises OSError where the head does not answer,
    SweepError where it refuses, and what Ray raises.
    """
    import socket

    host, _, port = address.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_SECONDS) as connection:
        own = connection.getsockname()[0]
    client = compat_ray.gcs_client(address)
    alive = compat_ray.alive_nodes(client, _ANSWER_SECONDS)
    mine = [node["NodeID"] for node in alive if node["NodeManagerAddress"] == own]
    for node in mine:
        if refusal := compat_ray.drain_for_preemption(client, node, why, int((time.time() + seconds) * 1000)):
            raise SweepError(f"the head refuses: {refusal}")
    return len(mine)


def submit(
    url: str, headers: dict[str, str], *, entrypoint: str, folder: str, name: str, metadata: dict[str, str]
) -> str:
    """Submit a Ray Job that runs in a copy of ``folder``; returns its id. Raises SweepError where it is refused."""
    from ray.job_submission import JobSubmissionClient

    try:
        client = JobSubmissionClient(url, headers=dict(headers))
        job = client.submit_job(
            entrypoint=masked(entrypoint),
            submission_id=name,
            runtime_env={"working_dir": folder},
            metadata=masked_values(metadata),
        )
    except (RuntimeError, ConnectionError, ValueError) as error:
        raise SweepError(f"the cluster does not take the job: {error}".partition("\n")[0][:600]) from error
    return str(job)
