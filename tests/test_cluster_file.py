"""Cluster files: those that come with the package are sound to us and to Ray; broken ones are refused in place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from orchestrator import cli, registry
from orchestrator.cluster import load
from orchestrator.cluster.ray_start_parser import ray_starts
from orchestrator.cluster.templates import template
from orchestrator.errors import SpecError
from tests.support.paths import ROOT

HERE = version("sweep-orchestrator")

# What `ray up` itself does before it starts anything, offline.
PREPARED = """
import copy, json, sys, yaml
from ray.autoscaler._private.util import prepare_config, validate_config
config = prepare_config(copy.deepcopy(yaml.safe_load(open(sys.argv[1]))))
validate_config(config)
print(json.dumps(config))
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home directory, and a working directory in it."""
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def prepared(file: Path) -> dict[str, object]:
    command = [sys.executable, "-c", PREPARED, str(file)]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert answer.returncode == 0, answer.stderr
    return dict(json.loads(answer.stdout.splitlines()[-1]))


def called(*words: str, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setattr(sys, "argv", ["sweep", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code or 0


def test_the_file_at_the_root_is_the_one_for_aws() -> None:
    assert (ROOT / "cluster.yaml").read_text() == template("aws", ROOT)


@pytest.mark.parametrize("kind", registry.names("cluster_providers", installed=False))
def test_what_init_writes_is_accepted_by_us_and_by_ray(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert called("cluster", "init", kind, monkeypatch=monkeypatch) == 0
    assert called("cluster", "validate", monkeypatch=monkeypatch) == 0
    file = load("cluster.yaml")
    rays: Any = prepared(file.path)
    workers = {name: kind for name, kind in rays["available_node_types"].items() if name != rays["head_node_type"]}
    if kind == "local":
        assert rays["provider"]["worker_ips"] == file.provider["worker_ips"]
    else:
        assert [kind["resources"]["GPU"] for kind in workers.values()] == [1]
        assert [kind["min_workers"] for kind in workers.values()] == [0]  # from zero
    assert file.mounts["~/.sweep/token"] == "~/.sweep/token"


@pytest.mark.parametrize("kind", registry.names("cluster_providers", installed=False))
def test_a_package_without_checkout_is_installed_by_its_version(
    kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("orchestrator.cluster.templates._checkout", lambda: None)
    (tmp_path / "c.yaml").write_text(template(kind, tmp_path))
    file = load(tmp_path / "c.yaml")
    extra = {"aws": "[aws]", "gcp": "[gcp]", "local": ""}[kind]
    assert (
        f"'sweep-orchestrator{extra}=={HERE}' 'ray[default,tune,train]=={version('ray')}'"
        in file.commands("setup_commands")[-1]
    )
    assert "~/sweep-orchestrator" not in file.mounts


def test_init_writes_over_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    Path("cluster.yaml").write_text("mine")
    assert called("cluster", "init", "aws", monkeypatch=monkeypatch) == 2
    assert Path("cluster.yaml").read_text() == "mine"
    assert called("cluster", "init", "azure", monkeypatch=monkeypatch) == 2
    assert "available: aws, gcp, local" in capsys.readouterr().err


def test_what_is_left_to_do_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    called("cluster", "init", "aws", monkeypatch=monkeypatch)
    assert called("cluster", "validate", monkeypatch=monkeypatch) == 0
    err = capsys.readouterr().err
    assert "sg-00000000000000000 is a placeholder" in err
    assert "fs-00000000000000000 is a placeholder" in err
    assert "there is no token" in err
    assert called("cluster", "token", monkeypatch=monkeypatch) == 0
    text = Path("cluster.yaml").read_text()
    Path("cluster.yaml").write_text(text.replace("sg-0000", "sg-1234").replace("fs-0000", "fs-1234"))
    assert not load("cluster.yaml").open_items


@dataclass(frozen=True)
class Broken:
    """In the template of ``kind``, ``old`` becomes ``new``: a problem at ``at`` in the result, which says ``said``.

    ``@head`` and ``@worker`` are the commands with `ray start`, ``@start`` is the file's beginning, and
    ``@key: value`` the value.
    """

    kind: str
    old: str
    new: str
    at: str
    said: str


TOKEN = "export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$HOME/.sweep/token"
HEAD, WORKER = f"{TOKEN} SWEEP_RUNS", f"{TOKEN};"
INSTALL = '  - cd ~/sweep-orchestrator && PATH="$HOME/.local/bin:$PATH" make install PYTHON=3.11 EXTRAS=aws'
HEALTH = (
    "RAY_health_check_initial_delay_ms=5000 RAY_health_check_period_ms=1000 RAY_health_check_timeout_ms=1000 "
    "RAY_health_check_failure_threshold=4"
)

BROKEN = {
    "syntax": Broken("aws", "provider:\n", "provider: {\n", ": us-west-2\n", "not YAML"),
    "duplicate": Broken(
        "aws", "max_workers: 4\nidle", "max_workers: 4\nmax_workers: 5\nidle", "max_workers: 5", "duplicate"
    ),
    "unknown key": Broken("aws", "file_mounts:", "file_mount:", "file_mount:", "did you mean file_mounts?"),
    "no name": Broken("aws", "cluster_name: sweep\n", "", "@start", "`cluster_name` is missing"),
    "no provider": Broken(
        "local", "provider:\n  type: local\n  head", "provider:\n  head", "head_ip", "`type` is missing"
    ),
    "other provider": Broken("aws", "type: aws", "type: azure", "azure", "'azure' is not supported"),
    "wrong type": Broken(
        "aws", "max_workers: 4\nidle", "max_workers: four\nidle", "four\nidle", "must be an integer, but got 'four'"
    ),
    "yaml 1.1": Broken(
        "aws", "cache_stopped_nodes: false", "cache_stopped_nodes: no", "no # `down`", "must be true or false"
    ),
    "commands as text": Broken(
        "aws", "  - chmod 600 ~/.sweep/token\n", "  - 600\n", "600", "must be text, but got 600"
    ),
    "no token mode": Broken(
        "aws", HEAD, HEAD.replace("RAY_AUTH_MODE=token ", ""), "@head", "the head requires no token"
    ),
    "token mode off": Broken(
        "gcp", WORKER, WORKER.replace("=token R", "=disabled R"), "@worker", "RAY_AUTH_MODE is disabled"
    ),
    "mode not exported": Broken("aws", HEAD, HEAD.replace("export ", ""), "@head", "is not exported"),
    "token not mounted": Broken(
        "aws", "  ~/.sweep/token: ~/.sweep/token\n", "", "@head", "no file mount puts it there"
    ),
    "token in the file": Broken(
        "local",
        HEAD,
        HEAD.replace("export ", "export RAY_AUTH_TOKEN=0123456789abcdef "),
        "@head",
        "the token itself is in the file",
    ),
    "dashboard": Broken(
        "aws", "--port=6379", "--port=6379 --dashboard-host=0.0.0.0", "@head", "would listen on 0.0.0.0"
    ),
    "dashboard apart": Broken(
        "aws", "--port=6379", "--port 6379 --dashboard-host 10.0.0.1", "@head", "would listen on 10.0.0.1"
    ),
    "no dashboard": Broken("aws", "--port=6379", "--include-dashboard=False", "@head", "nothing can be submitted"),
    "rays own start": Broken(
        "aws", "head_start_ray_commands:", "cluster_synced_files:", "@start", "`head_start_ray_commands` is missing"
    ),
    "no health checks": Broken("gcp", HEALTH, "A=1", "@head", "declared dead only after 65 s"),
    "slow health checks": Broken("gcp", "threshold=4", "threshold=60", "@head", "declared dead only after 61 s"),
    "health in words": Broken("gcp", "threshold=4", "threshold=few", "@head", "must be integers"),
    "blocks": Broken(
        "local", "--address=$RAY_HEAD_IP:6379", "--address=$RAY_HEAD_IP:6379 --block", "@worker", "does not return"
    ),
    "joins elsewhere": Broken(
        "local", "--address=$RAY_HEAD_IP:6379", "--address=10.1.1.1:6379", "@worker", "must join the head"
    ),
    "no autoscaling": Broken(
        "aws", " --autoscaling-config=~/ray_bootstrap_config.yaml", "", "@head", "starts no workers"
    ),
    "not installed": Broken("aws", INSTALL + "\n", "", "@setup", "nothing installs this project on the head"),
    "other version": Broken(
        "aws",
        INSTALL,
        "  - pip install 'sweep-orchestrator==0.0.9' ray==2.60.0",
        "pip install 'sweep",
        f"would run sweep-orchestrator 0.0.9, but this machine has {HERE}",
    ),
    "any ray": Broken(
        "aws", INSTALL, f"  - pip install sweep-orchestrator=={HERE}", "pip install sweep", "different versions of Ray"
    ),
    "no runs": Broken("local", " SWEEP_RUNS=/mnt/sweeps", "", "@head", "the folder of runs is not set"),
    "runs at home": Broken(
        "local",
        "SWEEP_RUNS=/mnt/sweeps",
        "SWEEP_RUNS=$HOME/runs",
        "@head",
        "not on a file system that every node mounts",
    ),
    "runs in a bucket": Broken(
        "aws", "SWEEP_RUNS=/mnt/sweeps", "SWEEP_RUNS=ftp://bucket/runs", "@head", "runs cannot be kept in ftp://"
    ),
    "runs not mounted": Broken("local", "  - mountpoint -q /mnt/sweeps\n", "", "@setup", "mounts /mnt/sweeps"),
    "open to all": Broken(
        "aws", "      SecurityGroupIds: *group\n", "", "InstanceType: g5.xlarge", "admits ssh from every address"
    ),
    "rays own group": Broken(
        "aws",
        "  region: us-west-2",
        "  region: us-west-2\n  security_group: {GroupName: mine}",
        "security_group: {",
        "admits ssh from every address",
    ),
    "old image": Broken("aws", "      ImageId: *image\n", "", "InstanceType: g5.xlarge", "`ImageId` is missing"),
    "key without name": Broken(
        "aws",
        "  ssh_user: ubuntu #",
        "  ssh_private_key: ~/.ssh/k\n  ssh_user: ubuntu #",
        "InstanceType: m5",
        "`KeyName` is missing",
    ),
    "no client": Broken("aws", " EXTRAS=aws", " EXTRAS=docs", "@setup", "nothing installs boto3 on the head"),
    "client elsewhere": Broken("gcp", "head_setup_commands: []", "#", "@start", "for the system's Python"),
    "no region": Broken("gcp", "  region: us-west1\n", "", "type: gcp", "`region` is missing in provider"),
    "default net": Broken(
        "gcp", "subnetworks/SUBNETWORK", "subnetworks/default", "machineType: n2", "network called default"
    ),
    "no net": Broken("gcp", "      networkInterfaces: *network\n", "", "machineType: n1", "`subnetwork` is missing"),
    "no cpus": Broken("gcp", "{CPU: 8, GPU: 1}", "{GPU: 1}", "{GPU: 1}", "`CPU` is missing in resources"),
    "gpu moves": Broken(
        "gcp", "onHostMaintenance: TERMINATE", "onHostMaintenance: MIGRATE", "machineType: n1", "cannot be moved"
    ),
    "head nowhere": Broken("aws", "head_node_type: head", "head_node_type: haed", "haed", "names 'haed'"),
    "min over max": Broken(
        "aws", "    min_workers: 0", "    min_workers: 5", "@max_workers: 4\nidle", "require at least 5"
    ),
    "no workers": Broken(
        "aws", "max_workers: 4\nidle", "max_workers: 0\nidle", "0\nidle", "no worker could ever be started"
    ),
    "unbounded": Broken("aws", "max_workers: 4\nidle", "idle", "@start", "`max_workers` is missing"),
    "host twice": Broken("local", "192.0.2.3]", "192.0.2.2]", "[192.0.2.2,", "192.0.2.2 is listed 2 times"),
    "head is worker": Broken("local", "192.0.2.3]", "192.0.2.1]", "[192.0.2.2,", "192.0.2.1 is listed 2 times"),
    "more than hosts": Broken(
        "local", "provider:", "max_workers: 3\nprovider:", "3\nprovider", "but got 2, 3 and 2 addresses"
    ),
    "no hosts": Broken(
        "local", "  worker_ips: [192.0.2.2, 192.0.2.3]\n", "", "type: local", "`worker_ips` is missing in provider"
    ),
    "node types at home": Broken(
        "local", "auth:", "head_node_type: x\nauth:", "head_node_type", "does not apply to hosts of your own"
    ),
    "no user": Broken("local", "  ssh_user: ubuntu\n", "", "ssh_private_key", "`ssh_user` is missing"),
    "open quote": Broken("local", WORKER, "echo 'x;", "@worker", "No closing quotation"),
}


def place(text: str, at: str) -> tuple[int, int]:
    if at == "@start":
        return 1, 1
    if at in ("@head", "@worker"):
        offset = text.index(">-", text.index(f"{at[1:]}_start_ray_commands:"))
    elif at == "@setup":
        offset = text.index("- chmod")
    elif at.startswith("@"):
        offset = text.index(at[1:]) + at.index(" ")
    else:
        offset = text.index(at)
    return text.count("\n", 0, offset) + 1, offset - (text.rfind("\n", 0, offset) + 1) + 1


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_at_the_place(name: str, tmp_path: Path) -> None:
    broken = BROKEN[name]
    whole = template(broken.kind, tmp_path)
    assert broken.old in whole
    text = whole.replace(broken.old, broken.new, 1)
    file = tmp_path / "cluster.yaml"
    file.write_text(text)
    with pytest.raises(SpecError) as caught:
        load(file)
    found = [problem for problem in caught.value.problems if broken.said in f"{problem.message} {problem.hint}"]
    assert found, str(caught.value)
    assert found[0].hint
    assert found[0].file == str(file)
    assert (found[0].line, found[0].column) == place(text, broken.at), str(found[0])


def test_there_are_enough_broken_ones() -> None:
    assert len(BROKEN) >= 20


def test_the_command_refuses_with_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    Path("c.yaml").write_text(template("aws", tmp_path).replace("region: us-west-2", "regoin: us-west-2"))
    assert called("cluster", "validate", "c.yaml", monkeypatch=monkeypatch) == 2
    said = capsys.readouterr().err
    assert "c.yaml:" in said
    assert "hint: " in said
    assert called("cluster", "validate", "nowhere.yaml", monkeypatch=monkeypatch) == 2
    assert "sweep cluster init" in capsys.readouterr().err


def test_a_secret_of_the_environment_is_refused_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "f00dfeedf00dfeedf00dfeed")
    text = template("aws", tmp_path).replace("ulimit -n", "export WANDB_API_KEY=f00dfeedf00dfeedf00dfeed; ulimit -n", 1)
    Path("c.yaml").write_text(text)
    assert called("cluster", "validate", "c.yaml", monkeypatch=monkeypatch) == 2
    said = capsys.readouterr().err
    assert "the secret of $WANDB_API_KEY" in said
    assert "f00dfeed" not in said


def test_a_token_or_a_key_that_others_can_read_is_refused(home: Path) -> None:
    Path("c.yaml").write_text(template("local", home))
    for folder, name in ((".sweep", "token"), (".ssh", "id_ed25519")):
        path = home / folder / name
        path.parent.mkdir()
        path.write_text("0" * 64)
        path.chmod(0o644)
        with pytest.raises(SpecError, match="can be read by others \\(mode 0644\\)") as caught:
            load("c.yaml")
        assert [problem.line > 0 for problem in caught.value.problems] == [True]
        path.chmod(0o600)
        assert load("c.yaml").name == "sweep"


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    inside = ROOT / "docs"
    assert f"~/sweep-orchestrator: {os.path.relpath(ROOT, inside)}\n" in template("local", inside)
    assert load(ROOT / "cluster.yaml").local_path(".") == ROOT


@pytest.mark.parametrize(
    ("command", "environment", "options"),
    [
        ("ray start --head", {}, {"--head": ""}),
        ("export A=1 B='x y'; ray start --head --port 1", {"A": "1", "B": "x y"}, {"--head": "", "--port": "1"}),
        ("A=1; B=2 ray start --port=1", {"B": "2"}, {"--port": "1"}),
        ("ulimit -n 1 && export A=1 && ~/v/bin/ray start", {"A": "1"}, {}),
        ("export A=1\nray start\n", {"A": "1"}, {}),
        ("nohup ray start --head > log 2>&1", {}, {"--head": ""}),
    ],
)
def test_a_start_is_read_as_the_shell_reads_it(
    command: str, environment: dict[str, str], options: dict[str, str]
) -> None:
    (found,) = ray_starts(["true", command])
    assert (found.index, found.environment) == (1, environment)
    assert {name: found.options[name] for name in options} == options


def test_what_starts_no_ray_is_none() -> None:
    assert ray_starts(["ray stop", "echo ray started", "crayon start"]) == []
