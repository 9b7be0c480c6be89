"""Templates of cluster files: `sweep cluster init`."""

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
_WATCHER = f"""
  # If the machine is preempted, its trials stop first.
  - >-
    export {_TOKEN};
    setsid nohup {_BIN}/python -m orchestrator.cluster.preemption_watcher @KIND@ $RAY_HEAD_IP:6379
    < /dev/null > /tmp/sweep-notice.log 2>&1 &"""


def template(kind: str, folder: Path) -> str:
    """Return the text of a cluster file for ``folder``.

    Nodes get a copy of the checkout that this package runs from, or install this package's version.

    Args:
        kind: A provider's name.
        folder: The folder of the file, which relative paths start from.

    Raises:
        UsageError: There is no such provider.
    """
    provider = provider_class(kind)
    text = provider.template()
    checkout, extra = _checkout(), kind if provider.rents else ""
    parts = _checkout_parts(checkout, folder, extra) if checkout else _release_parts(extra)
    start = _START + _WATCHER.replace("@KIND@", kind) if provider.preemption_notices else _START
    for mark, part in {**parts, "@START@": start}.items():
        text = text.replace(mark, part)
    return text


def _checkout() -> Path | None:
    root = Path(__file__).resolve().parents[2]
    return root if (root / "pyproject.toml").is_file() and (root / "Makefile").is_file() else None


def _checkout_parts(root: Path, folder: Path, extra: str) -> dict[str, str]:
    source = os.path.relpath(root, folder) if folder.resolve().is_relative_to(root) else str(root)
    return {
        "@MOUNTS@": f"  ~/sweep-orchestrator: {source}\n{_EXCLUDE}",
        "@INSTALL@": "  # Every node gets the versions of constraints.txt and one Python: Ray refuses mixed ones.\n"
        '  - cd ~/sweep-orchestrator && PATH="$HOME/.local/bin:$PATH" make install PYTHON=3.11'
        f" EXTRAS={extra}",
    }


def _release_parts(extra: str) -> dict[str, str]:
    package = f"{DISTRIBUTION}[{extra}]" if extra else DISTRIBUTION
    return {
        "@MOUNTS@": "rsync_exclude: []",
        "@INSTALL@": "  # Every node gets the versions that are here, and one Python: Ray refuses mixed ones.\n"
        '  - PATH="$HOME/.local/bin:$PATH" uv venv --quiet --allow-existing --python 3.11 ~/sweep-orchestrator/.venv\n'
        f'  - PATH="$HOME/.local/bin:$PATH" uv pip install --quiet --python {_BIN}/python'
        f" '{package}=={installed()}' 'ray[default,tune,train]=={version('ray')}'",
    }
