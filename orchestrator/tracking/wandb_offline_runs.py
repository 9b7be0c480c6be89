"""W&B's offline runs in ``<run>/wandb``, one folder for each part of a trial's W&B run.

A trial's W&B run is uploaded in parts: those that the tracker writes from the journal, and one for each segment whose
own code logs to W&B. `wandb sync` appends each part to the run of its id, and marks the part as sent.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from orchestrator.journal import read
from orchestrator.rundir import RunDirectory
from orchestrator.state import SweepState
from orchestrator.training.job import tracking_options

_PART = re.compile(r"offline-run-\d{8}_\d{6}-(?P<id>.+)-(?P<kind>part|segment)-(?P<number>\d+)")


@dataclass(frozen=True)
class Part:
    """One part: an offline run's folder."""

    folder: Path
    id: str
    kind: str
    number: int

    @property
    def log(self) -> Path:
        """The part's transaction log."""
        return self.folder / f"run-{self.id}.wandb"

    @property
    def marker(self) -> Path:
        """The file that `wandb sync` creates once it has sent the part."""
        return self.log.with_suffix(".wandb.synced")

    @property
    def sent(self) -> bool:
        """Whether the part was sent."""
        return self.marker.exists()


def parts(run: RunDirectory) -> Iterator[Part]:
    """Yield all parts of a sweep's runs, in the order of their start."""
    run.fetch_all("wandb")
    for folder in sorted((run.root / "wandb").glob("offline-run-*")):
        if match := _PART.fullmatch(folder.name):
            yield Part(folder, match["id"], match["kind"], int(match["number"]))


@dataclass
class Written:
    """What the tracker has written of one W&B run.

    Attributes:
        epochs: Epochs.
        rows: Rows of history.
        parts: Parts; also the next part's number.
        status: The trial's status, as of the last part.
    """

    epochs: list[float] = field(default_factory=list)
    rows: int = 0
    parts: int = 0
    status: str = ""


class Ledger:
    """``<run>/wandb/parts.json``: what was written of each run, and which parts were being sent.

    A part is recorded once it is complete. One that is not recorded was being written when its process died.

    Attributes:
        written: By W&B's id of the run.
        server_rows: By the same id, for runs that are being sent: the server's rows before.
    """

    def __init__(self, run: RunDirectory) -> None:
        self._run, self._file = run, run.root / "wandb" / "parts.json"
        content = json.loads(self._file.read_text()) if self._file.exists() else {}
        self.written = {id: Written(**fields) for id, fields in content.get("told", {}).items()}
        self.server_rows: dict[str, int] = content.get("begun", {})

    def clean(self) -> None:
        """Remove parts that are not recorded. Only the process that writes parts may call this.

        Nothing is removed behind a link.
        """
        if self._file.parent.is_symlink():
            return
        for part in parts(self._run):
            if part.kind == "part" and part.number >= self.of(part.id).parts:
                shutil.rmtree(part.folder)

    def of(self, id: str) -> Written:
        """Return the record of a run, which is empty at first."""
        return self.written.setdefault(id, Written())

    def save(self) -> None:
        """Replace the file atomically."""
        content = {"told": {id: asdict(record) for id, record in self.written.items()}, "begun": self.server_rows}
        self._file.parent.mkdir(exist_ok=True)
        temporary = self._file.with_suffix(".tmp")
        temporary.write_text(json.dumps(content))
        temporary.replace(self._file)


def unsent(run: RunDirectory) -> str:
    """Return how many W&B runs wait to be sent, with the command that sends them; empty if none does.

    The command is `wandb sync` if that suffices. It would send rows twice if an upload was interrupted, and would miss
    epochs that were not yet written; `sweep sync` handles both.
    """
    waiting, ledger = {part.id for part in parts(run) if not part.sent}, Ledger(run)
    sweep_sync = ["sweep", "sync", run.name, "--runs", str(run.runs)]
    if incomplete := _incomplete(run, ledger):
        return f"{len(waiting | incomplete)} W&B runs not written or not sent; to do both: {shlex.join(sweep_sync)}"
    if not waiting:
        return ""
    command = sweep_sync if waiting & set(ledger.server_rows) else ["wandb", "sync", str(run.root / "wandb")]
    return f"{len(waiting)} W&B run{'s'[: len(waiting) - 1]} not sent; to send: {shlex.join(command)}"


def _incomplete(run: RunDirectory, ledger: Ledger) -> set[str]:
    """Return the ids of W&B runs that lack an epoch of the journal."""
    state = SweepState(read(run.journal))
    options = {"wandb": state.spec["tracking"]["wandb"]}
    names = {number: tracking_options(options, run, state.started, number)["wandb"]["id"] for number in state.trials}
    return {
        names[number]
        for number, trial in state.trials.items()
        if set(trial.reports) - set(ledger.of(names[number]).epochs)
    }
