"""The winner as a bundle: a folder of its own, whole or not at all, each format of it compared with the checkpoint.

`folder` writes and renames, `samples` reads validation data, `formats` says what a model is written as, `parity` what
counts as the same, `config`, `preprocessing`, `card`, `curve` and `record` make the files beside the model.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.bundle.manifest import CARD, CHECKPOINT, CONFIG, CURVE, DIFF, MANIFEST, PREPROCESSING, dump, seal
from orchestrator.durable_files import write_durably
from orchestrator.export.atomic_folder import copy, copy_if_there, write_as_one, written
from orchestrator.export.curve_figure import curve
from orchestrator.export.manifest_record import record
from orchestrator.export.model_card import card
from orchestrator.export.training_config import config
from orchestrator.results.run_state import find, read_state
from orchestrator.results.winner import Winner, winner
from orchestrator.rundir import RunDirectory
from orchestrator.secrets import masked, masked_values
from orchestrator.state import SweepState

if TYPE_CHECKING:
    from orchestrator.export.write_formats import Exported

__all__ = ["Report", "export", "export_with_report"]


def export(
    name: str, runs: str | Path | None = None, *, trial: int | None = None, to: str | Path | None = None
) -> Path:
    """Write the winner, or another trial at its best epoch, as a bundle, and return its folder.

    The folder is ``<run directory>/export/trial-0007-epoch-12`` (``./NAME-export/…`` where that is in object storage),
    or ``to``, and must not be there yet; docs/bundles.md says what it holds. The model is written as safetensors, ONNX
    and a ``torch.export`` program. Each is loaded and run on validation data, and has to give what the checkpoint
    gives; a format that cannot be made is left out, with the reason in the manifest. All is built under another name
    beside and renamed when it is on the disk.

    This imports and builds the classes that the sweep's file names. Raises UsageError where there is no such run, trial
    or checkpoint, a class cannot be built or the folder exists, CheckpointError where the checkpoint is not what was
    written, and ParityError where a format disagrees with it.
    """
    return export_with_report(name, runs, trial=trial, to=to).folder


class Report:
    """What an export came to: its ``folder``, which formats are there and which are not, and how long it took."""

    def __init__(self, folder: Path, exported: Exported, seconds: float) -> None:
        self.folder, self.missing, self.seconds = folder, exported.missing, seconds
        self.present = exported.present


def export_with_report(
    name: str, runs: str | Path | None = None, *, trial: int | None = None, to: str | Path | None = None
) -> Report:
    """As `export`, and what it came to."""
    began = time.monotonic()
    run = find(name, runs)
    state = read_state(run)
    won = winner(run, state, trial)
    folder = Path(to) if to else _default_folder(run) / _default_name(won)
    with write_as_one(folder) as temporary:
        exported = _fill(temporary, run, state, won)
    return Report(folder, exported, time.monotonic() - began)


def _default_folder(run: RunDirectory) -> Path:
    """In the run directory; of a run in object storage, here where the user is, who takes the bundle away."""
    return Path(f"{run.name}-export") if run.url else run.root / "export"


def _default_name(won: Winner) -> str:
    finals = "finals-" if won.confirmed else ""
    return f"{finals}trial-{won.trial.number:04d}-epoch-{won.best.epoch}"


def _fill(folder: Path, run: RunDirectory, state: SweepState, won: Winner) -> Exported:
    copy(won.run.fetch(won.checkpoint.path), folder / CHECKPOINT, won.checkpoint)
    from orchestrator.export.write_formats import (
        export_formats,  # torch and Lightning: what is refused is refused at once
    )

    about = config(won)
    exported = export_formats(folder, about, run.outside(state.created.get("roots", [])))
    files = {
        CONFIG: dump(about),
        CURVE: curve(won).encode(),
        CARD: card(run, state, won, about, exported).encode(),
        **({PREPROCESSING: dump(exported.preprocessing.as_json())} if exported.preprocessing else {}),
    }
    for name, content in files.items():
        write_durably(folder / name, masked(content.decode()).encode())
    copy_if_there(run.diff, folder / DIFF)
    write_durably(folder / MANIFEST, seal(masked_values(record(state, won, exported, written(folder)))))
    return exported
