"""Sending what was written: by `wandb sync` in a process of its own, and only while the server answers.

The server counts the rows of each run, and W&B adds what is sent behind them. So before a part is sent that count is
put on record; where the sending was cut off, the count tells how much of the part had arrived, and that is cut out.
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
"""Between two batches at least, and at most after a server that does not answer: twice as long each time."""
_BATCH = 64
_LOOK_SECONDS = 0.1
_QUERY = """query Rows($project: String, $entity: String, $name: String!) {
  model(name: $project, entityName: $entity) { bucket(name: $name, missingOk: true) { historyLineCount } }
}"""


class Shipping:
    """At most one `wandb sync` at a time."""

    def __init__(self, run: RunDirectory, ledger: Ledger, options: dict[str, Any]) -> None:
        self._run, self._ledger, self._options = run, ledger, options
        self._process: subprocess.Popen[bytes] | None = None
        self._sending: list[Part] = []
        self._rest, self._next = _REST_SECONDS[0], 0.0

    def begin(self, busy: set[str]) -> bool:
        """Begin to send what waits, but the segments of the runs that are ``busy``. False where nothing was begun."""
        if self._working() or time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + self._rest
        waiting = [
            part for part in parts(self._run) if not part.sent and not (part.kind == "segment" and part.id in busy)
        ]
        try:
            batch = self._ready(waiting)
        except (OSError, ValueError, KeyError, TypeError):
            self._rest = min(2 * self._rest, _REST_SECONDS[1])
            raise
        self._rest = _REST_SECONDS[0]
        if batch:
            self._sending = batch
            self._process = _sync(batch, self._run.root.absolute())
        return bool(batch)

    def finish(self) -> None:
        """Send all that waits, while that comes to something."""
        before = None
        while True:
            while self._working():
                time.sleep(_LOOK_SECONDS)
            left = [part.folder for part in parts(self._run) if not part.sent]
            if not left or left == before:
                return
            before, self._next = left, 0.0
            self.begin(set())

    def _working(self) -> bool:
        if self._process is None:
            return False
        done = all(part.sent for part in self._sending)
        if not done and self._process.poll() is None:
            return True
        self._process.kill()  # once all is marked as sent, it only says good-bye
        self._process.wait()
        self._process = None
        for part in self._sending:
            if part.sent and all(other.sent for other in self._sending if other.id == part.id):
                self._ledger.begun.pop(part.id, None)
        self._ledger.save()
        return False

    def _ready(self, waiting: list[Part]) -> list[Part]:
        """The parts to send now, each as it has to be sent."""
        batch: list[Part] = []
        for id, group in groupby(sorted(waiting, key=lambda part: part.id), key=lambda part: part.id):
            if len(batch) >= _BATCH:
                break
            there, mine = self._rows(id), sorted(group, key=lambda part: part.folder.name)
            if id in self._ledger.begun:
                mine = _left(mine, there - self._ledger.begun[id])
            self._ledger.begun[id] = there
            batch += mine
        self._ledger.save()
        return batch

    def _rows(self, id: str) -> int:
        """How many rows the server has of that run. Raises OSError, ValueError and the like where it does not say."""
        about = {"project": self._options["project"], "entity": self._options["entity"], "name": id}
        key = base64.b64encode(f"api:{wandb_key() or ''}".encode()).decode()
        request = urllib.request.Request(
            f"{wandb_url()}/graphql",
            json.dumps({"query": _QUERY, "variables": about}).encode(),
            {"Content-Type": "application/json", "Authorization": f"Basic {key}"},
        )
        with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as answer:
            model = json.load(answer)["data"]["model"]
        bucket = model["bucket"] if model else None
        return int(bucket["historyLineCount"]) if bucket else 0


def _left(group: list[Part], arrived: int) -> list[Part]:
    """What of a run's parts is still to be sent, where so many rows of them have arrived."""
    left = []
    for part in group:
        held = wandb_transaction_log.rows(part.log)
        if arrived >= held and arrived > 0:
            wandb_transaction_log.cut(part.log, held)  # its summary and files may not have arrived
        elif arrived > 0:
            wandb_transaction_log.cut(part.log, arrived)
        arrived = max(0, arrived - held)
        left.append(part)
    return left


def _sync(batch: list[Part], root: Path) -> subprocess.Popen[bytes]:
    """W&B's own command, with a service of its own: ours is busy writing. It leaves logs in ``wandb/`` there."""
    command = [sys.executable, "-P", "-m", "wandb", "sync", *(str(part.folder.absolute()) for part in batch)]
    kept = {name: value for name, value in os.environ.items() if name not in ("WANDB_SERVICE", "WANDB_MODE")}
    around = kept | {"WANDB_DIR": str(root)}
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, env=around, cwd=root)
