"""Every private or undocumented part of Ray that this package uses.

Ray has no public call for these. ``tests/test_compat_ray.py`` checks each one; a failure names the installed version of
Ray and `LAST_TESTED`. The rest of the package uses Ray's public API only,
except `orchestrator.engine.process_reaper`, which runs without this package and knows the title of Ray's processes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

LAST_TESTED = "2.60.0"
"""The last version of Ray that these parts are tested with."""

DRIVER_SWITCHES = {
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output prints a banner even when silent
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "300",  # a slow teardown must not fail the next segment
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # Tune's own state is never read
    "TUNE_RESULT_BUFFER_LENGTH": "1",
    "TUNE_STATE_REFRESH_PERIOD": "1000000",  # each refresh asks the GCS, and waits a minute for a dead one
}
"""Environment variables that Ray reads when it is imported or started. docs/decisions gives the reasons."""

LOCAL_SWITCHES = {
    "RAY_AUTH_MODE": "token",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # "no cluster", on Linux too: every port is bound to loopback
    # The ports of the metrics ask for no token: none is opened. Ray logs that -1 is no port, and goes on.
    "RAY_enable_metrics_collection": "0",
    "AUTOSCALER_METRIC_PORT": "-1",
    "DASHBOARD_METRIC_PORT": "-1",
    # What trials print goes to files in the instance's folder: of each at most so many bytes, and as many before them.
    "RAY_ROTATION_MAX_BYTES": "16000000",
    "RAY_ROTATION_BACKUP_COUNT": "1",
}
"""Environment variables for an instance on this machine alone, whatever the user has set for clusters."""

SLICE_SWITCHES = {
    name: DRIVER_SWITCHES[name]
    for name in ("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "RAY_ENABLE_UV_RUN_RUNTIME_ENV", "RAY_USAGE_STATS_ENABLED")
}
"""Those that a sweep on TPU slices sets."""

VITAL_PROCESSES = ("raylet", "gcs_server")
"""Programs without which Ray runs nothing; Ray's driver notices their end late or never."""

NODE_ID_LABEL = "ray.io/node-id"
"""The label that Ray gives each node, for label selectors."""

ACCELERATOR_RESOURCE = "accelerator_type:"
"""Prefix of the resource that names the kind of a node's GPUs."""

WRONG_CLUSTER = "WrongClusterID"
"""In the error of a head that has replaced the one that was joined."""

MEMORY_MONITOR_KILL = "running low on memory"
"""In the error of a process that Ray's memory monitor has killed."""

MEMORY_MONITOR_VICTIM = r"Selected to kill: \(Actor\((?P<actor>\w+)\).*?actual memory used=(?P<gigabytes>[\d.]+)GB"
"""Each process that the memory monitor has killed; the error's text is the only list of them."""

NODE_LOSSES = ("node has died", "node was terminated", "node was preempted", "unschedulable")
"""In the error of an actor whose node is lost."""

_ALIVE = 0  # GcsNodeInfo.ALIVE
_DRAIN_PREEMPTION = 2  # DRAIN_NODE_REASON_PREEMPTION of autoscaler.proto


def version_hint() -> str:
    """Return the installed version of Ray and the last tested one, for an error's hint."""
    return f"ray {version('ray')} is installed; the last version tested is {LAST_TESTED}"


def gcs_client(address: str) -> Any:
    """Return a client of a head's GCS whose calls have a time-out; no public client has."""
    from ray._raylet import GcsClient  # type: ignore[attr-defined]

    return GcsClient(address=address)


def alive_nodes(client: Any, timeout: float) -> list[dict[str, Any]]:
    """Return the nodes that are alive, keyed as ``ray.nodes()`` has them, asking for ``timeout`` seconds at most.

    ``ray.nodes()`` waits a minute for a head that is gone and then ends the process. Keys: ``NodeID``,
    ``NodeManagerHostname``, ``NodeManagerAddress``, ``Resources``.
    """
    return [
        {
            "NodeID": node.node_id.hex(),
            "NodeManagerHostname": node.node_manager_hostname,
            "NodeManagerAddress": node.node_manager_address,
            "Resources": dict(node.resources_total),
        }
        for node in client.get_all_node_info(timeout=timeout).values()
        if int(node.state) == _ALIVE
    ]


def draining_nodes(client: Any, timeout: float) -> dict[str, int]:
    """Return the ``NodeID`` of each node that is being drained and its deadline, Unix milliseconds, 0 for none."""
    return dict(client.get_draining_nodes(timeout=timeout))


def connected_draining_nodes() -> dict[str, int]:
    """Return the draining nodes of the cluster that this process is connected to, as `draining_nodes` does."""
    from ray._private.state import state

    return dict(state.get_draining_nodes())


def drain_for_preemption(client: Any, node_id: str, reason: str, deadline_ms: int) -> str:
    """Ask the head to place nothing more on a node that will be gone by then. Returns why it refuses, or nothing."""
    accepted, refusal = client.drain_node(node_id, _DRAIN_PREEMPTION, reason, deadline_ms)
    return "" if accepted else str(refusal or "no reason given")


def node_of_actor(actor: Any) -> str:
    """Return the ``NodeID`` of an actor's node; empty if the head does not know it."""
    from ray._private import state

    with contextlib.suppress(Exception):
        return str(state.actors(actor._actor_id.hex())["Address"]["NodeID"])
    return ""


def actor_of_trial(trial: Any) -> Any:
    """Return the actor of a Tune trial; None until it has one."""
    return trial.temporary_state.ray_actor


def start_options(folder: Path) -> Mapping[str, Any]:
    """Return the arguments of ``ray.init`` that put an instance's files below ``folder`` and bind it to loopback.

    Ray makes its own folder writable for all, so it gets one inside.
    """
    return {"_temp_dir": str(folder / "r"), "_node_ip_address": "127.0.0.1"}


@contextlib.contextmanager
def loopback_only() -> Iterator[None]:
    """Let an instance that starts meanwhile bind its ports to loopback.

    `LOCAL_SWITCHES` does so for the processes that Ray starts. This one may have imported Ray before.
    """
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def reload_settings() -> None:
    """Let Ray read its environment variables and its token again; it does so only once in a process."""
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


def claim_parent_process() -> None:
    """Keep Ray from taking the driver's parent for its raylet: under process 1 (nohup, setsid) it would _exit."""
    os.environ.setdefault("RAY_RAYLET_PID", str(os.getpid()))
