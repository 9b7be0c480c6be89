"""The batch script of `sweep cluster manifest slurm` under a real Slurm, on two hosts."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cluster_spec import SPEC
from tests.support.onprem_hosts import booted

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

CONF = """
ClusterName=tests
SlurmctldHost=n1
SlurmUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
StateSaveLocation=/tmp/slurmctld
SlurmdSpoolDir=/tmp/slurmd
SlurmctldLogFile=/tmp/slurmctld.log
SlurmdLogFile=/tmp/slurmd.log
MpiDefault=none
ReturnToService=2
KillWait=30
NodeName=n1,n2 CPUs=2 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@pytest.fixture(scope="module")
def slurm(shared: Path) -> Iterator[Any]:
    missing = [name for name in ("munged", "slurmctld", "slurmd", "sbatch") if not shutil.which(name)]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: apt install slurm-wlm munge")
    folder = Path(tempfile.mkdtemp(prefix="sl", dir="/tmp"))
    with booted(shared, folder, ["n1", "n2"]) as net:
        key = "k" * 64
        for name, host in net.hosts.items():
            host.run("mkdir -p /etc/slurm /etc/munge /run/munge /tmp/slurmd /tmp/slurmctld")
            host.run("rm -f /etc/munge/munge.key; umask 077; cat > /etc/munge/munge.key", input=key)
            host.run(["tee", "/etc/slurm/slurm.conf"], input=CONF)
            host.run("chown -R root /etc/munge /run/munge /var/log/munge /var/lib/munge && munged --force")
            if name == "n1":
                host.run("slurmctld")
            host.run(["slurmd", "-N", name])
        yield net
    shutil.rmtree(folder, ignore_errors=True)


def events(slurm: Any, name: str) -> list[dict[str, Any]]:
    journal = slurm["n1"].run(["cat", f"/shared/runs/{name}/journal.jsonl"], check=False)
    return [json.loads(line) for line in journal.splitlines() if line.startswith("{") and line.endswith("}")]


def test_a_sweep_runs_on_the_nodes_of_an_allocation(slurm: Any) -> None:
    spec = {**SPEC, "model": "tests.support.tiny.Tiny", "budget": {"trials": 6}, "resources": {"cpus": 2}}
    n1 = slurm["n1"]
    n1.run("mkdir -p /shared/home /shared/runs")
    n1.run(["tee", "/shared/far.yaml"], input=json.dumps(spec))
    manifest = f"{sys.executable} -m orchestrator cluster manifest slurm far.yaml --runs /shared/runs --nodes 2"
    n1.run(f"cd /shared && {manifest} > job.sh")
    # The home directory is one on every node of a real site.
    said = n1.run("cd /shared && HOME=/shared/home sbatch job.sh", env={"HOME": "/shared/home"})
    number = said.split()[-1]
    until = time.monotonic() + 600
    while not (over := n1.run(["scontrol", "show", "job", number])).count("JobState=COMPLETED"):
        log = n1.run("cat /shared/*.log", check=False)
        assert "JobState=FAILED" not in over, log
        assert time.monotonic() < until, f"{over}\n{log}\n{n1.run('cat /tmp/slurmctld.log')[-3000:]}"
        time.sleep(2.0)
    found = events(slurm, "far")
    assert found[-1]["type"] == "sweep.completed"
    assert {event.get("node") for event in found if event["type"] in ("segment.started", "segment.reported")} >= {
        "n1",
        "n2",
    }
    # Nothing of Ray is left.
    time.sleep(5.0)
    left = [command for host in slurm.hosts.values() for _, _, command in host.pids() if "raylet" in command]
    assert not left
