"""Requests to a Ray cluster through Ray itself, the only module of this folder that imports it."""

from __future__ import annotations

import time

from orchestrator import compat_ray
from orchestrator.errors import SweepError
from orchestrator.secrets import masked, masked_values

_ANSWER_SECONDS = 5.0


def nodes(address: str, *, patience: float = 5.0) -> list[str]:
    """Return the names of the live hosts, from the head at ``address`` (HOST:PORT); empty if it does not answer."""
    import socket

    host, _, port = address.rpartition(":")
    try:  # Ray's own client would wait for an absent head without end
        with socket.create_connection((host, int(port)), timeout=patience):
            pass
    except (OSError, ValueError):
        return []
    try:
        alive = compat_ray.alive_nodes(compat_ray.gcs_client(address), patience)
    except Exception:
        return []
    return sorted(node["NodeManagerHostname"] for node in alive)


def wait_for_nodes(address: str, count: int, seconds: float) -> list[str]:
    """Wait until ``count`` hosts are alive. Return their names. Raises SweepError after ``seconds``."""
    deadline = time.monotonic() + seconds
    while len(names := nodes(address)) < count:
        if time.monotonic() > deadline:
            raise SweepError(
                f"{len(names)} of {count} nodes have joined {address} in {seconds:g} s",
                hint="check that all have the same token: RAY_AUTH_MODE and RAY_AUTH_TOKEN_PATH",
            )
        time.sleep(1.0)
    return names


def drain(address: str, seconds: float) -> int:
    """Drain this machine: report to the head at ``address`` (HOST:PORT) that it will be gone in ``seconds``.

    Ray schedules nothing more on a draining node.

    Returns:
        The number of Ray's nodes on this machine.

    Raises:
        OSError: The head does not answer.
        SweepError: The head refuses.
    """
    import socket

    host, _, port = address.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_SECONDS) as connection:
        own = connection.getsockname()[0]
    client = compat_ray.gcs_client(address)
    alive = compat_ray.alive_nodes(client, _ANSWER_SECONDS)
    mine = [node["NodeID"] for node in alive if node["NodeManagerAddress"] == own]
    reason = "the machine is being preempted"
    for node in mine:
        if refusal := compat_ray.drain_for_preemption(client, node, reason, int((time.time() + seconds) * 1000)):
            raise SweepError(f"the head refuses: {refusal}")
    return len(mine)


def submit(
    url: str,
    headers: dict[str, str],
    *,
    entrypoint: str,
    folder: str,
    name: str,
    metadata: dict[str, str],
    variables: dict[str, str] | None = None,
) -> str:
    """Submit a Ray Job that runs in a copy of ``folder``. Return its id. Raises SweepError if it is refused."""
    from ray.job_submission import JobSubmissionClient

    try:
        client = JobSubmissionClient(url, headers=dict(headers))
        job = client.submit_job(
            entrypoint=masked(entrypoint),
            submission_id=name,
            runtime_env={"working_dir": folder, "env_vars": variables or {}},
            metadata=masked_values(metadata),
        )
    except (RuntimeError, ConnectionError, ValueError) as error:
        raise SweepError(f"the cluster refuses the job: {error}".partition("\n")[0][:600]) from error
    return str(job)
