"""Serve optuna-dashboard on loopback: read-only, with a token, and only under this machine's own names."""

from __future__ import annotations

import csv
import io
import json
import re
import socketserver
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from orchestrator.dashboard.optuna_mirror import Sweeps
from orchestrator.dashboard.optuna_storage import JournalStorage
from orchestrator.dashboard.page_token import PageToken
from orchestrator.errors import UsageError
from orchestrator.extras import require
from orchestrator.safe_text import csv_cell

HOST = "127.0.0.1"
_HOSTS = frozenset({HOST, "localhost", "[::1]"})
_PORT = re.compile(r":\d+$")
_MAX_REFUSED = 1 << 16  # bytes of a refused request that are read, so that its sender gets the answer


class Server:
    """The dashboard at ``url``, until it is closed; ``port`` 0 takes a free one.

    Attributes:
        address: Where it is.
        token: What a request must hold: `orchestrator.dashboard.page_token`.
        url: The address with the token.

    Raises:
        UsageError: If the port is taken.
    """

    def __init__(self, sweeps: Sweeps, port: int = 0) -> None:
        try:
            self._server = _Threaded((HOST, port), _Quiet)
        except OSError as error:
            raise UsageError(
                f"the dashboard cannot listen on port {port}: {error}", hint="omit --port to take a free one"
            ) from None
        token = PageToken(self._server.server_port)
        self._server.set_app(guarded(_dashboard(sweeps), sweeps, token))
        studies = sweeps.studies()
        page = f"dashboard/studies/{studies[0].number}" if len(studies) == 1 else "dashboard"
        self.address = f"http://{HOST}:{self._server.server_port}/{page}"
        self.token = token.value
        self.url = token.url(self.address)

    def serve(self) -> None:
        """Answer requests until the process is interrupted."""
        self._server.serve_forever(poll_interval=0.2)

    def __enter__(self) -> Server:
        self._thread = threading.Thread(target=self.serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._server.server_close()


class _Threaded(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        """Bind without a name look-up, which takes seconds if no name server answers."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore errors; a browser that does not wait for its answer is none."""


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


def _dashboard(sweeps: Sweeps) -> WSGIApplication:
    require("optuna_dashboard", purpose="`sweep dashboard`")
    import optuna
    import optuna_dashboard

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", module=r"optuna(_dashboard)?\.")  # about library internals
    app: WSGIApplication = optuna_dashboard.wsgi(JournalStorage(sweeps))
    return app


def guarded(app: WSGIApplication, sweeps: Sweeps, token: PageToken) -> WSGIApplication:
    """Return the application for those who have the token, and for readers only.

    Every user of the machine reaches a port of loopback, and so does every page that a browser shows.

    Another site may point its own name at this machine ("DNS rebinding"), and a browser then lets it read the answers,
    so requests under other names are refused. Writing requests are refused too, since nothing would store their
    changes.
    """

    def answer(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        if _PORT.sub("", str(environ.get("HTTP_HOST", ""))) not in _HOSTS:
            return _refused(environ, start, "open the address that sweep dashboard prints")
        if login := token.login(environ):
            start("303 See Other", login)
            return []
        if not token.allows(environ):
            return _refused(environ, start, "open the address that sweep dashboard prints, with its token")
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _refused(environ, start, "the dashboard is read-only")
        path = str(environ.get("PATH_INFO", ""))
        if path.startswith(("/api/", "/csv/")):
            sweeps.refresh()
        return _escaped_csv(app, environ, start) if path.startswith("/csv/") else app(environ, start)

    return answer


def _refused(environ: WSGIEnvironment, start: StartResponse, reason: str) -> list[bytes]:
    length = environ.get("CONTENT_LENGTH") or "0"
    if length.isdecimal() and int(length):
        environ["wsgi.input"].read(min(int(length), _MAX_REFUSED))
    start("403 Forbidden", [("Content-Type", "application/json")])
    return [json.dumps({"reason": reason}).encode()]


def _escaped_csv(app: WSGIApplication, environ: WSGIEnvironment, start: StartResponse) -> list[bytes]:
    """Return the dashboard's CSV with cells escaped that a spreadsheet would take for formulas."""
    response: list[Any] = []

    def note(status: str, headers: list[tuple[str, str]], *rest: Any) -> Callable[[bytes], object]:
        response[:] = status, [header for header in headers if header[0].lower() != "content-length"]
        return lambda _: None

    content = b"".join(app(environ, note)).decode()
    start(*response)
    return [_rows(csv.reader(io.StringIO(content))).encode()] if response[0].startswith("200") else [content.encode()]


def _rows(rows: Iterator[list[str]]) -> str:
    out = io.StringIO()
    csv.writer(out).writerows([csv_cell(cell) for cell in row] for row in rows)
    return out.getvalue()
