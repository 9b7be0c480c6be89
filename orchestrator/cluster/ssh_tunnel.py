"""The head's dashboard, which listens on its loopback alone, as a port of this machine, through ssh."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from orchestrator.cluster.cluster_file import ClusterFile
from orchestrator.errors import SweepError

DASHBOARD = 8265


def ray(*words: str) -> list[str]:
    """A command of Ray's own, from the environment that this runs in."""
    return [str(Path(sys.executable).with_name("ray")), *words]


@contextlib.contextmanager
def tunnel(file: ClusterFile, seconds: float = 60.0) -> Iterator[str]:
    """While entered, ``http://127.0.0.1:PORT`` is the head's dashboard. Ray knows where the head is, and the key to it.

    Raises SweepError where it does not come up within ``seconds``.
    """
    port = _free_port()
    words = ("dashboard", "--port", str(port), "--remote-port", str(DASHBOARD), file.path.name)
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            ray(*words),
            cwd=file.path.parent,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
        try:
            until = time.monotonic() + seconds
            while not _answers(port):
                if process.poll() is not None or time.monotonic() > until:
                    said.seek(0)
                    last = said.read().decode(errors="replace").strip().splitlines()[-3:]
                    raise SweepError(
                        f"the head of {file.name} cannot be reached: {' '.join(last)[-400:]}",
                        hint=f"is it up? sweep cluster up {file.path.name}",
                    )
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)  # ssh is a child of it
            process.wait()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _answers(port: int) -> bool:
    """Whether HTTP is spoken there: ssh listens before the other end does."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2.0) as one:
            one.settimeout(5.0)
            one.sendall(b"GET /api/authentication_mode HTTP/1.0\r\nHost: localhost\r\n\r\n")
            return one.recv(5) == b"HTTP/"
    except OSError:
        return False
