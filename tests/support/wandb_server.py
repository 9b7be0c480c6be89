"""A server that speaks as much of W&B's protocol as `wandb sync` needs, keeps what arrives, and can be hostile.

As the real one it keeps history by line: what is sent again to the same offset replaces what was there.
"""

from __future__ import annotations

import gzip
import json
import re
import socket
import struct
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODES = ("good", "refuses", "hangs", "errors", "drops", "slow")
SLOW_SECONDS = 2.0


class Run:
    """What the server has of one run."""

    def __init__(self) -> None:
        self.history: dict[int, dict[str, Any]] = {}
        self.summary: dict[str, Any] = {}
        self.config: dict[str, Any] = {}
        self.about: dict[str, Any] = {}
        self.files: list[str] = []
        self.exit_codes: list[int] = []

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [self.history[line] for line in sorted(self.history)]


class WandbServer(ThreadingHTTPServer):
    """``runs`` by name. ``mode`` is one of MODES; ``dying`` drops the connection after so many posts of history."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, mode: str = "good") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.mode, self.runs, self.artifacts, self.requests = mode, dict[str, Run](), list[dict[str, Any]](), 0
        self.keep_but_hang = 0  # so many posts of history are kept and never answered
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are expected."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: WandbServer

    def log_message(self, *args: Any) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        if self._civil():
            self._answer({})

    def do_PUT(self) -> None:
        self._body()
        if self._civil():
            self._answer({})

    def do_POST(self) -> None:
        body = self._body()
        if not self._civil():
            return
        if self.path == "/graphql":
            self._answer({"data": self._graphql(json.loads(body))})
        elif match := re.fullmatch(r"/files/[^/]+/[^/]+/([^/]+)/file_stream", self.path):
            with self.server.lock:
                self._keep(self.server.runs.setdefault(match[1], Run()), json.loads(body))
                hang = self.server.keep_but_hang > 0 and "wandb-history.jsonl" in (json.loads(body).get("files") or {})
                self.server.keep_but_hang -= hang
            if hang:
                time.sleep(60)
            self._answer({"exitcode": None, "limits": {}})
        else:
            self._answer({})

    def _civil(self) -> bool:
        """Be as hostile as was asked for; False where there is nothing more to say."""
        self.server.requests += 1
        mode = self.server.mode
        if mode == "hangs":
            time.sleep(60)
        if mode == "errors":
            self._answer({"error": "no"}, 500)
        if mode == "drops":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        if mode == "slow":
            time.sleep(SLOW_SECONDS)
        return mode in ("good", "slow")

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _answer(self, content: Any, code: int = 200) -> None:
        body = json.dumps(content).encode()
        with suppress(OSError):
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def _keep(self, run: Run, sent: dict[str, Any]) -> None:
        for name, chunk in (sent.get("files") or {}).items():
            if name == "wandb-history.jsonl":
                for line, text in enumerate(chunk["content"], chunk["offset"]):
                    run.history[line] = json.loads(text)
            if name == "wandb-summary.json":
                run.summary = json.loads(chunk["content"][-1])
        if sent.get("complete"):
            run.exit_codes.append(sent["exitcode"])

    def _graphql(self, asked: dict[str, Any]) -> dict[str, Any]:
        name = (re.search(r"(?:query|mutation)\s+(\w+)", asked["query"]) or ["", ""])[1]
        told = asked.get("variables") or {}
        with self.server.lock:
            found: dict[str, Any] = getattr(self, f"_on_{name}", lambda told: {})(told)
        return found

    def _bucket(self, name: str, run: Run) -> dict[str, Any]:
        project = {"id": "P", "name": "p", "entity": {"id": "E", "name": "me"}}
        return {
            "id": f"B-{name}", "name": name, "displayName": name, "description": None, "config": "{}",
            "project": project, "sweepName": None, "historyLineCount": len(run.history), "eventsLineCount": 0,
            "logLineCount": 0,
            "historyTail": json.dumps([json.dumps(row) for row in run.rows[-1:]]), "eventsTail": "[]",
            "summaryMetrics": json.dumps(run.summary), "wandbConfig": None, "tags": run.about.get("tags") or [],
        }  # fmt: skip

    def _on_Viewer(self, told: dict[str, Any]) -> dict[str, Any]:
        return {"viewer": {"id": "u", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}}

    def _on_Rows(self, told: dict[str, Any]) -> dict[str, Any]:
        return self._on_RunResumeStatus(told)

    def _on_RunResumeStatus(self, told: dict[str, Any]) -> dict[str, Any]:
        run = self.server.runs.get(told["name"])
        bucket = self._bucket(told["name"], run) if run else None
        return {"model": {"id": "P", "name": "p", "entity": {"id": "E", "name": "me"}, "bucket": bucket}}

    def _on_UpsertBucket(self, told: dict[str, Any]) -> dict[str, Any]:
        name, new = told["name"], told["name"] not in self.server.runs
        run = self.server.runs.setdefault(name, Run())
        run.about |= {key: value for key, value in told.items() if value is not None}
        if told.get("config"):
            run.config = {key: value["value"] for key, value in json.loads(told["config"]).items()}
        return {"upsertBucket": {"bucket": self._bucket(name, run), "inserted": new}}

    def _on_CreateRunFiles(self, told: dict[str, Any]) -> dict[str, Any]:
        self.server.runs.setdefault(told["run"], Run()).files += told["files"]
        files = [{"name": name, "uploadUrl": f"{self.server.url}/storage/{name}"} for name in told["files"]]
        return {"createRunFiles": {"runID": told["run"], "uploadHeaders": [], "files": files}}

    def _on_CreateArtifact(self, told: dict[str, Any]) -> dict[str, Any]:
        self.server.artifacts.append(told)
        name = f"A{len(self.server.artifacts)}"
        artifact = {"id": name, "state": "COMMITTED", "artifactSequence": {"id": "S", "latestArtifact": None}}
        return {"createArtifact": {"artifact": artifact}}


@contextmanager
def wandb_server(mode: str = "good") -> Any:
    """A server that listens, but for ``refuses``: there nobody does."""
    server = WandbServer(mode)
    if mode == "refuses":
        server.server_close()
        yield server
        return
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
