"""Canaries for the private parts of Ray in use: a failure names the installed and the last tested version."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator import compat_ray as compat
from orchestrator.engine.process_reaper import WORKER_TITLE, members, program


@cache
def installed() -> Path:
    import ray

    return Path(ray.__file__).parent


@cache
def sources() -> str:
    """The Python sources of Ray that read switches."""
    folders = ("_private", "_common", "tune", "air", "autoscaler/_private", "dashboard")
    files = (file for folder in folders for file in (installed() / folder).rglob("*.py"))
    return "\n".join(file.read_text(encoding="utf-8") for file in files if "tests" not in file.parts)


@cache
def programs() -> bytes:
    """Ray's compiled programs, which word the errors of lost nodes and killed processes."""
    names = ("core/src/ray/raylet/raylet", "core/src/ray/gcs/gcs_server", "_raylet.so")
    return b"".join((installed() / name).read_bytes() for name in names)


@pytest.mark.parametrize("name", [*compat.DRIVER_SWITCHES, *compat.LOCAL_SWITCHES, "RAY_RAYLET_PID"])
def test_ray_reads_the_switch(name: str) -> None:
    short = name.removeprefix("RAY_")  # some are declared without the prefix
    read = name in sources() or f'"{short}"' in sources() or f"RAY_{short}".encode() in programs()
    assert read, f"Ray does not read {name}; {compat.version_hint()}"


@pytest.mark.parametrize(
    "text",
    [
        compat.WRONG_CLUSTER,
        compat.MEMORY_MONITOR_KILL,
        *compat.NODE_LOSSES,
        "Selected to kill: ",
        "actual memory used=",
    ],
)
def test_ray_words_the_error_so(text: str) -> None:
    found = text.encode() in programs() or text in sources()
    assert found, f"no program of Ray contains {text!r}; {compat.version_hint()}"


def test_the_victim_of_the_memory_monitor_is_found_in_its_message() -> None:
    text = "Selected to kill: (Actor(5317a1), some more, actual memory used=1.5GB)"
    match = re.search(compat.MEMORY_MONITOR_VICTIM, text)
    assert match is not None
    assert (match["actor"], match["gigabytes"]) == ("5317a1", "1.5")


@pytest.mark.slow
def test_a_tune_trial_keeps_its_actor_where_it_is_read() -> None:
    from ray.tune.experiment.trial import _TemporaryTrialState

    state: Any = _TemporaryTrialState()  # type: ignore[no-untyped-call]  # of Ray
    assert compat.actor_of_trial(SimpleNamespace(temporary_state=state)) is None, compat.version_hint()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A Ray instance with two CPUs, as a driver starts it."""
    from orchestrator.engine.tune.ray_lifecycle import instance

    with pytest.MonkeyPatch.context() as patch:
        for name in compat.DRIVER_SWITCHES:
            patch.delenv(name, raising=False)
        with instance(2) as running:
            yield running


@pytest.fixture
def client(cluster: Any) -> Any:
    import ray

    return compat.gcs_client(ray.get_runtime_context().gcs_address)


@pytest.mark.ray
def test_a_client_lists_nodes_as_ray_does(client: Any) -> None:
    import ray

    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    expected = [
        {key: node[key] for key in ("NodeID", "NodeManagerHostname", "NodeManagerAddress", "Resources")}
        for node in nodes
    ]
    assert compat.alive_nodes(client, 5.0) == expected, compat.version_hint()


@pytest.mark.ray
def test_an_actor_is_on_the_node_that_it_names(cluster: Any) -> None:
    import ray

    class Where:
        def node_id(self) -> str:
            return str(ray.get_runtime_context().get_node_id())

    actor: Any = ray.remote(Where).remote()
    expected = ray.get(actor.node_id.remote())
    assert compat.node_of_actor(actor) == expected, compat.version_hint()
    assert compat.node_of_actor(object()) == ""
    ray.kill(actor)


@pytest.mark.ray
def test_the_processes_of_an_instance_are_found_by_name(cluster: Any) -> None:
    names = {program(process) for process in members(cluster._folder)}
    assert set(compat.VITAL_PROCESSES) <= names, f"{names}; {compat.version_hint()}"
    titles = [Path(f"/proc/{process}/cmdline").read_bytes() for process in members(cluster._folder)]
    assert any(title.startswith(WORKER_TITLE) for title in titles), compat.version_hint()
    assert os.environ["RAY_RAYLET_PID"]


@pytest.mark.ray
def test_a_node_that_is_drained_is_listed_with_its_deadline(client: Any) -> None:
    """Last in this file: nothing more is placed on the only node. It would leave at once if nothing ran there."""
    import ray

    class Busy:
        def ready(self) -> bool:
            return True

    actor: Any = ray.remote(num_cpus=1)(Busy).remote()
    assert ray.get(actor.ready.remote())
    (node,) = compat.alive_nodes(client, 5.0)
    deadline = int((time.time() + 600) * 1000)
    assert compat.draining_nodes(client, 5.0) == {}
    assert compat.drain_for_preemption(client, node["NodeID"], "canary", deadline) == "", compat.version_hint()
    until = time.monotonic() + 20
    while not compat.draining_nodes(client, 5.0) and time.monotonic() < until:
        time.sleep(0.1)
    assert compat.draining_nodes(client, 5.0) == {node["NodeID"]: deadline}, compat.version_hint()
    assert compat.connected_draining_nodes() == {node["NodeID"]: deadline}, compat.version_hint()
