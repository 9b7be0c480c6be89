"""Clusters started and stopped by Ray's launcher, whose traps are mended here."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

from orchestrator.cluster import auth_token
from orchestrator.cluster.cluster_file import ClusterFile
from orchestrator.cluster.dashboard_api import Dashboard, Node
from orchestrator.cluster.ssh_tunnel import ray, tunnel
from orchestrator.errors import SpecError, SweepError

# What belongs to Ray among a host's processes. The brackets keep the shell that looks from finding itself.
_OF_RAY = "[r]aylet/raylet|[g]cs_server|[r]ay::|[r]ay/dashboard/|[a]utoscaler/_private/monitor|[a]utoscaler/v2/monitor"
_SSH = ("-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=accept-new", "-o", "ConnectTimeout=15")


def up(file: ClusterFile, *, restart: bool = False, seconds: float = 900.0) -> list[Node]:
    """Start the cluster, or bring it to what its file says, and wait until all that it is to begin with is there.

    A head that runs already is left alone, and with it what runs there, unless ``restart``.

    Raises SpecError where the file is not filled in, SweepError where something does not start.
    """
    if file.notes:
        raise SpecError(file.notes)
    running = _is_up(file)
    keep = ("--no-restart",) if running and not restart else ()
    _ray(file, "up", "--yes", "--no-config-cache", *keep, file.path.name)
    wanted = _at_first(file)
    until = time.monotonic() + seconds
    while True:
        with tunnel(file) as url:
            while len(alive := [node for node in _dashboard(file, url).nodes() if node.alive]) < wanted:
                if time.monotonic() > until:
                    raise SweepError(
                        f"{len(alive)} of {wanted} nodes have joined {file.name} in {seconds:g} s",
                        hint=f"ray exec {file.path.name} 'tail -n 100 /tmp/ray/session_latest/logs/monitor*' says why",
                    )
                time.sleep(2.0)
            return alive


def status(file: ClusterFile) -> tuple[list[Node], list[dict[str, object]]]:
    """The nodes of a cluster that is up, and its jobs. Raises SweepError where its head cannot be reached."""
    with tunnel(file) as url:
        dashboard = _dashboard(file, url)
        return dashboard.nodes(), dashboard.jobs()


def down(file: ClusterFile, *, seconds: float = 60.0) -> None:
    """Stop the cluster; on hosts of one's own, see that nothing of Ray is left.

    Raises SweepError where something is, or a host cannot be reached to see; the others are stopped all the same.
    """
    if file.kind != "local":
        _ray(file, "down", "--yes", file.path.name)
        return
    unreached: dict[str, SweepError] = {}
    # The head first: its autoscaler would start the workers again. They would notice only after some 50 s.
    for role, host in _hosts(file):
        try:
            _on(file, host, _stop_command(file, role))
        except SweepError as error:
            unreached[host] = error
    _ray(file, "down", "--yes", file.path.name)
    _require_silence(file, [host for _, host in _hosts(file) if host not in unreached], seconds)
    if unreached:
        raise SweepError(
            f"down, but for what could not be reached: {'; '.join(error.message for error in unreached.values())}",
            hint="what runs there notices that its head is gone, and ends after a minute or so",
        )


def _dashboard(file: ClusterFile, url: str) -> Dashboard:
    return Dashboard(url, auth_token.read(file.token) if file.token else "")


def _is_up(file: ClusterFile) -> bool:
    """Whether the head's Ray runs: a machine whose setup broke off is there, and `ray up` would leave it as it is."""
    look = f"pgrep -f {shlex.quote('[g]cs_server')}"
    if file.kind == "local":
        return _on(file, str(file.provider["head_ip"]), look, check=False).returncode == 0
    words = ray("exec", file.path.name, look)
    answer = subprocess.run(words, cwd=file.path.parent, env=_environment(file), capture_output=True, check=False)
    return answer.returncode == 0


def _at_first(file: ClusterFile) -> int:
    """How many nodes there are before anybody asks for more, the head among them."""
    if file.kind == "local":
        return 1 + int(file.data.get("min_workers", len(file.provider["worker_ips"])))
    return 1 + sum(int(kind.get("min_workers", 0)) for kind in file.worker_types.values())


def _environment(file: ClusterFile) -> dict[str, str]:
    told = {"RAY_USAGE_STATS_ENABLED": "0", **auth_token.environment(file.token)}
    if file.kind == "local":
        told["RAY_UP_enable_autoscaler_v2"] = "0"  # with it, one worker too few is started, for ever
    return {**os.environ, **told}


def _ray(file: ClusterFile, *words: str) -> None:
    """Run a command of Ray's, beside the file, to which its paths are relative; what it says goes to stderr."""
    ended = subprocess.run(
        ray(*words),
        cwd=file.path.parent,
        env=_environment(file),
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,
        check=False,
    )
    if ended.returncode:
        raise SweepError(f"`ray {words[0]}` ended with {ended.returncode}", hint="what it said stands above")


def _hosts(file: ClusterFile) -> Iterator[tuple[str, str]]:
    """Role and address of each host of one's own, the head first."""
    yield "head", str(file.provider["head_ip"])
    yield from (("worker", str(address)) for address in file.provider["worker_ips"])


def _stop_command(file: ClusterFile, role: str) -> str:
    """How the file itself stops Ray, which may lie in an environment."""
    commands = file.commands(f"{role}_start_ray_commands")
    return next((command for command in commands if "ray stop" in command), "ray stop")


def _on(file: ClusterFile, host: str, command: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command on a host. Raises SweepError where it cannot be reached, or with ``check`` where it fails."""
    auth = file.section("auth")
    options: Sequence[str] = _SSH
    if key := auth.get("ssh_private_key"):
        options = (*options, "-o", "IdentitiesOnly=yes", "-i", str(file.here(str(key))))
    if proxy := auth.get("ssh_proxy_command"):
        options = (*options, "-o", f"ProxyCommand={proxy}")
    words = ["ssh", *options, f"{auth['ssh_user']}@{host}", f"bash --login -c {shlex.quote(command)}"]
    try:
        ended = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120.0, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SweepError(f"{host} cannot be reached: {error}", hint="is ssh installed here, and the host up?") from None
    if ended.returncode == 255 or (check and ended.returncode):
        said = ended.stderr.strip().splitlines()
        raise SweepError(
            f"{host}: {command} failed: {said[-1] if said else ended.returncode}", hint="does ssh lead there?"
        )
    return ended


def _require_silence(file: ClusterFile, hosts: Sequence[str], seconds: float) -> None:
    until = time.monotonic() + seconds
    for host in hosts:
        while True:
            found = _on(file, host, f"pgrep -fa {shlex.quote(_OF_RAY)}", check=False).stdout.strip()
            if not found:
                break
            if time.monotonic() > until:
                raise SweepError(f"on {host} there is something of Ray left: {found.splitlines()[0][:200]}")
            time.sleep(1.0)
