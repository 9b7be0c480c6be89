"""Several real hosts on this machine, with Ray on them, for the tests that lose one."""

from __future__ import annotations

import contextlib
import importlib
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
from tests.support import s3
from tests.support.onprem_hosts import booted

ON_HOSTS = [
    pytest.mark.cluster,
    # The tools that make the hosts leave their logs open.
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
"""The marks of a module of tests on such hosts, beside its time limit."""
REDIS_PASSWORD = "of-the-tests"
BUCKET = "sweeps"


@contextlib.contextmanager
def cluster(
    shared: Path, folder: Path, workers: int, cpus: int = 1, *, redis: bool = False, store: bool = False
) -> Iterator[Any]:
    """Head and driver without CPUs, ``workers`` hosts with some, Ray on all; ``net.shared`` is ``/shared`` on each.

    ``redis``: what the head knows is kept on one more host of that name. ``store``: an S3 server with `BUCKET` is on a
    host of that name, 80 ms away, and known to all.
    """
    members = ["head", "driver", *(f"w{number}" for number in range(1, workers + 1))]
    names = [*members, *(["redis"] if redis else []), *(["store"] if store else [])]
    health = {f"RAY_health_check_{name}_ms": "1000" for name in ("initial_delay", "period", "timeout")}
    told = {**health, "RAY_health_check_failure_threshold": "4", "RAY_AUTH_MODE": "disabled"}
    programs = ("unshare", "nsenter", "ip", "iptables", *(["redis-server"] if redis else []))
    with booted(shared, folder, names, programs, env={"RAY_worker_niceness": "0", **told}) as net:
        ray_hosts = importlib.import_module("ray_hosts")  # beside the module that has made the hosts

        if redis:
            options = f"--bind 0.0.0.0 --dir /tmp --requirepass {REDIS_PASSWORD}"
            net["redis"].popen(f"exec redis-server {options}", log=folder / "redis.log")
            ray_hosts.wait_port(net["redis"], 6379)
        if store:
            place = f"http://{net['store'].ip}:5000"
            net["store"].popen(
                [sys.executable, "-m", "tests.support.s3", "5000", "0.08", BUCKET], log=folder / "store.log"
            )
            ray_hosts.wait_port(net["store"], 5000)
            net.extra_env.update(s3.environment(place))
        start_head(net)
        for name in members[1:]:
            ray_hosts.start_worker(net[name], net["head"].ip, cpus=cpus if name.startswith("w") else 0)
        ray_hosts.wait_nodes(net["head"], net["head"].ip, len(members))
        yield net


def keep_up(net: Any, cpus: int = 1) -> None:
    """Start Ray again on every host but the head whenever it ends there, as systemd would."""
    for name, host in net.hosts.items():
        if name in ("head", "redis"):
            continue
        room = f"--num-cpus {cpus if name.startswith('w') else 0} --object-store-memory 100000000"
        start = f"ray start --address {net['head'].ip}:6379 --node-ip-address {host.ip} {room} --block"
        running = "pgrep -f [r]aylet/raylet > /dev/null"
        host.popen(
            f"while {running}; do sleep 0.5; done; while :; do {start}; sleep 1; done", log=f"{net.dir}/{name}.keep.log"
        )


def start_head(net: Any) -> None:
    """Start Ray's head, over what Redis holds where there is one, and wait for its port."""
    ray_hosts = importlib.import_module("ray_hosts")

    redis = net.hosts.get("redis")
    kept = {"RAY_REDIS_ADDRESS": f"{redis.ip}:6379"} if redis else {}
    ray_hosts.start_head(net["head"], env=kept, extra=["--redis-password", REDIS_PASSWORD] if redis else ())
    ray_hosts.wait_port(net["head"], 6379)


def sweep(net: Any, *words: str, host: str = "driver", runs: str = "/shared/runs") -> subprocess.Popen[bytes]:
    """The command on a host of the cluster, with runs where all hosts see them."""
    log = net.shared / f"{words[0]}.log"
    command = [sys.executable, "-W", "ignore", "-m", "orchestrator", *words, "--runs", runs]
    process: subprocess.Popen[bytes] = net[host].popen(command, env={"RAY_ADDRESS": f"{net['head'].ip}:6379"}, log=log)
    return process


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
