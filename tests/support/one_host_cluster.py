"""A Ray cluster of one host, for tests that join one."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Ray that all tests share: a host with two CPUs and what passes for a GPU."""
    with one_host(tmp_path_factory.mktemp("ray"), "--num-gpus", "1") as address:
        yield address


@pytest.fixture(
    params=[
        pytest.param("shared", marks=pytest.mark.ray),
        pytest.param("own", marks=[pytest.mark.slow, pytest.mark.ray]),
    ],
)
def where(request: pytest.FixtureRequest) -> list[str]:
    """The options of a launch on the Ray that the tests share, and those of one under a Ray of its own."""
    return ["--address", request.getfixturevalue("shared_address")] if request.param == "shared" else []


@contextlib.contextmanager
def one_host(tmp_path: Path, *options: str) -> Iterator[str]:
    """A head with two CPUs in a session of its own, which ends with the test."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = os.environ["RAY_TMPDIR"]
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--port", str(port)]
    command += [
        "--node-ip-address",
        "127.0.0.1",
        "--num-cpus",
        "2",
        "--include-dashboard",
        "false",
        "--temp-dir",
        folder,
    ]
    command += ["--object-store-memory", "100000000", *options]
    own = {**os.environ, "RAY_worker_niceness": "0"}
    own.pop("SWEEP_RUNS", None)  # by which a test finds the processes that it has started
    with (tmp_path / "ray.log").open("wb") as log:
        head = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, env=own)
    try:
        until = time.monotonic() + 120
        while "Ray runtime started" not in (tmp_path / "ray.log").read_text() and time.monotonic() < until:
            time.sleep(0.2)
        yield f"127.0.0.1:{port}"
    finally:
        head.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            head.wait(30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(head.pid, signal.SIGKILL)
        head.wait()
