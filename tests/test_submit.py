"""`sweep launch --cluster URL` to a head on this machine that requires no token."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.journal import read
from tests.support.paths import ROOT
from tests.support.ray_sweeps import SPEC

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.timeout(900)]


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """The dashboard of a head with two CPUs in a session of its own, which ends with the test."""
    ports = [free_port() for _ in range(3)]
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "SWEEP_PYTHON": sys.executable, "PYTHONPATH": str(ROOT)}
    command = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--node-ip-address=127.0.0.1"]
    command += [f"--port={ports[0]}", f"--dashboard-port={ports[1]}", f"--ray-client-server-port={ports[2]}"]
    command += ["--num-cpus=2", "--object-store-memory=100000000", f"--temp-dir={os.environ['RAY_TMPDIR']}"]
    command += ["--disable-usage-stats"]
    with (tmp_path / "ray.log").open("w") as log:
        head = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        until = time.monotonic() + 180
        while True:
            try:
                socket.create_connection(("127.0.0.1", ports[1]), timeout=1.0).close()
                break
            except OSError:
                assert head.poll() is None, (tmp_path / "ray.log").read_text()
                assert time.monotonic() < until
                time.sleep(0.5)
        yield f"http://127.0.0.1:{ports[1]}"
    finally:
        os.killpg(head.pid, signal.SIGTERM)
        head.wait(60)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def sweep(*words: str, folder: Path, code: int) -> str:
    environment = {**os.environ, "HOME": str(folder), "PYTHONPATH": str(ROOT)}  # where no token is
    command = [sys.executable, "-m", "orchestrator", *words]
    ended = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=400, check=False
    )
    assert ended.returncode == code, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def test_a_cluster_without_a_token_is_refused_unless_told_otherwise(url: str, tmp_path: Path) -> None:
    spec: dict[str, Any] = {**SPEC, "scheduler": "fifo", "budget": {"trials": 2}, "resources": {"cpus": 1}}
    (tmp_path / "tiny.yaml").write_text(json.dumps(spec))
    words = ("launch", "tiny.yaml", "--cluster", url, "--runs", str(tmp_path / "runs"))
    said = sweep(*words, folder=tmp_path, code=2)
    assert "requires no token: anyone who reaches it can run code on every node" in said
    assert "--insecure" in said
    assert not (tmp_path / "runs").exists()
    sweep(*words, "--local", folder=tmp_path, code=2)

    assert "tiny is submitted as sweep-tiny-" in sweep(*words, "--insecure", folder=tmp_path, code=0)
    journal, until = tmp_path / "runs/tiny/journal.jsonl", time.monotonic() + 400
    while not (journal.exists() and any(event.type == "sweep.completed" for event in read(journal))):
        assert time.monotonic() < until
        time.sleep(1.0)
    assert "2 of 2 trials" in sweep("status", "tiny", "--runs", str(tmp_path / "runs"), folder=tmp_path, code=0)
