"""Run the page's server: on loopback, silent, and with limits for clients that are slow or too many."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from orchestrator.errors import UsageError
from orchestrator.page.access import HOST, Guard
from orchestrator.page.followed_runs import FollowedRuns
from orchestrator.page.page_token import PageToken
from orchestrator.page.routes import application

REQUEST_SECONDS = 10.0  # in which the head of a request must have come
CONNECTIONS = 500
_HEAD_BYTES = 16_384
_START_SECONDS = 10.0


class Server:
    """The page at ``url``, until it is closed; ``port`` 0 takes a free one.

    Attributes:
        address: Where it is: the page of ``key``, or the list of all runs.
        tokens: What a request must hold: `orchestrator.page.page_token`.
        url: The address with a token that works once.

    Raises:
        UsageError: If the port is taken.
    """

    def __init__(self, runs: FollowedRuns, key: str | None = None, port: int = 0) -> None:
        self._socket = _listening(port)
        self.port = int(self._socket.getsockname()[1])
        self.tokens = PageToken(self.port)
        if key:
            runs.open(key)  # which begins to read its journal
        self.address = f"http://{HOST}:{self.port}/" + (f"runs/{key}" if key else "")
        self.url = self.tokens.url(self.address)
        logging.getLogger("uvicorn").setLevel(logging.CRITICAL + 1)  # its messages quote addresses
        config = uvicorn.Config(
            Guard(application(runs), self.tokens), http=_Patient, ws="none", lifespan="off", loop="asyncio",
            interface="asgi3", log_config=None, access_log=False, server_header=False, date_header=False,
            proxy_headers=False, limit_concurrency=CONNECTIONS, h11_max_incomplete_event_size=_HEAD_BYTES,
            timeout_graceful_shutdown=1,
        )  # fmt: skip
        self._server = uvicorn.Server(config)

    def serve(self) -> None:
        """Answer requests until the process is interrupted. Raises KeyboardInterrupt then."""
        self._server.run(sockets=[self._socket])

    def __enter__(self) -> Server:
        self._thread = threading.Thread(target=self.serve, name="page", daemon=True)
        self._thread.start()
        until = time.monotonic() + _START_SECONDS
        while not self._server.started and time.monotonic() < until:
            time.sleep(0.005)
        return self

    def __exit__(self, *error: object) -> None:
        self._server.should_exit = True
        self._thread.join()
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def _listening(port: int) -> socket.socket:
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise UsageError(
            f"the page cannot listen on port {port}: {error}", hint="omit --port to take a free one"
        ) from None
    return listener


class _Patient(H11Protocol):
    """Close a connection on which no whole request comes in time; uvicorn itself would wait for ever."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._limit()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._limit()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._late is not None:
            self._late.cancel()
        super().connection_lost(exc)

    def _limit(self) -> None:
        """Set the time in which a request must be whole, or end it if one is."""
        is_waiting = self.cycle is None or self.cycle.response_complete
        if is_waiting and self._late is None:
            self._late = self.loop.call_later(REQUEST_SECONDS, self.transport.close)
        elif not is_waiting and self._late is not None:
            self._late.cancel()
            self._late = None
