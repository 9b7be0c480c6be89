"""The process that writes the logs of another process, which trains trials.

It outlives that one for a moment, so that nothing is lost of what was printed before a crash. It reads the pipe that
took the place of standard output and error, and orders from a socket: see `orchestrator.engine.output_capture`.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_CHUNK = 1 << 20
_ORDER_BYTES = 1 << 18
_TURN_SECONDS = 1.0
_REST_SECONDS = 3.0  # for what others print into the pipe after the writer has ended
_PUBLISH_SECONDS = 30.0  # between two uploads of a log that changes, since each is a request that costs money
_MOST_WARNINGS = 1000  # of one process


class LogProcess:
    """Follows orders: ``begin`` and ``end`` of a segment's log, and what the segment has ``warned`` of.

    Args:
        pipe: to read from.
        orders: to read from and to answer on.
        writer: the process that writes to the pipe.
    """

    def __init__(self, pipe: int, orders: socket.socket, writer: int) -> None:
        from orchestrator.engine.capped_log import CappedLog

        self._new_log = CappedLog
        self._pipe, self._orders, self._writer = pipe, orders, writer
        os.set_blocking(pipe, False)
        orders.setblocking(False)
        self._alive = os.pidfd_open(writer) if hasattr(os, "pidfd_open") else -1
        self._begun: dict[str, Any] = {}
        self._log: CappedLog | None = None
        self._terminal: list[int] = []  # where to print as well
        self._published = 0.0
        self._is_new = False  # something was printed since the log was published
        self._warned = 0

    def run(self) -> None:
        """Follow orders until the writer ends."""
        poll = select.poll()
        for descriptor in (self._pipe, self._orders.fileno(), self._alive):
            if descriptor >= 0:
                poll.register(descriptor, select.POLLIN)
        until = float("inf")
        while time.monotonic() < until:
            ready = dict(poll.poll(_TURN_SECONDS * 1000))
            is_over = self._alive in ready or (self._alive < 0 and not _exists(self._writer))
            until = min(until, time.monotonic() + _REST_SECONDS) if is_over else until
            self._follow_orders()
            more = self._read()
            if self._log:
                self._log.flush()
            self._publish_sometimes()
            if is_over and not more:
                break
            if not more and ready.get(self._pipe, 0) & select.POLLHUP:  # its descriptors were closed
                break
        self._end()

    def _follow_orders(self) -> None:
        while True:
            try:
                content, descriptors, *_ = socket.recv_fds(self._orders, _ORDER_BYTES, 2)
            except OSError:
                return
            if not content:
                return
            self._follow(json.loads(content), descriptors)

    def _follow(self, order: Mapping[str, Any], descriptors: list[int]) -> None:
        if "begin" in order:
            self._begin(order["begin"], descriptors)
        elif "warned" in order:
            self._note(order["warned"])
        elif "end" in order:
            while self._read():
                pass
            self._end()
            with contextlib.suppress(OSError):
                self._orders.send(b"done")
            self._publish(Path(self._begun["warnings"]))

    def _begin(self, begun: Mapping[str, Any], descriptors: list[int]) -> None:
        from orchestrator.secrets import allow

        self._end()
        self._begun, self._terminal = dict(begun), descriptors
        os.environ.update(begun["environment"])  # with the secrets that the writer holds now
        allow(begun["allowed"])
        self._log = self._new_log(Path(begun["path"]))
        self._published = time.monotonic()

    def _read(self) -> bool:
        """Read once; return whether there was anything."""
        try:
            data = os.read(self._pipe, _CHUNK)
        except OSError:
            return False
        self._follow_orders_before(data)
        return bool(data)

    def _follow_orders_before(self, data: bytes) -> None:
        """Log what was read; an order to begin that came before it counts for it."""
        if self._log is None:
            self._follow_orders()
        if self._log is None or not data:
            return
        self._log.feed(data)
        self._is_new = True
        self._print(data)

    def _print(self, data: bytes) -> None:
        if not self._terminal:
            return
        from orchestrator.secrets import masked

        shown = masked(data.decode(errors="surrogateescape")).encode(errors="surrogateescape")
        with contextlib.suppress(OSError):
            os.write(self._terminal[-1], shown)

    def _end(self) -> None:
        if self._log is not None:
            with contextlib.suppress(OSError):
                self._log.flush(last=True)
            self._log = None
        for descriptor in self._terminal:
            os.close(descriptor)
        self._terminal = []

    def _note(self, warned: Mapping[str, Any]) -> None:
        """Add what a segment has warned of to this process's file."""
        from orchestrator.secrets import masked_values, write_masked

        if not self._begun or self._warned >= _MOST_WARNINGS:
            return
        self._warned += 1
        record = masked_values({**self._begun["identity"], **warned})
        with contextlib.suppress(OSError):
            write_masked(Path(self._begun["warnings"]), json.dumps(record) + "\n", append=True)

    def _publish_sometimes(self) -> None:
        if self._log and self._is_new and time.monotonic() - self._published > _PUBLISH_SECONDS:
            self._publish(self._log.path)
            self._published, self._is_new = time.monotonic(), False

    def _publish(self, path: Path) -> None:
        """Upload a file, if the run is in object storage."""
        if not self._begun.get("url"):
            return
        from orchestrator.rundir import run_of

        with contextlib.suppress(Exception):  # the segment's end uploads its logs again
            if path.exists():
                run_of(self._begun["url"]).publish(path)


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except OSError:
        return False
    return True


def main() -> None:
    """Become a process that is nobody's child, so that a trial's code that waits for its children waits for its own."""
    if os.fork():
        os._exit(0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    pipe, orders, writer = (int(word) for word in sys.argv[1:4])
    with contextlib.suppress(OSError):
        os.chdir("/")
    LogProcess(pipe, socket.socket(fileno=orders), writer).run()


if __name__ == "__main__":
    main()
