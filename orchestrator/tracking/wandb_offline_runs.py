"""The folder of W&B's offline runs: ``<run>/wandb``, a folder for each part of a trial's run.

A trial's run is sent in parts, one after another: those that the tracker writes from the journal, and one for each
segment whose own code has logged something. W&B adds each to the run of its id, and marks it as sent.
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
    """One offline folder."""

    folder: Path
    id: str
    kind: str
    number: int

    @property
    def log(self) -> Path:
        """Where W&B has written what it was told."""
        return self.folder / f"run-{self.id}.wandb"

    @property
    def marker(self) -> Path:
        """There once W&B has sent the part."""
        return self.log.with_suffix(".wandb.synced")

    @property
    def sent(self) -> bool:
        """Whether W&B has sent the part."""
        return self.marker.exists()


def parts(run: RunDirectory) -> Iterator[Part]:
    """All that are there, in the order in which they were begun."""
    run.fetch_all("wandb")
    for folder in sorted((run.root / "wandb").glob("offline-run-*")):
        if match := _PART.fullmatch(folder.name):
            yield Part(folder, match["id"], match["kind"], int(match["number"]))


@dataclass
class Told:
    """What the parts of one run hold already: epochs, rows of history, and how the trial stood."""

    epochs: list[int] = field(default_factory=list)
    rows: int = 0
    parts: int = 0
    status: str = ""


class Ledger:
    """``<run>/wandb/parts.json``: what was written of each run, and which parts were being sent.

    A part is on record once it is whole; one that is not was being written when its process died, and is removed.
    """

    def __init__(self, run: RunDirectory) -> None:
        self._run, self._file = run, run.root / "wandb" / "parts.json"
        held = json.loads(self._file.read_text()) if self._file.exists() else {}
        self.told = {id: Told(**known) for id, known in held.get("told", {}).items()}
        self.begun: dict[str, int] = held.get("begun", {})

    def clean(self) -> None:
        """Remove parts that are not on record. For the one process that writes parts."""
        for part in parts(self._run):
            if part.kind == "part" and part.number >= self.of(part.id).parts:
                shutil.rmtree(part.folder)

    def of(self, id: str) -> Told:
        """Return what is on record of a run; an empty record if nothing is."""
        return self.told.setdefault(id, Told())

    def save(self) -> None:
        """Put it on the disk, whole or not at all."""
        content = {"told": {id: asdict(known) for id, known in self.told.items()}, "begun": self.begun}
        self._file.parent.mkdir(exist_ok=True)
        beside = self._file.with_suffix(".tmp")
        beside.write_text(json.dumps(content))
        beside.replace(self._file)


def unsent(run: RunDirectory) -> str:
    """What waits to be sent to W&B and the command that sends it; empty where nothing does.

    Where a part was cut off while it was sent, `wandb sync` would send some of it twice; and where the time did not
    suffice to write all, it would not find it. Ours looks to both.
    """
    waiting, ledger = {part.id for part in parts(run) if not part.sent}, Ledger(run)
    ours = ["sweep", "sync", run.name, "--runs", str(run.runs)]
    if behind := _behind(run, ledger):
        return f"{len(waiting | behind)} W&B runs not written or not sent; do both: {shlex.join(ours)}"
    if not waiting:
        return ""
    command = ours if waiting & set(ledger.begun) else ["wandb", "sync", str(run.root / "wandb")]
    return f"{len(waiting)} W&B run{'s'[: len(waiting) - 1]} not sent; to send: {shlex.join(command)}"


def _behind(run: RunDirectory, ledger: Ledger) -> set[str]:
    """The runs that lack an epoch of the journal."""
    state = SweepState(read(run.journal))
    options = {"wandb": state.spec["tracking"]["wandb"]}
    names = {number: tracking_options(options, run, state.started, number)["wandb"]["id"] for number in state.trials}
    return {
        names[number]
        for number, trial in state.trials.items()
        if set(trial.reports) - set(ledger.of(names[number]).epochs)
    }
