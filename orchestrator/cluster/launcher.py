"""Start and stop clusters with Ray's launcher, and work around its faults."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence

from orchestrator.cluster import auth_token
from orchestrator.cluster.cluster_file import ClusterFile
from orchestrator.cluster.dashboard_api import Dashboard, Node
from orchestrator.cluster.provider import provider_class
from orchestrator.cluster.ssh_tunnel import ray, tunnel
from orchestrator.errors import SpecError, SweepError

# Matches Ray's processes. The brackets keep pgrep from matching the shell that runs it.
_RAY_PROCESSES = (
    "[r]aylet/raylet|[g]cs_server|[r]ay::|[r]ay/dashboard/|[a]utoscaler/_private/monitor|[a]utoscaler/v2/monitor"
)
_SSH = ("-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=accept-new", "-o", "ConnectTimeout=15")


def up(file: ClusterFile, *, restart: bool = False, seconds: float = 900.0) -> list[Node]:
    """Start the cluster, or update it to its file, and wait until its initial nodes have joined.

    Args:
        file: The cluster file.
        restart: Restart Ray if it runs. By default a running head and its jobs are left alone.
        seconds: How long to wait for the nodes.

    Returns:
        The nodes that are alive.

    Raises:
        SpecError: The file is not filled in.
        SweepError: A node does not start.
    """
    if file.open_items:
        raise SpecError(file.open_items)
    running = _is_up(file)
    keep = ("--no-restart",) if running and not restart else ()
    _ray(file, "up", "--yes", "--no-config-cache", *keep, file.path.name)
    expected = provider_class(file.kind).initial_nodes(file)
    deadline = time.monotonic() + seconds
    while True:
        with tunnel(file) as url:
            while len(alive := [node for node in _dashboard(file, url).nodes() if node.alive]) < expected:
                if time.monotonic() > deadline:
                    raise SweepError(
                        f"{len(alive)} of {expected} nodes have joined {file.name} in {seconds:g} s",
                        hint=f"log: ray exec {file.path.name} 'tail -n 100 /tmp/ray/session_latest/logs/monitor*'",
                    )
                time.sleep(2.0)
            return alive


def status(file: ClusterFile) -> tuple[list[Node], list[dict[str, object]]]:
    """Return the nodes of a running cluster, and its jobs. Raises SweepError if its head cannot be reached."""
    with tunnel(file) as url:
        dashboard = _dashboard(file, url)
        return dashboard.nodes(), dashboard.jobs()


def down(file: ClusterFile, *, seconds: float = 60.0) -> None:
    """Stop the cluster. On hosts of one's own, check that no process of Ray remains.

    Raises:
        SweepError: A process remains after ``seconds``, or a host cannot be reached; all others are stopped.
    """
    hosts = provider_class(file.kind).hosts(file)
    if not hosts:
        _ray(file, "down", "--yes", file.path.name)
        return
    unreached: dict[str, SweepError] = {}
    # The head first: its autoscaler would start the workers again, and `ray down` stops them only after some 50 s.
    for role, host in hosts:
        try:
            _run_on(file, host, _stop_command(file, role))
        except SweepError as error:
            unreached[host] = error
    _ray(file, "down", "--yes", file.path.name)
    _check_stopped(file, [host for _, host in hosts if host not in unreached], seconds)
    if unreached:
        raise SweepError(
            f"down, except for hosts that were not reached: {'; '.join(error.message for error in unreached.values())}",
            hint="Ray on these hosts stops by itself about a minute after its head",
        )


def _dashboard(file: ClusterFile, url: str) -> Dashboard:
    return Dashboard(url, auth_token.read(file.token) if file.token else "")


def _is_up(file: ClusterFile) -> bool:
    """Return whether Ray runs on the head. A head whose setup failed exists without it, and needs Ray's restart."""
    command = f"pgrep -f {shlex.quote('[g]cs_server')}"
    if hosts := provider_class(file.kind).hosts(file):
        return _run_on(file, hosts[0][1], command, check=False).returncode == 0
    words = ray("exec", file.path.name, command)
    result = subprocess.run(words, cwd=file.path.parent, env=_environment(file), capture_output=True, check=False)
    return result.returncode == 0


def _environment(file: ClusterFile) -> dict[str, str]:
    return {
        **os.environ,
        "RAY_USAGE_STATS_ENABLED": "0",
        **auth_token.environment(file.token),
        **provider_class(file.kind).launcher_environment,
    }


def _ray(file: ClusterFile, *words: str) -> None:
    """Run a command of Ray's in the file's folder, which paths in the file start from. Its output goes to stderr."""
    result = subprocess.run(
        ray(*words),
        cwd=file.path.parent,
        env=_environment(file),
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        check=False,
    )
    if result.returncode:
        raise SweepError(f"`ray {words[0]}` failed with exit code {result.returncode}", hint="see its output above")


def _stop_command(file: ClusterFile, role: str) -> str:
    """Return the file's own ``ray stop``: Ray may be installed in an environment."""
    commands = file.commands(f"{role}_start_ray_commands")
    return next((command for command in commands if "ray stop" in command), "ray stop")


def _run_on(file: ClusterFile, host: str, command: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command on a host. Raises SweepError if it cannot be reached, or (with ``check``) if the command fails."""
    auth = file.section("auth")
    options: Sequence[str] = _SSH
    if key := auth.get("ssh_private_key"):
        options = (*options, "-o", "IdentitiesOnly=yes", "-i", str(file.local_path(str(key))))
    if proxy := auth.get("ssh_proxy_command"):
        options = (*options, "-o", f"ProxyCommand={proxy}")
    words = ["ssh", *options, f"{auth['ssh_user']}@{host}", f"bash --login -c {shlex.quote(command)}"]
    try:
        result = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120.0, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SweepError(
            f"{host} cannot be reached: {error}", hint="check that ssh is installed here, and that the host is up"
        ) from None
    if result.returncode == 255 or (check and result.returncode):
        lines = result.stderr.strip().splitlines()
        raise SweepError(
            f"{host}: {command} failed: {lines[-1] if lines else result.returncode}",
            hint=f"check that ssh reaches it: ssh {auth['ssh_user']}@{host}",
        )
    return result


def _check_stopped(file: ClusterFile, hosts: Sequence[str], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    for host in hosts:
        while True:
            processes = _run_on(file, host, f"pgrep -fa {shlex.quote(_RAY_PROCESSES)}", check=False).stdout.strip()
            if not processes:
                break
            if time.monotonic() > deadline:
                raise SweepError(
                    f"a process of Ray still runs on {host}: {processes.splitlines()[0][:200]}",
                    hint="end it there, or run sweep cluster down again",
                )
            time.sleep(1.0)
