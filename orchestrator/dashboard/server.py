"""optuna-dashboard on loopback: read-only, and only for who asks it by a name of this machine's own."""

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
from orchestrator.errors import UsageError
from orchestrator.extras import require
from orchestrator.safe_text import csv_cell

HOST = "127.0.0.1"
_HOSTS = frozenset({HOST, "localhost", "[::1]"})
_PORT = re.compile(r":\d+$")
_UNREAD = 1 << 16  # bytes of a refused request that are read, so that its sender waits for the answer


class Server:
    """The dashboard at ``url``, until it is closed. ``port`` 0 takes a free one.

    Raises UsageError where the port is taken.
    """

    def __init__(self, sweeps: Sweeps, port: int = 0) -> None:
        try:
            self._server = _Threaded((HOST, port), _Quiet)
        except OSError as error:
            raise UsageError(f"port {port} cannot be listened on: {error}", hint="leave --port out") from None
        self._server.set_app(guarded(_dashboard(sweeps), sweeps))
        studies = sweeps.studies()
        page = f"dashboard/studies/{studies[0].number}" if len(studies) == 1 else "dashboard"
        self.url = f"http://{HOST}:{self._server.server_port}/{page}"

    def serve(self) -> None:
        """Answer until the process is interrupted."""
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
        self._server.server_close()


class _Threaded(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        """Without the look-up of a name, which takes seconds where no name server answers."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = HOST, int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that does not wait for its answer is no error."""


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads of each request."""


def _dashboard(sweeps: Sweeps) -> WSGIApplication:
    require("optuna_dashboard", purpose="`sweep dashboard`")
    import optuna
    import optuna_dashboard

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", module=r"optuna(_dashboard)?\.")  # the library's own affairs, not its reader's
    app: WSGIApplication = optuna_dashboard.wsgi(JournalStorage(sweeps))
    return app


def guarded(app: WSGIApplication, sweeps: Sweeps) -> WSGIApplication:
    """The application for readers alone.

    Another site may point its own name at this machine ("DNS rebinding"), and a browser then lets it read the answers:
    only this machine's names are answered. What would change something is refused: it would be gone with the process.
    """

    def answer(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        if _PORT.sub("", str(environ.get("HTTP_HOST", ""))) not in _HOSTS:
            return _refused(environ, start, "ask for it at the address that sweep dashboard prints")
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _refused(environ, start, "this shows the sweep's journal and can only be read")
        path = str(environ.get("PATH_INFO", ""))
        if path.startswith(("/api/", "/csv/")):
            sweeps.refresh()
        return _inert_csv(app, environ, start) if path.startswith("/csv/") else app(environ, start)

    return answer


def _refused(environ: WSGIEnvironment, start: StartResponse, reason: str) -> list[bytes]:
    length = environ.get("CONTENT_LENGTH") or "0"
    if length.isdecimal() and int(length):
        environ["wsgi.input"].read(min(int(length), _UNREAD))
    start("403 Forbidden", [("Content-Type", "application/json")])
    return [json.dumps({"reason": reason}).encode()]


def _inert_csv(app: WSGIApplication, environ: WSGIEnvironment, start: StartResponse) -> list[bytes]:
    """The table that the dashboard offers, with no cell that a spreadsheet takes for a formula."""
    told: list[Any] = []

    def note(status: str, headers: list[tuple[str, str]], *rest: Any) -> Callable[[bytes], object]:
        told[:] = status, [header for header in headers if header[0].lower() != "content-length"]
        return lambda _: None

    content = b"".join(app(environ, note)).decode()
    start(*told)
    return [_rows(csv.reader(io.StringIO(content))).encode()] if told[0].startswith("200") else [content.encode()]


def _rows(rows: Iterator[list[str]]) -> str:
    out = io.StringIO()
    csv.writer(out).writerows([csv_cell(cell) for cell in row] for row in rows)
    return out.getvalue()
