"""A sweep on AWS from end to end: machines on demand, one of them reclaimed, and all of them gone afterwards.

Ray's own AWS provider and autoscaler run as they do in the cloud; moto is the cloud (see `cloud.py`).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.moto_aws import Cloud, cloud

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(1800),
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),  # the harness leaves logs of hosts open
]

TRIALS, EPOCHS = 12, 4
SPEC = {
    "name": "far",
    "seed": 3,
    "objective": {"metric": "val_loss", "mode": "min"},
    "model": {"class_path": "tests.support.tiny.Tiny", "init_args": {"pause": 0.75}},  # four batches an epoch
    "data": "tests.support.tiny.TinyData",
    "trainer": {"max_epochs": EPOCHS, "accelerator": "cpu"},
    "space": {"model.learning_rate": {"log_uniform": [1e-3, 0.5]}},
    "searcher": "random",
    "scheduler": "fifo",
    "budget": {"trials": TRIALS},
    "resources": {"cpus": 2, "gpus": 0.5, "concurrent": 4},  # two machines, which are yet to come
}
JOURNAL = """
import json
from orchestrator.journal import read
from orchestrator.rundir import run_at
for event in read(run_at("far").journal):
    print(json.dumps({"type": event.type, **event.fields}, default=dict))
"""


@pytest.fixture(scope="module")
def account(shared: Path) -> Iterator[Cloud]:
    with cloud(shared) as found:
        yield found


@pytest.fixture(scope="module")
def raised(account: Cloud) -> str:
    """Raise the cluster, once for all tests; returns what `sweep cluster up` prints."""
    account.sweep("cluster", "token")
    account.sweep("cluster", "validate")
    return account.sweep("cluster", "up", timeout=900)


def until(account: Cloud, said: str, condition: Callable[[], Any], seconds: float = 600.0) -> Any:
    """What the condition gives, once it gives something."""
    began = time.monotonic()
    while not (found := condition()):
        assert account.plant.broken is None, account.plant.broken
        assert time.monotonic() - began < seconds, f"not within {seconds:g} s: {said}"
        time.sleep(1.0)
    print(f"{said}: after {time.monotonic() - began:.0f} s")
    return found


def events(account: Cloud, type: str) -> list[dict[str, Any]]:
    """Of one type, in order, as the journal in the bucket has them."""
    held = account.net["laptop"].run([sys.executable, "-W", "ignore", "-c", JOURNAL], check=False)
    found = [json.loads(line) for line in held.splitlines() if line.startswith('{"type"')]
    return [event for event in found if event["type"] == type]


def nodes_at_work(account: Cloud) -> set[str]:
    return {event["node"] for event in events(account, "segment.reported") if "node" in event}


def test_the_head_comes_up_alone_and_closed(account: Cloud, raised: str) -> None:
    assert "up, with 1 node: ec2-0" in raised

    (head,) = account.instances()
    assert head["State"]["Name"] == "running"
    assert head["InstanceType"] == "m5.xlarge"
    # Ray has made the role, and it may start machines.
    profile = account.aws("iam", "get_instance_profile", InstanceProfileName="ray-autoscaler-v1")["InstanceProfile"]
    assert head["IamInstanceProfile"]["Arn"] == profile["Arn"]
    (role,) = profile["Roles"]
    held = account.aws("iam", "list_attached_role_policies", RoleName=role["RoleName"])["AttachedPolicies"]
    assert "AmazonEC2FullAccess" in {policy["PolicyName"] for policy in held}


@pytest.mark.usefixtures("raised")
def test_no_group_lets_ssh_in_from_every_address(account: Cloud) -> None:
    groups = {group["GroupId"]: group for group in account.aws("ec2", "describe_security_groups")["SecurityGroups"]}
    assert {group["GroupName"] for group in groups.values()} == {"default", "sweep"}, "Ray has made none"
    for instance in account.instances():
        assert [groups[group["GroupId"]]["GroupName"] for group in instance["SecurityGroups"]] == ["sweep"]
    world = {"0.0.0.0/0", "::/0"}
    for group in groups.values():
        for rule in group["IpPermissions"]:
            assert not world & {one["CidrIp"] for one in rule["IpRanges"]}, group["GroupName"]
            assert not world & {one["CidrIpv6"] for one in rule.get("Ipv6Ranges", [])}, group["GroupName"]


@pytest.mark.usefixtures("raised")
def test_a_second_up_leaves_the_head_alone(account: Cloud) -> None:
    head = account.host(account.instances("running")[0])
    before = [number for number, _, command in head.pids() if "gcs_server" in command]
    assert "up, with 1 node" in account.sweep("cluster", "up", timeout=900)
    assert [number for number, _, command in head.pids() if "gcs_server" in command] == before != []
    assert len(account.instances()) == 1


@pytest.mark.usefixtures("raised")
def test_a_head_whose_ray_is_gone_is_started_again(account: Cloud) -> None:
    head = account.host(account.instances("running")[0])
    for program in ("gcs_server", "raylet/raylet "):
        head.kill(program)
    assert "up, with 1 node" in account.sweep("cluster", "up", timeout=900)
    assert len(account.instances()) == 1


@pytest.mark.usefixtures("raised")
def test_a_sweep_brings_machines_and_a_reclaimed_one_loses_no_trial(account: Cloud) -> None:
    account.net["laptop"].run(["tee", "/root/sweeps/far.yaml"], input=json.dumps(SPEC))
    said = account.sweep("launch", "far.yaml", "--cluster", "cluster.yaml")
    assert "\n  sweep watch far   #" in said, "the same runs are looked at here"
    until(account, "machines were asked for", lambda: len(account.instances("running")) == 3)
    workers = [one for one in account.instances("running") if one["InstanceType"] == "g5.xlarge"]
    assert [one["InstanceLifecycle"] for one in workers] == ["spot", "spot"]
    until(account, "trials run on both", lambda: len(nodes_at_work(account)) == 2)
    assert nodes_at_work(account) == {account.host(one).name for one in workers}, "none of them on the head"

    lost = workers[0]
    assert account.host(lost).pid is not None
    account.aws("ec2", "terminate_instances", InstanceIds=[lost["InstanceId"]])
    until(account, "the loss was seen", lambda: events(account, "segment.failed"))
    until(account, "the sweep is over", lambda: events(account, "sweep.completed"))
    print(f"lost: {[(event['trial'], event['kind']) for event in events(account, 'segment.failed')]}")
    assert {event["kind"] for event in events(account, "segment.failed")} <= {"node", "lost", "preempted"}
    rows = json.loads(account.sweep("results", "far", "--json"))
    assert sorted(row["trial"] for row in rows) == list(range(TRIALS))
    assert {row["status"] for row in rows} == {"finished"}
    epochs = {(event["trial"], event["epoch"]) for event in events(account, "segment.reported")}
    assert epochs == {(trial, epoch) for trial in range(TRIALS) for epoch in range(1, EPOCHS + 1)}
    again = [event for event in events(account, "segment.started") if event["segment"]]
    assert {event["trial"] for event in again} == {event["trial"] for event in events(account, "segment.failed")}
    account.sweep("verify", "far")
    # Another machine took the place of the one that was lost.
    assert len([one for one in account.instances() if one["InstanceType"] == "g5.xlarge"]) > len(workers)


@pytest.mark.usefixtures("raised")
def test_idle_machines_go(account: Cloud) -> None:
    running = until(account, "only the head is left",
                    lambda: len(found := account.instances("running", "pending")) == 1 and found)  # fmt: skip
    assert running[0]["InstanceType"] == "m5.xlarge"
    print(account.sweep("cluster", "status"))


@pytest.mark.usefixtures("raised")
def test_down_leaves_nothing(account: Cloud) -> None:
    account.sweep("cluster", "down", timeout=900)
    assert {one["State"]["Name"] for one in account.instances()} == {"terminated"}
    until(account, "all is dark", lambda: all(host.pid is None for host in account.plant.hosts.values()), 60.0)
    assert not account.of_ray()
    assert "cannot be reached" in account.sweep("cluster", "status", code=1)
