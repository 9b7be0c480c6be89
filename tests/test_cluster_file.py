"""cluster.yaml against Ray's own schema, offline."""

from __future__ import annotations

import subprocess
import sys

from conftest import ROOT
from ruamel.yaml import YAML

VALIDATE = """
import copy, sys, yaml
from ray.autoscaler._private.util import prepare_config, validate_config
config = prepare_config(copy.deepcopy(yaml.safe_load(open(sys.argv[1]))))
validate_config(config)
print(config["available_node_types"]["gpu"]["resources"])
"""


def test_ray_accepts_the_cluster_file() -> None:
    command = [sys.executable, "-c", VALIDATE, str(ROOT / "cluster.yaml")]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert answer.returncode == 0, answer.stderr
    assert "GPU" in answer.stdout


def test_both_starts_ask_for_a_token() -> None:
    config = YAML(typ="safe").load(ROOT / "cluster.yaml")
    for role in ("head", "worker"):
        start = config[f"{role}_start_ray_commands"][-1]
        assert "export RAY_AUTH_MODE=token" in start.split("ray start")[0]
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
