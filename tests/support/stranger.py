"""Another user of this machine, who tries every door: each method of each service of Ray, and plain HTTP.

    python stranger.py '[["127.0.0.1", 6379], …]' TOKEN METHOD     prints, for each port, outcome → number of tries

It is a program of its own, without this project, that takes another user's number once it has imported Ray.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

NOBODY = 65534
SECONDS = 10.0
# Services of Ray's programs that its Python package does not declare. Left out are those that Ray 2.60 leaves open:
# `RaySyncer/StartSync`, gRPC's channelz and its reflection (docs/safety.md says what they do).
UNDECLARED = (
    "/ray.rpc.ObjectManagerService/Pull",
    "/ray.rpc.ObjectManagerService/Push",
    "/ray.rpc.ObjectManagerService/FreeObjects",
)
PATHS = ("/", "/metrics", "/api/version", "/api/jobs/", "/log", "/get_runtime_envs_info", "/dashboard")


def knock(ports: Iterable[tuple[str, int]], token: str = "", only: str = "") -> dict[int, dict[str, int]]:
    """Try each port in a process of another user, with methods named ``only`` or all. Returns outcomes by port."""
    answer = subprocess.run(
        [sys.executable, __file__, json.dumps(list(ports)), token, only],
        cwd="/",
        env={"HOME": "/nonexistent", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    return {int(port): outcomes for port, outcomes in json.loads(answer.stdout).items()}


def methods() -> list[str]:
    """Return every remote method of this version of Ray."""
    import ray.core.generated as generated

    names = (module.name for module in pkgutil.iter_modules(generated.__path__) if module.name.endswith("_pb2"))
    modules = (importlib.import_module(f"ray.core.generated.{name}") for name in names)
    services = (service for module in modules for service in module.DESCRIPTOR.services_by_name.values())
    declared = {f"/{service.full_name}/{method.name}" for service in services for method in service.methods}
    return sorted(declared.union(UNDECLARED))


def grpc_outcomes(address: str, port: int, token: str, names: Sequence[str]) -> list[str]:
    import grpc  # type: ignore[import-untyped]

    metadata = [("authorization", f"Bearer {token}")] if token else []
    with grpc.insecure_channel(f"{address}:{port}") as channel:
        calls = {method: channel.unary_unary(method) for method in names}
        waiting = {method: call.future(b"", timeout=SECONDS, metadata=metadata) for method, call in calls.items()}
        return [outcome(method, future) for method, future in waiting.items()]


def outcome(method: str, future: Any) -> str:
    error = future.exception()
    return f"answered {method}" if error is None else str(error.code().name)


def http_outcomes(address: str, port: int) -> list[str]:
    return [f"HTTP {http_status(address, port, path)}" for path in PATHS]


def http_status(address: str, port: int, path: str) -> str:
    """Return the status of an answer in HTTP/1.1; "none" if the port speaks something else."""
    try:
        with socket.create_connection((address, port), timeout=SECONDS) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {address}:{port}\r\nConnection: close\r\n\r\n".encode())
            start = connection.recv(64)
    except OSError:
        return "none"
    return start.split()[1].decode() if start.startswith(b"HTTP/1.") else "none"


def become_nobody() -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def main() -> None:
    sys.path.remove(str(Path(__file__).parent))
    ports, token, only = json.loads(sys.argv[1]), *sys.argv[2:]
    names = [method for method in methods() if method.endswith(only)]  # imports what the other user may not read
    become_nobody()
    outcomes = {
        port: Counter(grpc_outcomes(address, port, token, names) + http_outcomes(address, port))
        for address, port in ports
    }
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main()
