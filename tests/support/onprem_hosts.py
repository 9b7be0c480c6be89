"""Hosts of one's own: a laptop, a head and workers that reach each other by a real sshd, from kernel namespaces."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cluster.templates import template
from tests.support.paths import ROOT

BIN = Path(sys.executable).parent
RUNS = "/shared/runs"  # what NFS would be
PROGRAMS = ("unshare", "nsenter", "ip", "sshd", "ssh", "rsync", "ssh-keygen")
OF_RAY = ("raylet", "gcs_server", "ray::", "/ray/dashboard/", "monitor.py")


@dataclass
class OnPrem:
    """``net`` has the hosts ``laptop``, ``head``, ``w1``, ``w2`` …; the laptop has the cluster file in ``folder``."""

    net: Any
    folder: str

    def sweep(self, *words: str, code: int = 0, timeout: float = 420.0) -> str:
        """Run a command on the laptop; returns what it says on both its outputs."""
        ended = self.started(*words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            said, _ = ended.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            ended.kill()
            said = ended.communicate()[0]
            pytest.fail(f"sweep {' '.join(words)} did not end in {timeout:g} s:\n{said[-3000:]}")
        assert ended.returncode == code, said
        return str(said)

    def started(self, *words: str, **how: Any) -> Any:
        command = f'cd {self.folder} && exec "$0" -m orchestrator "$@"'
        return self.net["laptop"].popen(["bash", "-c", command, sys.executable, *words], **how)

    def of_ray(self) -> dict[str, list[str]]:
        """What runs of Ray, by host."""
        found = {
            name: [command for _, _, command in host.pids() if any(part in command for part in OF_RAY)]
            for name, host in self.net.hosts.items()
            if host.pid is not None
        }
        return {name: commands for name, commands in found.items() if commands}


@contextlib.contextmanager
def on_prem(shared: Path, workers: int = 2, cpus: int = 2, others: tuple[str, ...] = ()) -> Iterator[OnPrem]:
    """Boot them, and ``others`` that are no part of the cluster; skips, with a reason, where that cannot be."""
    names = ["laptop", "head", *(f"w{number + 1}" for number in range(workers)), *others]
    # Short, for the names of Ray's sockets are limited.
    folder = Path(tempfile.mkdtemp(prefix="op", dir="/tmp"))
    try:
        with booted(shared, folder, names) as net:
            _let_in(net, folder)
            (folder / "shared/runs").mkdir()
            net["laptop"].run(["mkdir", "-p", "/root/sweeps"])
            net["laptop"].run(["tee", "/root/sweeps/cluster.yaml"], input=cluster_file(net, cpus))
            yield OnPrem(net, "/root/sweeps")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def booted(
    shared: Path,
    folder: Path,
    names: list[str],
    programs: tuple[str, ...] = PROGRAMS,
    *,
    subnet: tuple[str, int] = ("10.77.0", 24),
    env: dict[str, str] | None = None,
) -> Iterator[Any]:
    """Yield hosts of these names that see the project; skip, with a reason, if that cannot be.

    ``env``: variables of every host.
    ``subnet`` is what their addresses begin with, and the bits of their network.
    """
    missing = [name for name in programs if not shutil.which(name)]
    if missing or os.geteuid():
        pytest.skip(f"needs root and {', '.join(programs)}; missing: {', '.join(missing) or 'root'}")
    vhosts = _vhosts(shared)
    binds = [(str(path), str(path), True) for path in {ROOT, Path(sys.prefix).resolve()}]
    told = {"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0", "SWEEP_RUNS": RUNS, **(env or {})}
    net = vhosts.Net(
        names, folder, subnet=subnet[0], prefix=subnet[1], binds=binds, python=sys.executable, extra_env=told
    )
    try:
        try:
            with warnings.catch_warnings(action="ignore", category=ResourceWarning):  # the harness leaves logs open
                net.__enter__()
        except (OSError, RuntimeError) as refused:
            pytest.skip(f"the kernel allows no namespaces here: {refused}")
        yield net
    finally:
        net.__exit__()


def _vhosts(shared: Path) -> Any:
    folder = shared / "cluster"
    if not (folder / "vhosts.py").is_file():
        pytest.skip(f"needs {folder}/vhosts.py")
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    return importlib.import_module("vhosts")


def _let_in(net: Any, folder: Path) -> None:
    """An sshd on every host, and the laptop's key on all of them."""
    for name in ("host", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    host_key, key = (folder / "host").read_text(), (folder / "key").read_text()
    for host in net.hosts.values():
        host.run("rm -rf /root/.ssh /root/.sweep && mkdir -m 700 /root/.ssh")
        host.run("umask 077; cat > /root/.ssh/authorized_keys", input=(folder / "key.pub").read_text())
        host.run("umask 077; cat > /run/host_key", input=host_key)
        start_sshd(host)
    net["laptop"].run("umask 077; cat > /root/.ssh/id_ed25519", input=key)


def start_sshd(host: Any) -> None:
    """With the key of the host in /run/host_key."""
    options = ("PermitRootLogin=yes", "UsePAM=no", "PidFile=/run/sshd.pid")
    host.run([str(shutil.which("sshd")), "-h", "/run/host_key", *(word for one in options for word in ("-o", one))])


def cluster_file(net: Any, cpus: int) -> str:
    """What `sweep cluster init local` writes, filled in; the environment is the tests' own, which all hosts see."""
    text = template("local", ROOT.parent)
    workers = [host.ip for name, host in net.hosts.items() if name.startswith("w")]
    check = (
        f"import importlib.metadata as m; assert m.version('sweep-orchestrator') == '{version('sweep-orchestrator')}'"
    )
    room = f"--num-cpus={cpus} --object-store-memory=100000000 --disable-usage-stats"
    lines = []
    for line in text.splitlines():
        if "make install" in line:
            line = f'  - {BIN}/python -c "{check}"'
        if not any(part in line for part in ("command -v uv", "~/sweep-orchestrator: ", "rsync_exclude")):
            lines.append(line)
    for old, new in {
        "head_ip: 192.0.2.1": f"head_ip: {net['head'].ip}",
        "[192.0.2.2, 192.0.2.3]": f"[{', '.join(workers)}]",
        "ssh_user: ubuntu": "ssh_user: root",
        "mountpoint -q /mnt/sweeps": "mountpoint -q /shared",
        "SWEEP_RUNS=/mnt/sweeps": f"PYTHONPATH={ROOT} SWEEP_RUNS={RUNS}",
        "~/sweep-orchestrator/.venv/bin": str(BIN),
        "$HOME/sweep-orchestrator/.venv/bin": str(BIN),
        "export RAY_AUTH_MODE": "export RAY_worker_niceness=0 RAY_AUTH_MODE",  # else they starve on a busy machine
        "ray start --head": f"ray start {room} --head",
        "token;\n": f"token PYTHONPATH={ROOT};\n",
        "ray start --address": f"ray start {room} --address",
    }.items():
        text = "\n".join(lines) + "\n"
        assert old in text or "HOME" in old, old
        lines = text.replace(old, new).splitlines()
    return "\n".join(lines) + "\n"
