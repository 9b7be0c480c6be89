"""A real S3 protocol server of the tests' own, and a line to it that can be slow, or cut.

python -m tests.support.s3 PORT SECONDS BUCKET    a server with that bucket, on all addresses, so many seconds a request
"""

from __future__ import annotations

import contextlib
import importlib.util
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

KEYS = {
    "AWS_ACCESS_KEY_ID": "nobody-checks-this-name",
    "AWS_SECRET_ACCESS_KEY": "nobody-checks-this-key",
    "AWS_REGION": "us-east-1",
}


@contextlib.contextmanager
def server(host: str = "127.0.0.1") -> Iterator[str]:
    """Its endpoint. Skips, with a reason, where moto is not installed."""
    if importlib.util.find_spec("moto") is None:
        pytest.skip("needs moto[server], an S3 server")
    with socket.create_server((host, 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", host, "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _await(host, port, process)
            yield f"http://{host}:{port}"
        finally:
            process.kill()


def make_bucket(endpoint: str, name: str) -> None:
    """As any client would."""
    host, _, port = endpoint.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as line:
        line.sendall(f"PUT /{name} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        assert b" 200 " in line.recv(1000)


class Line:
    """A way to the server that adds ``delay`` seconds to each request, and can be cut."""

    def __init__(self, endpoint: str, here: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        host, _, port = endpoint.removeprefix("http://").partition(":")
        self._server = (host, int(port))
        self.delay = 0.0
        self.unconditional = False  # as a store that does not know the condition to make an object only if it is new
        self._cut = threading.Event()
        self._listening = socket.create_server(here)
        self.endpoint = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def cut(self) -> None:
        """From now on nothing passes, on lines that are open neither."""
        self._cut.set()

    def mend(self) -> None:
        self._cut.clear()

    def close(self) -> None:
        self.cut()
        self._listening.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                line, _ = self._listening.accept()
                threading.Thread(target=self._relay, args=(line,), daemon=True).start()

    def _relay(self, line: socket.socket) -> None:
        with line, contextlib.suppress(OSError):
            if self._cut.is_set():
                return
            with socket.create_connection(self._server) as far:
                back = threading.Thread(target=self._pump, args=(far, line, False), daemon=True)
                back.start()
                self._pump(line, far, True)
                back.join()

    def _pump(self, source: socket.socket, sink: socket.socket, wait: bool) -> None:
        """A client sends a request, and then waits: what comes after a silence is a new one."""
        with contextlib.suppress(OSError):
            while (content := source.recv(1 << 20)) and not self._cut.is_set():
                if wait and self.delay:
                    time.sleep(self.delay)
                if wait and self.unconditional:
                    content = content.replace(b"if-none-match", b"x-not-a-header")
                sink.sendall(content)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def _await(host: str, port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError):
            socket.create_connection((host, port), timeout=1).close()
            return
        time.sleep(0.1)
    raise RuntimeError("moto's server has not started")


def environment(endpoint: str) -> dict[str, str]:
    """What a process needs to use the server. The metadata service of a cloud is not asked for other keys."""
    return {**KEYS, "AWS_ENDPOINT_URL": endpoint, "AWS_EC2_METADATA_DISABLED": "true"}


if __name__ == "__main__":
    with server() as found:
        make_bucket(found, sys.argv[3])
        Line(found, ("0.0.0.0", int(sys.argv[1]))).delay = float(sys.argv[2])
        threading.Event().wait()
