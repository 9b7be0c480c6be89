"""Cluster files to begin with: `sweep cluster init`."""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path

from orchestrator.cluster.cluster_file import DISTRIBUTION, installed
from orchestrator.cluster.provider import provider_class
from orchestrator.cluster.rules import HEALTH

_BIN = "~/sweep-orchestrator/.venv/bin"
# From the project's root: orchestrator/data must travel.
_EXCLUDE = "rsync_exclude: [/.git, /.venv, /runs, /data, /site, /.mypy_cache]"
_TOKEN = "RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$HOME/.sweep/token"

_START = f"""\
# Token mode must be set on every node. A silent host is declared dead after 8 s instead of 65. The
# dashboard stays on the head's loopback: jobs come to it through ssh, and run SWEEP_PYTHON.
head_start_ray_commands:
  - {_BIN}/ray stop
  - >-
    ulimit -n 65536; export {_TOKEN} SWEEP_RUNS=/mnt/sweeps
    SWEEP_PYTHON=$HOME/sweep-orchestrator/.venv/bin/python
    {" ".join(f"RAY_health_check_{name}={value}" for name, value in {"initial_delay_ms": 5000, **HEALTH}.items())};
    {_BIN}/ray start --head --port=6379 --autoscaling-config=~/ray_bootstrap_config.yaml
worker_start_ray_commands:
  - {_BIN}/ray stop
  - >-
    ulimit -n 65536; export {_TOKEN};
    {_BIN}/ray start --address=$RAY_HEAD_IP:6379"""
_NOTICE = f"""
  # If the machine is preempted, its trials stop first.
  - >-
    export {_TOKEN};
    setsid nohup {_BIN}/python -m orchestrator.cluster.preemption_watcher @KIND@ $RAY_HEAD_IP:6379
    < /dev/null > /tmp/sweep-notice.log 2>&1 &"""


def template(kind: str, folder: Path) -> str:
    """The text of a cluster file that is to lie in ``folder``.

    It copies the checkout that this package runs from to the nodes, or has them install this very version.

    Raises UsageError where there is no such kind.
    """
    provider = provider_class(kind)
    text = provider.template()
    checkout, extra = _checkout(), kind if provider.rents else ""
    parts = _of_checkout(checkout, folder, extra) if checkout else _of_release(extra)
    started = _START + _NOTICE.replace("@KIND@", kind) if provider.preemption_notices else _START
    for mark, part in {**parts, "@START@": started}.items():
        text = text.replace(mark, part)
    return text


def _checkout() -> Path | None:
    root = Path(__file__).resolve().parents[2]
    return root if (root / "pyproject.toml").is_file() and (root / "Makefile").is_file() else None


def _of_checkout(root: Path, folder: Path, extra: str) -> dict[str, str]:
    here = os.path.relpath(root, folder) if folder.resolve().is_relative_to(root) else str(root)
    return {
        "@MOUNTS@": f"  ~/sweep-orchestrator: {here}\n{_EXCLUDE}",
        "@INSTALL@": "  # Every node gets the versions of constraints.txt and one Python: Ray refuses mixed ones.\n"
        '  - cd ~/sweep-orchestrator && PATH="$HOME/.local/bin:$PATH" make install PYTHON=3.11'
        f" EXTRAS={extra}",
    }


def _of_release(extra: str) -> dict[str, str]:
    wanted = f"{DISTRIBUTION}[{extra}]" if extra else DISTRIBUTION
    return {
        "@MOUNTS@": "rsync_exclude: []",
        "@INSTALL@": "  # Every node gets the versions that are here, and one Python: Ray refuses mixed ones.\n"
        '  - PATH="$HOME/.local/bin:$PATH" uv venv --quiet --allow-existing --python 3.11 ~/sweep-orchestrator/.venv\n'
        f'  - PATH="$HOME/.local/bin:$PATH" uv pip install --quiet --python {_BIN}/python'
        f" '{wanted}=={installed()}' 'ray[default,tune,train]=={version('ray')}'",
    }
