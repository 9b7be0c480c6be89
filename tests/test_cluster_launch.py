"""`sweep launch --cluster`: submitted from a laptop, run on other hosts, looked at and exported from the laptop."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster_spec import SPEC
from tests.support.doc_blocks import blocks_of, words
from tests.support.onprem_hosts import RUNS, OnPrem, on_prem
from tests.support.paths import ROOT
from tests.support.sharded import IN_SHARDS

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]

MODULE = """
from tests.support.tiny import Tiny

class Mine(Tiny):
    def on_train_epoch_end(self):
        import time
        time.sleep(1.5)
"""


PAGE = "docs/cluster.md"


def test_the_page_says_the_commands_that_are_tried_here() -> None:
    blocks = [block for block in blocks_of(ROOT / PAGE, ROOT) if block.what == "tests/test_cluster_launch.py"]
    said = [words(line)[1] for block in blocks for line in block.commands()]
    assert said == ["launch", "status", "stop", "resume", "export"]


@pytest.fixture(scope="module")
def hosts(shared: Path) -> Iterator[OnPrem]:
    with on_prem(shared) as found:
        found.sweep("cluster", "token")
        found.sweep("cluster", "up")
        write(found, "mine.py", MODULE)
        write(found, "far.yaml", json.dumps(SPEC))
        yield found


def write(hosts: OnPrem, name: str, text: str) -> None:
    hosts.net["laptop"].run(["tee", f"/root/sweeps/{name}"], input=text)


def events(hosts: OnPrem, name: str) -> list[dict[str, Any]]:
    journal = hosts.net["laptop"].run(["cat", f"{RUNS}/{name}/journal.jsonl"], check=False)
    return [json.loads(line) for line in journal.splitlines() if line.startswith("{") and line.endswith("}")]


def jobs(hosts: OnPrem) -> set[tuple[str, str]]:
    """Return the sweep and the state of each job that the cluster knows."""
    known = json.loads(hosts.sweep("cluster", "status", "--json"))["jobs"]
    return {(job["sweep"], job["status"]) for job in known}


def wait_for(condition: Any, seconds: float = 400.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(1.0)


def test_a_sweep_runs_on_every_host_and_is_seen_from_the_laptop(hosts: OnPrem) -> None:
    began = time.monotonic()
    said = hosts.sweep("launch", "far.yaml", "--cluster", "cluster.yaml")
    print(f"submitted after {time.monotonic() - began:.0f} s\n{said}")
    assert "far is submitted as sweep-far-" in said
    assert "sweep watch far" in said

    wait_for(lambda: any(event["type"] == "segment.reported" for event in events(hosts, "far")))
    assert "running" in hosts.sweep("status", "far")
    # In the middle: paused from the laptop, and taken up again.
    said = hosts.sweep("stop", "far")
    print(said)
    assert "paused" in hosts.sweep("status", "far")
    print(hosts.sweep("resume", "far", "--cluster", "cluster.yaml"))
    wait_for(lambda: any(event["type"] == "sweep.completed" for event in events(hosts, "far")))
    rows = json.loads(hosts.sweep("results", "far", "--json"))
    assert [row["status"] for row in rows] == ["finished"] * 36
    nodes = {event["node"] for event in events(hosts, "far") if event["type"] == "segment.reported" and "node" in event}
    print(nodes)
    assert nodes >= {"w1", "w2"}
    hosts.sweep("why", "far")
    hosts.sweep("verify", "far")
    print(hosts.sweep("export", "far"))
    wait_for(lambda: ("far", "SUCCEEDED") in jobs(hosts), 60)


def test_a_wrong_token_and_another_version_are_refused(hosts: OnPrem) -> None:
    """What the cluster is not given, and says why."""
    laptop = hosts.net["laptop"]
    laptop.run("umask 077; printf %064d 0 > /root/sweeps/wrong")
    said = hosts.sweep("launch", "far.yaml", "--cluster", "cluster.yaml", "--token", "wrong", code=2)
    assert "refuses this token" in said
    laptop.run("chmod 644 /root/sweeps/wrong")
    said = hosts.sweep("launch", "far.yaml", "--cluster", "cluster.yaml", "--token", "wrong", code=2)
    assert "can be read by others" in said
    # A laptop with another version: the job itself refuses.
    other = "import orchestrator.cluster.jobs as j, sys; j.installed = lambda: '9.9.9'; from orchestrator import cli; "
    other += "sys.argv = ['sweep', 'launch', 'far.yaml', '--name', 'other', '--cluster', 'cluster.yaml']; cli.main()"
    ended = laptop.run(f"cd /root/sweeps && {sys.executable} -c {shlex.quote(other)}", check=False, timeout=400)
    assert "but 9.9.9 submitted the job" in ended, ended
    assert laptop.run(f"ls {RUNS}/other", check=False).startswith("ls: cannot")
    wait_for(lambda: ("other", "FAILED") in jobs(hosts), 60)


TOGETHER: dict[str, Any] = {
    **SPEC,
    "model": "tests.support.tiny.Tiny",
    "trainer": {"max_epochs": 3, "accelerator": "cpu", "precision": "32-true"},
    "budget": {"trials": 2},
}


def reported(hosts: OnPrem, name: str) -> dict[tuple[int, int], dict[str, float]]:
    found = [event for event in events(hosts, name) if event["type"] == "segment.reported"]
    return {(event["trial"], event["epoch"]): event["metrics"] for event in found}


def completed(hosts: OnPrem, name: str) -> bool:
    return any(event["type"] == "sweep.completed" for event in events(hosts, name))


@pytest.mark.parametrize(
    ("kind", "model", "strategy"),
    [
        ("ddp", "tests.support.tiny.Tiny", {}),
        ("fsdp", "tests.support.member.Sharded", {"strategy": IN_SHARDS}),
    ],
    ids=["ddp", "fsdp"],
)
def test_a_trial_on_two_hosts_equals_one_process_with_the_same_global_batch(
    hosts: OnPrem, kind: str, model: str, strategy: dict[str, Any]
) -> None:
    """Each host has two CPUs, and each of the two workers wants two."""
    data = {"class_path": "tests.support.member.Straight", "init_args": {"batch_size": 8}}
    trainer = {**TOGETHER["trainer"], **strategy}
    gang = {"model": model, "trainer": trainer, "data": data, "resources": {"cpus": 2, "workers": 2}}
    two = {**TOGETHER, "name": f"{kind}-two", **gang}
    data = {"class_path": "tests.support.member.Straight", "init_args": {"batch_size": 16}}
    one = {**TOGETHER, "name": f"{kind}-one", "model": model, "data": data}
    for spec in (two, one):
        write(hosts, f"{spec['name']}.yaml", json.dumps(spec))
    hosts.sweep("launch", f"{kind}-two.yaml", "--cluster", "cluster.yaml")
    wait_for(lambda: completed(hosts, f"{kind}-two"))
    hosts.sweep("launch", f"{kind}-one.yaml", "--local")
    ours, theirs = reported(hosts, f"{kind}-two"), reported(hosts, f"{kind}-one")
    assert ours.keys() == theirs.keys() == {(trial, epoch) for trial in (0, 1) for epoch in (1, 2, 3)}
    for place, metrics in theirs.items():
        for name in ("val_loss", "train_loss"):
            assert ours[place][name] == pytest.approx(metrics[name], rel=1e-5), (place, name)
    assert [event for event in events(hosts, f"{kind}-two") if event["type"] == "segment.failed"] == []


def test_a_trial_on_two_hosts_survives_the_loss_of_one(hosts: OnPrem) -> None:
    write(
        hosts,
        "lost.yaml",
        json.dumps(
            {
                **TOGETHER,
                "name": "lost",
                "model": {"class_path": "tests.support.tiny.Tiny", "init_args": {"pause": 0.3}},
                "data": {"class_path": "tests.support.member.Straight", "init_args": {"batch_size": 8}},
                "trainer": {**TOGETHER["trainer"], "max_epochs": 8},
                "budget": {"trials": 1},
                "resources": {"cpus": 2, "workers": 2},
            }
        ),
    )
    hosts.sweep("launch", "lost.yaml", "--cluster", "cluster.yaml")
    wait_for(lambda: (0, 2) in reported(hosts, "lost"))
    at_work = [name for name in ("w1", "w2") if any("train" in told for _, _, told in hosts.net[name].pids())]
    print(f"at work: {at_work}")
    began = time.monotonic()
    hosts.net[at_work[-1]].power_off()
    wait_for(lambda: any(event["type"] == "segment.failed" for event in events(hosts, "lost")))
    print(f"noticed after {time.monotonic() - began:.0f} s")
    wait_for(lambda: completed(hosts, "lost"))
    print(f"over after {time.monotonic() - began:.0f} s")
    (row,) = json.loads(hosts.sweep("results", "lost", "--json"))
    assert row["status"] == "finished"
    assert {epoch for _, epoch in reported(hosts, "lost")} == set(range(1, 9))
    again = [event for event in events(hosts, "lost") if event["type"] == "segment.started"][1:]
    assert again, "it went on in another segment"
    assert again[-1]["origin"], "from a checkpoint"


def test_down_leaves_nothing(hosts: OnPrem) -> None:
    lost = [name for name in ("w1", "w2") if hosts.net[name].pid is None]
    said = hosts.sweep("cluster", "down", code=1 if lost else 0)
    if lost:  # a host that cannot be reached is not taken for a quiet one
        assert hosts.net[lost[0]].ip in said
    assert not hosts.of_ray()
