"""`sweep cluster up`, `status` and `down` on hosts of one's own, through a real sshd."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.doc_blocks import blocks_of, words
from tests.support.onprem_hosts import OnPrem, on_prem
from tests.support.paths import ROOT

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


PAGE = "docs/cluster.md"


def test_the_page_says_the_commands_that_are_tried_here() -> None:
    blocks = [block for block in blocks_of(ROOT / PAGE, ROOT) if block.what == "tests/test_cluster_up.py"]
    said = [words(line) for block in blocks for line in block.commands()]
    assert said == [["sweep", "cluster", word] for word in ("up", "status", "down")]


@pytest.fixture(scope="module")
def hosts(shared: Path) -> Iterator[OnPrem]:
    with on_prem(shared) as found:
        yield found


def processes(hosts: OnPrem, host: str, part: str) -> list[int]:
    return [number for number, _, command in hosts.net[host].pids() if part in command]


def refused(hosts: OnPrem, token: str) -> None:
    """The head neither answers a host with that token nor takes it in."""
    laptop, ray = hosts.net["laptop"], Path(sys.executable).with_name("ray")
    for asked in ("status", "start --disable-usage-stats"):
        command = f"env {token} timeout 40 {ray} {asked} --address {hosts.net['head'].ip}:6379"
        said = laptop.run(f"{command} 2>&1; echo exit code $?", check=False, timeout=100)
        print(token[:24], asked, said[-300:])
        assert "exit code 0" not in said, said
    laptop.run(f"env {token} {ray} stop --force", check=False, timeout=60)  # of that host alone


def test_a_cluster_comes_up_is_seen_and_goes_without_a_trace(hosts: OnPrem) -> None:
    said = hosts.sweep("cluster", "up", code=2)  # there is no token yet
    assert "there is no token" in said
    assert not hosts.of_ray()
    hosts.sweep("cluster", "token")
    hosts.sweep("cluster", "validate")

    began = time.monotonic()
    said = hosts.sweep("cluster", "up")
    print(f"up after {time.monotonic() - began:.0f} s")
    assert "up, with 3 nodes: head, w1, w2" in said
    told = json.loads(hosts.sweep("cluster", "status", "--json"))
    assert [(node["name"], node["alive"], node["head"]) for node in told["nodes"]] == [
        ("head", True, True),
        ("w1", True, False),
        ("w2", True, False),
    ]

    # A second `up` leaves alone what runs.
    heads = processes(hosts, "head", "gcs_server")
    began = time.monotonic()
    assert "up, with 3 nodes" in hosts.sweep("cluster", "up")
    print(f"up again after {time.monotonic() - began:.0f} s")
    assert processes(hosts, "head", "gcs_server") == heads

    # The token is its owner's alone, on every host, and nothing answers without it.
    for name in ("laptop", "head", "w1", "w2"):
        assert hosts.net[name].run(["stat", "-c", "%a", "/root/.sweep/token"]).strip() == "600"
    ask = "curl -s -o /dev/null -w '%{http_code}' "
    elsewhere = f"{ask} http://{hosts.net['head'].ip}:8265/api/version"
    assert hosts.net["w1"].run(elsewhere, check=False).strip() == "000"  # it listens on the head's loopback alone
    there = f"{ask} http://127.0.0.1:8265/api/jobs/"
    assert hosts.net["head"].run(there).strip() == "401"
    wrong = f"{there} -H 'Authorization: Bearer {'0' * 64}'"
    assert hosts.net["head"].run(wrong).strip() == "403"
    for token in ("RAY_AUTH_MODE=disabled", f"RAY_AUTH_MODE=token RAY_AUTH_TOKEN={'0' * 64}"):
        refused(hosts, token)
    assert len(json.loads(hosts.sweep("cluster", "status", "--json"))["nodes"]) == 3

    began = time.monotonic()
    hosts.sweep("cluster", "down")
    print(f"down after {time.monotonic() - began:.0f} s")
    assert not hosts.of_ray()
    assert "cannot be reached" in hosts.sweep("cluster", "status", code=1)
