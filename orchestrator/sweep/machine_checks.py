"""Check a machine before a sweep needs it: Python, disk, shared memory, ports, GPU, W&B, the place of the runs."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import UsageError
from orchestrator.object_storage import objects
from orchestrator.rundir import runs_root
from orchestrator.secrets.wandb_account import wandb_mode, wandb_url

_LEAST_DISK = 5e9  # bytes
_LEAST_SHARED = 1e9
_SECONDS = 10


@dataclass(frozen=True)
class MachineCheck:
    """One check.

    Attributes:
        name: what was checked.
        state: ``ok``, ``warning`` (some sweeps will fail or be slow) or ``failed`` (sweeps cannot run).
        message: what was found.
        hint: what to do; empty if nothing needs to be done.
    """

    name: str
    state: str
    message: str
    hint: str = ""


def check_machine(runs: str | Path | None = None) -> list[MachineCheck]:
    """Return the checks of this machine and of the place of the runs. A check that breaks counts as failed."""
    checks: dict[str, Callable[[], MachineCheck]] = {
        "Python": _python,
        "runs": lambda: _place(runs),
        "shared memory": _shared_memory,
        "ports": _ports,
        "GPU": _gpu,
        "W&B": _wandb,
    }
    return list(_run(checks))


def _run(checks: dict[str, Callable[[], MachineCheck]]) -> Iterator[MachineCheck]:
    for name, check in checks.items():
        try:
            yield check()
        except (OSError, UsageError, subprocess.SubprocessError) as error:
            yield MachineCheck(name, "failed", str(error).replace("\n", "; "))


def _python() -> MachineCheck:
    found = f"Python {sys.version.split()[0]} in {sys.prefix}"
    if sys.platform != "linux":
        return MachineCheck("Python", "warning", f"{found} on {sys.platform}", "only Linux is tested")
    return MachineCheck("Python", "ok", found)


def _place(runs: str | Path | None) -> MachineCheck:
    """Write and remove a file where runs are kept, in a folder or in object storage."""
    root = runs_root(runs)
    if not isinstance(root, Path):
        enforced = objects(root).enforces_create()
        hint = "" if enforced else "use a store that honours conditional writes"
        return MachineCheck("runs", "ok" if enforced else "failed", f"{root} can be read and written", hint)
    folder = next(path for path in (root, *root.parents) if path.is_dir())
    probe = folder / f".sweep-doctor-{socket.gethostname()}"
    probe.touch()
    probe.unlink()
    free = shutil.disk_usage(folder).free
    text = f"{root} can be written; {free / 1e9:.1f} GB are free"
    if free < _LEAST_DISK:
        return MachineCheck("runs", "warning", text, "free space: sweep du, sweep rm --checkpoints")
    return MachineCheck("runs", "ok", text)


def _shared_memory() -> MachineCheck:
    shared = Path("/dev/shm")
    if not shared.is_dir():
        return MachineCheck("shared memory", "ok", "this system has no /dev/shm")
    size = shutil.disk_usage(shared).free
    text = f"{size / 1e9:.1f} GB are free in /dev/shm"
    if size < _LEAST_SHARED:
        hint = "in a container: docker run --shm-size=8g; Ray and DataLoader workers use it"
        return MachineCheck("shared memory", "warning", text, hint)
    return MachineCheck("shared memory", "ok", text)


def _ports() -> MachineCheck:
    with socket.socket() as server, socket.socket() as client:
        server.bind(("127.0.0.1", 0))
        server.listen(1)
        client.settimeout(_SECONDS)
        client.connect(server.getsockname())
    return MachineCheck("ports", "ok", "a process can connect to another on 127.0.0.1")


def _gpu() -> MachineCheck:
    program = shutil.which("nvidia-smi")
    if program is None:
        return MachineCheck("GPU", "ok", "no NVIDIA driver: trials train on the CPU")
    query = [program, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, timeout=_SECONDS)
    if answer.returncode:
        text = (answer.stdout + answer.stderr).strip().partition("\n")[0]
        return MachineCheck(
            "GPU", "failed", f"nvidia-smi fails: {text}", "reinstall the driver, or restart the machine"
        )
    return MachineCheck("GPU", "ok", "; ".join(answer.stdout.strip().splitlines()))


def _wandb() -> MachineCheck:
    mode = wandb_mode("auto")
    if mode == "online":
        return MachineCheck("W&B", "ok", f"a key for {wandb_url()} is configured")
    hint = "" if mode == "disabled" else "wandb login; sweep sync sends what was logged before"
    return MachineCheck("W&B", "ok", f"mode {mode}: nothing is sent", hint)
