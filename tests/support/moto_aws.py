"""AWS on this machine: moto answers for it, and what moto lists as an instance is a host that boots, and goes dark."""

from __future__ import annotations

import contextlib
import importlib
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cluster.templates import template
from tests.support.onprem_hosts import BIN, OnPrem, booted, start_sshd
from tests.support.paths import ROOT

REGION = "us-west-2"
BUCKET = "sweeps"
RUNS = f"s3://{BUCKET}/runs"
_NET = ("172.31.255", 16)  # in the network of an account's default VPC, as moto makes it
_ENDPOINT = "http://172.31.255.11"
_METADATA = "169.254.169.254"
_PROFILE = f"""
export AWS_ENDPOINT_URL={_ENDPOINT} AWS_METADATA_SERVICE_TIMEOUT=10 AWS_METADATA_SERVICE_NUM_ATTEMPTS=5
"""
# The first start of an instance. Its public address is one more of its own; metadata, and with them credentials, are
# there for those that have a role.
_FIRST_START = """
set -e
chmod 711 /root # where this machine's Python lies
useradd --create-home --shell /bin/bash --password '*' ubuntu
install -d -m 700 -o ubuntu -g ubuntu /home/ubuntu/.ssh
cat > /home/ubuntu/.ssh/authorized_keys
chown ubuntu:ubuntu /home/ubuntu/.ssh/authorized_keys
ssh-keygen -q -t ed25519 -N '' -f /run/host_key
ip address add {public}/32 dev eth0
if [ -n '{role}' ]; then ip route add {metadata} dev eth0; fi
echo '{profile}' > /etc/profile.d/cloud.sh
"""
_WATCH = """
import json, time, boto3
ec2 = boto3.client("ec2")
while True:
    keys = {key["KeyName"]: key["PublicKey"] for key in ec2.describe_key_pairs(IncludePublicKey=True)["KeyPairs"]}
    found = [one for held in ec2.describe_instances()["Reservations"] for one in held["Instances"]]
    print(json.dumps({"keys": keys, "instances": found}, default=str), flush=True)
    time.sleep(0.5)
"""
_ASK = """
import json, sys, boto3
service, verb, words = sys.argv[1:]
answer = getattr(boto3.client(service), verb)(**json.loads(words))
print(json.dumps({key: value for key, value in answer.items() if key != "ResponseMetadata"}, default=str))
"""


class PowerPlant(threading.Thread):
    """Boots a host for each instance that runs, by its private address, and pulls the plug of those that do not.

    ``hosts`` are those that were ever on, by the number of the instance. It outlives them, since a host dies with the
    thread that has started it.
    """

    def __init__(self, net: Any) -> None:
        super().__init__(name="power plant")
        self.hosts: dict[str, Any] = {}
        self.broken: Exception | None = None
        self._net = net
        self._watch = net["aws"].popen([sys.executable, "-c", _WATCH], stdout=subprocess.PIPE)

    def run(self) -> None:
        with self._watch.stdout:
            for line in self._watch.stdout:
                told = json.loads(line)
                try:
                    for one in told["instances"]:
                        self._power(one, told["keys"])
                except Exception as error:
                    self.broken = error
                    raise
        for host in self.hosts.values():
            host.power_off()

    def close(self) -> None:
        self._net["aws"].kill("describe_key_pairs")
        self._watch.wait()
        self.join()

    def _power(self, instance: dict[str, Any], keys: dict[str, str]) -> None:
        number, on = instance["InstanceId"], instance["State"]["Name"] == "running"
        if on and number not in self.hosts:
            self.hosts[number] = self._boot(instance, keys[instance["KeyName"]])
        elif not on and number in self.hosts:
            self.hosts[number].power_off()

    def _boot(self, instance: dict[str, Any], key: str) -> Any:
        vhosts = importlib.import_module("vhosts")  # beside the module that has made the net

        name, address = f"ec2-{len(self.hosts)}", instance["PrivateIpAddress"]
        with (self._net.dir / "hosts").open("a") as file:
            file.write(f"{address} {name}\n")
        host = vhosts.Host(self._net, name, address)
        host.power_on()
        role = instance.get("IamInstanceProfile", {}).get("Arn", "")
        told = {"public": instance["PublicIpAddress"], "role": role, "metadata": _METADATA, "profile": _PROFILE}
        host.run(_FIRST_START.format(**told), input=key + "\n")
        start_sshd(host)
        self._net.hosts[name] = host
        return host


class Cloud(OnPrem):
    """``net`` has the laptop, the host ``aws``, and whatever instances there are: ``ec2-0`` is the first."""

    plant: PowerPlant

    def aws(self, service: str, verb: str, **words: Any) -> Any:
        """What the cloud answers, as boto3 gives it."""
        return json.loads(self.net["aws"].run([sys.executable, "-c", _ASK, service, verb, json.dumps(words)]))

    def instances(self, *states: str) -> list[dict[str, Any]]:
        """In one of these states, or in any; the first that was started first."""
        held = self.aws("ec2", "describe_instances")["Reservations"]
        found = [one for some in held for one in some["Instances"]]
        return [one for one in found if not states or one["State"]["Name"] in states]

    def host(self, instance: dict[str, Any]) -> Any:
        return self.plant.hosts[instance["InstanceId"]]


@contextlib.contextmanager
def cloud(shared: Path) -> Iterator[Cloud]:
    """An account with a closed security group, and a laptop with a cluster file; skips where that cannot be."""
    pytest.importorskip("moto", reason="needs moto: pip install 'moto[server]'")
    folder = Path(tempfile.mkdtemp(prefix="aws", dir="/tmp"))
    told = {
        "AWS_ENDPOINT_URL": _ENDPOINT,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "SWEEP_RUNS": RUNS,
    }
    try:
        with booted(shared, folder, ["laptop", "aws"], subnet=_NET, env=told) as net:
            server = _serve(net["aws"], folder)
            found = Cloud(net, "/root/sweeps")
            found.plant = PowerPlant(net)
            found.plant.start()
            try:
                net["laptop"].run("rm -rf /root/.ssh /root/.sweep && mkdir -p /root/sweeps")
                net["laptop"].run("ip route add default dev eth0")  # to public addresses
                place = {"LocationConstraint": REGION}
                found.aws("s3", "create_bucket", Bucket=BUCKET, CreateBucketConfiguration=place)
                text = cluster_file(_security_group(found, net["laptop"].ip), _workers_role(found))
                net["laptop"].run(["tee", "/root/sweeps/cluster.yaml"], input=text)
                yield found
            finally:
                found.plant.close()
                net["aws"].kill("moto.server")
                server.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _serve(host: Any, folder: Path) -> subprocess.Popen[bytes]:
    host.run(f"ip address add {_METADATA}/32 dev eth0")
    with (folder / "moto.log").open("ab") as log:
        server: subprocess.Popen[bytes] = host.popen(
            [sys.executable, "-m", "moto.server", "--host", "0.0.0.0", "--port", "80"],
            env={"MOTO_IAM_LOAD_MANAGED_POLICIES": "true"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    until = time.monotonic() + 120.0
    while "200" not in host.run("curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1/moto-api/", check=False):
        assert server.poll() is None, (folder / "moto.log").read_text()
        assert time.monotonic() < until, "moto does not answer"
        time.sleep(0.3)
    return server


def _security_group(cloud: Cloud, laptop: str) -> str:
    """As the comments of the cluster file have it."""
    name = {"GroupName": "sweep"}
    number: str = cloud.aws("ec2", "create_security_group", Description="sweep", **name)["GroupId"]
    ssh = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": f"{laptop}/32"}]}
    among = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": number}]}
    cloud.aws("ec2", "authorize_security_group_ingress", GroupId=number, IpPermissions=[ssh, among])
    return number


def _workers_role(cloud: Cloud) -> str:
    """What lets workers, too, into the bucket; returns the name of its profile."""
    name = "sweep-worker"
    trust = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    cloud.aws("iam", "create_role", RoleName=name, AssumeRolePolicyDocument=document)
    cloud.aws("iam", "attach_role_policy", RoleName=name, PolicyArn="arn:aws:iam::aws:policy/AmazonS3FullAccess")
    cloud.aws("iam", "create_instance_profile", InstanceProfileName=name)
    cloud.aws("iam", "add_role_to_instance_profile", InstanceProfileName=name, RoleName=name)
    return name


def cluster_file(group: str, role: str) -> str:
    """What `sweep cluster init aws` writes, with the group, and the bucket for the runs in place of a file system.

    Nodes run the checkout that was copied to them, in the environment of the tests, which all hosts see.
    """
    here = version("sweep-orchestrator")
    check = f"import boto3, importlib.metadata as m; assert m.version('sweep-orchestrator') == '{here}'"
    room = "--object-store-memory=100000000 --disable-usage-stats"
    text = template("aws", ROOT.parent)
    for line in (
        "  - sudo apt-get update -qq && sudo apt-get install -qq --yes nfs-common make\n",
        "  - python3 -m pip install --user --quiet uv\n",
    ):
        assert line in text
        text = text.replace(line, "")
    mount = text[text.index("  - >-\n    sudo mkdir -p /mnt/sweeps") : text.index("  # Every node gets the versions")]
    installed = next(line for line in text.splitlines() if "make install PYTHON" in line)
    code = "PYTHONPATH=$HOME/sweep-orchestrator"
    for old, new in {
        mount: "",
        installed: f'  - cd ~/sweep-orchestrator && {BIN}/python -c "{check}"',
        "sg-00000000000000000]": f"{group}]",
        "SWEEP_RUNS=/mnt/sweeps": f"SWEEP_RUNS={RUNS}",
        "$HOME/sweep-orchestrator/.venv/bin": str(BIN),
        "~/sweep-orchestrator/.venv/bin": str(BIN),
        "InstanceType: g5.xlarge": f"InstanceType: g5.xlarge\n      IamInstanceProfile: {{Name: {role}}}",
        "export RAY_AUTH_MODE": f"export {code} AWS_REGION={REGION} RAY_worker_niceness=0 RAY_AUTH_MODE",
        "ray start": f"ray start {room}",
        "idle_timeout_minutes: 10": "idle_timeout_minutes: 1",
    }.items():
        assert old in text, old
        text = text.replace(old, new)
    return text
