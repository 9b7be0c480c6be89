"""Upload offline runs by `wandb sync` in a process of its own, and only while the server answers.

W&B appends a part to the rows that the server has of its run. So the server's row count is recorded before a part is
sent. After an interruption, the new count minus the recorded one is the number of rows that arrived; they are cut from
the part before it is sent again.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
import urllib.request
from itertools import groupby
from pathlib import Path
from typing import Any

from orchestrator.rundir import RunDirectory
from orchestrator.secrets import wandb_key, wandb_url
from orchestrator.tracking import wandb_transaction_log
from orchestrator.tracking.wandb_offline_runs import Ledger, Part, parts

_ANSWER_SECONDS = 5.0
_REST_SECONDS = (15.0, 300.0)
"""Pause between batches: the first, and the maximum that it doubles to while the server does not answer."""
_BATCH = 64
_POLL_SECONDS = 0.1
_QUERY = """query Rows($project: String, $entity: String, $name: String!) {
  model(name: $project, entityName: $entity) { bucket(name: $name, missingOk: true) { historyLineCount } }
}"""


class WandbSync:
    """Uploads parts in batches, with at most one `wandb sync` at a time."""

    def __init__(self, run: RunDirectory, ledger: Ledger, options: dict[str, Any]) -> None:
        self._run, self._ledger, self._options = run, ledger, options
        self._process: subprocess.Popen[bytes] | None = None
        self._sending: list[Part] = []
        self._rest, self._next = _REST_SECONDS[0], 0.0

    def begin(self, busy: set[str]) -> bool:
        """Start to send the unsent parts, without segments of the runs in ``busy``. Return whether a batch started.

        Raises:
            OSError: The server does not answer. Also ValueError, KeyError or TypeError for an unexpected answer.
        """
        if self._is_running() or time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + self._rest
        waiting = [
            part for part in parts(self._run) if not part.sent and not (part.kind == "segment" and part.id in busy)
        ]
        try:
            batch = self._next_batch(waiting)
        except (OSError, ValueError, KeyError, TypeError):
            self._rest = min(2 * self._rest, _REST_SECONDS[1])
            raise
        self._rest = _REST_SECONDS[0]
        if batch:
            self._sending = batch
            self._process = _sync(batch, self._run.root.absolute())
        return bool(batch)

    def finish(self) -> None:
        """Send all unsent parts, until none is left or a batch sends nothing."""
        previous = None
        while True:
            while self._is_running():
                time.sleep(_POLL_SECONDS)
            unsent = [part.folder for part in parts(self._run) if not part.sent]
            if not unsent or unsent == previous:
                return
            previous, self._next = unsent, 0.0
            self.begin(set())

    def _is_running(self) -> bool:
        if self._process is None:
            return False
        done = all(part.sent for part in self._sending)
        if not done and self._process.poll() is None:
            return True
        self._process.kill()  # once all parts are marked as sent, it only prints a summary
        self._process.wait()
        self._process = None
        for part in self._sending:
            if all(sibling.sent for sibling in self._sending if sibling.id == part.id):
                self._ledger.server_rows.pop(part.id, None)
        self._ledger.save()
        return False

    def _next_batch(self, waiting: list[Part]) -> list[Part]:
        """Return the parts to send now, without the rows that the server has already."""
        batch: list[Part] = []
        for id, group in groupby(sorted(waiting, key=lambda part: part.id), key=lambda part: part.id):
            if len(batch) >= _BATCH:
                break
            count, ordered = self._server_rows(id), sorted(group, key=lambda part: part.folder.name)
            if id in self._ledger.server_rows:
                _cut_arrived(ordered, count - self._ledger.server_rows[id])
            self._ledger.server_rows[id] = count
            batch += ordered
        self._ledger.save()
        return batch

    def _server_rows(self, id: str) -> int:
        """Return the number of rows that the server has of a run. Raises as `begin`."""
        variables = {"project": self._options["project"], "entity": self._options["entity"], "name": id}
        key = base64.b64encode(f"api:{wandb_key() or ''}".encode()).decode()
        request = urllib.request.Request(
            f"{wandb_url()}/graphql",
            json.dumps({"query": _QUERY, "variables": variables}).encode(),
            {"Content-Type": "application/json", "Authorization": f"Basic {key}"},
        )
        with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as answer:
            model = json.load(answer)["data"]["model"]
        bucket = model["bucket"] if model else None
        return int(bucket["historyLineCount"]) if bucket else 0


def _cut_arrived(group: list[Part], arrived: int) -> None:
    """Cut the first ``arrived`` rows from a run's parts. A part without rows is kept: its summary may be missing."""
    for part in group:
        if arrived <= 0:
            return
        rows = wandb_transaction_log.rows(part.log)
        wandb_transaction_log.cut(part.log, min(rows, arrived))
        arrived -= rows


def _sync(batch: list[Part], root: Path) -> subprocess.Popen[bytes]:
    """Start `wandb sync` with a W&B service of its own, because ours is busy writing. Its logs go to ``wandb/``."""
    command = [sys.executable, "-P", "-m", "wandb", "sync", *(str(part.folder.absolute()) for part in batch)]
    environment = {name: value for name, value in os.environ.items() if name not in ("WANDB_SERVICE", "WANDB_MODE")}
    environment["WANDB_DIR"] = str(root)
    null = subprocess.DEVNULL
    return subprocess.Popen(command, stdin=null, stdout=null, stderr=null, env=environment, cwd=root)
