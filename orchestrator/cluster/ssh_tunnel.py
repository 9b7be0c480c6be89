"""Forward the head's dashboard, which listens on its loopback only, to a port of this machine by ssh."""

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
    """Return a command line of Ray's, from the environment of this Python."""
    return [str(Path(sys.executable).with_name("ray")), *words]


@contextlib.contextmanager
def tunnel(file: ClusterFile, seconds: float = 60.0) -> Iterator[str]:
    """Forward the dashboard while entered, by ``ray dashboard``, which knows the head's address and its ssh key.

    Yields:
        The dashboard's URL on this machine.

    Raises:
        SweepError: The dashboard does not answer within ``seconds``.
    """
    port = _free_port()
    words = ("dashboard", "--port", str(port), "--remote-port", str(DASHBOARD), file.path.name)
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            ray(*words),
            cwd=file.path.parent,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + seconds
            while not _answers(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    output.seek(0)
                    last = output.read().decode(errors="replace").strip().splitlines()[-3:]
                    raise SweepError(
                        f"the head of {file.name} cannot be reached: {' '.join(last)[-400:]}",
                        hint=f"if it is not up: sweep cluster up {file.path.name}",
                    )
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)  # the group includes its ssh
            process.wait()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _answers(port: int) -> bool:
    """Return whether the port answers HTTP; ssh accepts connections before the dashboard does."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2.0) as connection:
            connection.settimeout(5.0)
            connection.sendall(b"GET /api/authentication_mode HTTP/1.0\r\nHost: localhost\r\n\r\n")
            return connection.recv(5) == b"HTTP/"
    except OSError:
        return False
