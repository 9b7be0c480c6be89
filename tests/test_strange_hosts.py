"""Another host of the network is refused by every port of a cluster, of a launch, and of the live page."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.cluster_spec import SPEC
from tests.support.onprem_hosts import OnPrem, on_prem
from tests.support.paths import ROOT

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

LIST = """
import json
from pathlib import Path
from orchestrator.engine.listening_ports import listening_ports
every = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]
print(json.dumps([[port.program, port.address, port.port] for port in listening_ports(every)]))
"""
REFUSALS = {"UNAUTHENTICATED", "UNIMPLEMENTED", "UNAVAILABLE", "HTTP none", "HTTP 401", "HTTP 403"}


@pytest.fixture(scope="module")
def hosts(shared: Any) -> Iterator[OnPrem]:
    """A cluster that is up, and a host of somebody else in the same network."""
    with on_prem(shared, workers=1, others=("stranger",)) as made:
        made.sweep("cluster", "token")
        made.sweep("cluster", "up")
        yield made


def open_ports(hosts: OnPrem, host: str) -> list[tuple[str, str, int]]:
    """Program, address and port of all that listens on a host, but for its sshd."""
    listed = hosts.net[host].run([sys.executable, "-c", LIST], timeout=60)
    return [(program, address, port) for program, address, port in json.loads(listed) if program != "sshd"]


def outcomes(hosts: OnPrem, host: str, token: str = "", only: str = "") -> dict[str, dict[str, int]]:
    """What the stranger gets from each port of a host, by program and port."""
    ports = open_ports(hosts, host)
    places = sorted({(hosts.net[host].ip, port) for _, _, port in ports})
    command = [sys.executable, str(ROOT / "tests/support/stranger.py"), json.dumps(places), token, only]
    answer = json.loads(hosts.net["stranger"].run(command, timeout=400).splitlines()[-1])
    found = {f"{program} {address}:{port}": answer[str(port)] for program, address, port in ports}
    for name, kinds in sorted(found.items()):
        print(host, name, kinds)
    return found


def is_metrics(hosts: OnPrem, host: str, port: int) -> bool:
    """Whether the port answers every path with Prometheus's text alone, and nothing of a sweep."""
    code = f"""
import re
from urllib.request import urlopen
texts = [urlopen("http://{hosts.net[host].ip}:{port}" + path, timeout=20).read().decode() for path in ("/", "/metrics")]
lines = [line for text in texts for line in text.splitlines()]
odd = [line for line in lines if not re.match(r"# |[a-zA-Z_:][\\w:]*({{.*}})? [-+.\\w]+$|$", line)]
assert odd == [], odd[:5]
assert not any("learning_rate" in line for line in lines)
"""
    hosts.net["stranger"].run([sys.executable, "-c", code], timeout=60)
    return True


def admitted(found: dict[str, dict[str, int]]) -> dict[str, list[str]]:
    kinds = {name: [kind for kind in answers if kind not in REFUSALS] for name, answers in found.items()}
    return {name: answers for name, answers in kinds.items() if answers}


@pytest.mark.parametrize("host", ["head", "w1"])
def test_every_port_of_a_cluster_refuses_another_host(hosts: OnPrem, host: str) -> None:
    """But for Ray's ports of metrics, which ask for nothing (docs/cluster.md says so)."""
    found = outcomes(hosts, host)
    assert any("UNAUTHENTICATED" in kinds for kinds in found.values()), "Ray is there, and asks for the token"
    open_to_all = admitted(found)
    assert all(kinds == ["HTTP 200"] for kinds in open_to_all.values()), open_to_all
    assert len(open_to_all) <= 3
    assert all(is_metrics(hosts, host, int(name.rpartition(":")[2])) for name in open_to_all)


def test_the_same_tries_are_answered_with_the_token(hosts: OnPrem) -> None:
    token = hosts.net["laptop"].run(["cat", "/root/.sweep/token"]).strip()
    found = outcomes(hosts, "head", token, only="GetAllNodeInfo")
    assert any("answered /ray.rpc.NodeInfoGcsService/GetAllNodeInfo" in kinds for kinds in found.values())


def test_every_port_of_a_launch_and_of_the_page_refuses_another_host(hosts: OnPrem) -> None:
    laptop = hosts.net["laptop"]
    slow = {**SPEC, "name": "near", "model": {"class_path": "tests.support.tiny.Tiny", "init_args": {"pause": 1.0}}}
    laptop.run(["tee", f"{hosts.folder}/near.yaml"], input=json.dumps(slow))
    launch = hosts.started("launch", "near.yaml", "--runs", "/root/runs")
    until = time.monotonic() + 400
    while '"segment.started"' not in laptop.run("cat /root/runs/near/journal.jsonl 2>/dev/null", check=False):
        assert launch.poll() is None
        assert time.monotonic() < until
        time.sleep(1.0)
    page = hosts.started("open", "near", "--no-browser", "--runs", "/root/runs", "--port", "8123")
    connect = [sys.executable, "-c", "import socket; socket.create_connection(('127.0.0.1', 8123))"]
    while laptop.run(connect, check=False, timeout=30):
        time.sleep(1.0)
        assert time.monotonic() < until
    found = outcomes(hosts, "laptop")
    for process in (page, launch):  # what they started ends with the hosts
        process.kill()
        process.wait(30)
    assert {name.partition(" ")[0] for name in found} >= {"gcs_server", "raylet"}
    assert any(name.endswith(":8123") for name in found)
    assert [name for name in found if " 127.0.0.1:" not in name and " ::1:" not in name] == []
    assert {kind for kinds in found.values() for kind in kinds} <= {"UNAVAILABLE", "HTTP none"}
