"""Several real hosts on this machine, with Ray on them, for the tests that lose one."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.journal import read
from orchestrator.state import SweepState

ROOT = Path(__file__).resolve().parent.parent


@contextlib.contextmanager
def cluster(shared: Path, folder: Path, workers: int, cpus: int = 1) -> Iterator[Any]:
    """Head and driver without CPUs, ``workers`` hosts with some, Ray on all; ``net.shared`` is ``/shared`` on each."""
    tools = shared / "cluster"
    if not tools.is_dir():
        pytest.skip("needs ../shared/cluster, which makes hosts")
    sys.path.insert(0, str(tools))
    try:
        import ray_hosts
    finally:
        sys.path.remove(str(tools))
    names = ["head", "driver", *(f"w{number}" for number in range(1, workers + 1))]
    env = {"PYTHONPATH": str(ROOT), "RAY_worker_niceness": "0"}
    try:
        net = ray_hosts.ray_net("net", names, workdir=str(folder), project=str(ROOT), env=env).__enter__()
    except (OSError, RuntimeError, PermissionError) as error:
        pytest.skip(f"this system makes no hosts: {error}")
    try:
        head = net["head"]
        ray_hosts.start_head(head)
        ray_hosts.wait_port(head, 6379)
        for name in names[1:]:
            ray_hosts.start_worker(net[name], head.ip, cpus=cpus if name.startswith("w") else 0)
        ray_hosts.wait_nodes(head, head.ip, len(names))
        net.alive = lambda: [name for name, up in ray_hosts.nodes(head, head.ip) if up]
        yield net
    finally:
        net.__exit__(None, None, None)


def sweep(net: Any, *words: str, host: str = "driver") -> subprocess.Popen[bytes]:
    """The command on a host of the cluster, with runs where all hosts see them."""
    log = net.shared / f"{words[0]}.log"
    command = [sys.executable, "-W", "ignore", "-m", "orchestrator", *words, "--runs", "/shared/runs"]
    return net[host].popen(command, env={"RAY_ADDRESS": f"{net['head'].ip}:6379"}, log=log)


def state(net: Any, name: str) -> SweepState:
    """The sweep as its journal says; empty while there is none."""
    journal = net.shared / "runs" / name / "journal.jsonl"
    return SweepState(read(journal) if journal.exists() and journal.stat().st_size else [])


def until(said: str, condition: Any, seconds: float = 120.0) -> Any:
    """What the condition gives, once it gives something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.2)
    raise AssertionError(f"not within {seconds:.0f} s: {said}")


def written(net: Any, name: str, **fields: Any) -> str:
    """A sweep file on all hosts; its path there."""
    (net.shared / f"{name}.yaml").write_text(json.dumps({"name": name, **fields}))
    return f"/shared/{name}.yaml"
