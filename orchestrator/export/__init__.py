"""Export the winner as a bundle: a folder with the model in several formats, each compared with the checkpoint.

`atomic_folder` writes the folder, `validation_samples` reads data to compare on, `format` is the base class of
`formats`, `parity` compares, `write_formats` writes all formats, `bundle_records`, `model_card` and `curve_figure` make
the other files.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.bundle.bundle_author import bundle_authors
from orchestrator.bundle.bundle_manifest import (
    CARD,
    CHECKPOINT,
    CONFIG,
    CURVE,
    DIFF,
    MANIFEST,
    PREPROCESSING,
    dump,
    seal,
)
from orchestrator.durable_files import write_durably
from orchestrator.export.atomic_folder import atomic_folder, copy_checkpoint, copy_if_exists, file_digests
from orchestrator.export.bundle_records import config, manifest_content
from orchestrator.export.model_card import card
from orchestrator.extras import require
from orchestrator.results.run_state import find, read_state
from orchestrator.results.run_trust import trusted_roots
from orchestrator.results.winner import Winner, settings, winner
from orchestrator.rundir import RunDirectory
from orchestrator.secrets import masked, masked_values
from orchestrator.state import SweepState
from orchestrator.training.doors.folder_checkpoint import require_module

if TYPE_CHECKING:
    from orchestrator.export.write_formats import Exported

__all__ = ["ExportReport", "export"]


@dataclass(frozen=True)
class ExportReport:
    """The result of an export.

    Attributes:
        folder: the bundle's folder.
        present: names of the formats that were written.
        missing: format → reason why it was not written.
        seconds: duration of the export.
    """

    folder: Path
    present: Sequence[str]
    missing: dict[str, str]
    seconds: float


def export(
    name: str,
    runs: str | Path | None = None,
    *,
    trial: int | None = None,
    to: str | Path | None = None,
    formats: Sequence[str] | None = None,
    trust: bool = False,
) -> ExportReport:
    """Write the winner, or another trial at its best report, as a bundle.

    Each format is loaded and run on validation data, and must reproduce the checkpoint's outputs. A format that cannot
    be made is left out, and the manifest records the reason. The folder appears complete or not at all.

    This imports and builds the classes that the sweep's file names. docs/bundles.md describes the bundle.

    Args:
        name: name of the run.
        runs: folder or URL of the run directories.
        trial: number of the trial; by default the winner.
        to: folder of the bundle, which must not exist; by default ``<run directory>/export/trial-0007-epoch-12``, or
            ``./NAME-export/…`` for a run in object storage.
        formats: names of formats to write in addition to the checkpoint; by default all: ``safetensors``, ``onnx``,
            ``pt2`` and those of installed packages.
        trust: import what the run names, although somebody else wrote it.

    Raises:
        UntrustedRunError: somebody else wrote the run, and it is not trusted.
        UsageError: there is no such run, trial, checkpoint or format, a class cannot be built, or the folder exists.
        MissingExtraError: a package that the export or a named format requires is not installed.
        CheckpointError: the checkpoint is damaged.
        ParityError: a format does not reproduce the checkpoint's outputs.
    """
    began = time.monotonic()
    require("matplotlib", purpose="an export")
    run = find(name, runs)
    state = read_state(run)
    exported_trial = winner(run, state, trial)
    require_module(settings(exported_trial)[0], exported_trial.run.fetch(exported_trial.checkpoint.path), "export")
    roots = trusted_roots(run, state, trust=trust)
    roots += trusted_roots(exported_trial.run, exported_trial.state, trust=trust)
    folder = Path(to) if to else _default_folder(run) / _default_name(exported_trial)
    with atomic_folder(folder) as temporary:
        exported = _fill(temporary, run, state, exported_trial, roots, formats)
    return ExportReport(folder, exported.present, exported.missing, time.monotonic() - began)


def _default_folder(run: RunDirectory) -> Path:
    """Return a folder in the run directory, or in the present folder for a run in object storage."""
    return Path(f"{run.name}-export") if run.url else run.root / "export"


def _default_name(winner: Winner) -> str:
    finals = "finals-" if winner.confirmed else ""
    return f"{finals}trial-{winner.trial.number:04d}-epoch-{winner.epoch:g}"


def _fill(
    folder: Path,
    run: RunDirectory,
    state: SweepState,
    winner: Winner,
    roots: list[str],
    formats: Sequence[str] | None,
) -> Exported:
    copy_checkpoint(winner.run.fetch(winner.checkpoint.path), folder / CHECKPOINT, winner.checkpoint)
    # Both import heavy libraries, which a refused export must not wait for.
    from orchestrator.export.curve_figure import curve
    from orchestrator.export.write_formats import export_formats

    training = config(winner)
    exported = export_formats(folder, training, roots, formats)
    files = {
        CONFIG: dump(training),
        CURVE: curve(winner).encode(),
        CARD: card(run, state, winner, training, exported).encode(),
        **({PREPROCESSING: dump(exported.preprocessing.as_json())} if exported.preprocessing else {}),
    }
    for name, content in files.items():
        write_durably(folder / name, masked(content.decode()).encode())
    copy_if_exists(run.diff, folder / DIFF)
    digests = file_digests(folder)
    manifest = manifest_content(state, winner, exported, digests)
    written = json.loads((folder / CONFIG).read_bytes())
    manifest["authors"] = bundle_authors(written, {name: sha256 for name, (_, sha256) in digests.items()})
    write_durably(folder / MANIFEST, seal(masked_values(manifest)))
    return exported
