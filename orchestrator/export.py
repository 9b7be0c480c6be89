"""The best checkpoint as a bundle: a folder of its own, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from orchestrator.errors import CheckpointError, UsageError
from orchestrator.files import fingerprint, settle, sync_folder, write_durably
from orchestrator.results.rows import find, read_state
from orchestrator.results.winner import winner
from orchestrator.spec import SweepSpec, apply
from orchestrator.state import Best, Checkpoint, SweepState, Trial

MODEL, CONFIG, MANIFEST = "model.ckpt", "config.json", "MANIFEST.json"
_CHUNK = 1 << 20
_LEFT_OVER = re.compile(r"\..+\.(?P<pid>\d+)\.tmp")


def export(
    name: str, runs: str | Path | None = None, *, trial: int | None = None, to: str | Path | None = None
) -> Path:
    """Write the winner, or another trial at its best epoch, as a bundle, and return its folder.

    The folder is ``<run directory>/export/trial-0007-epoch-12``, or ``to``, and must not be there yet. It holds
    ``model.ckpt`` (the Lightning checkpoint, compared with its SHA-256 as it is copied), ``config.json`` (what was
    trained, on what, with which parameters) and ``MANIFEST.json`` (size and SHA-256 of both, journal position,
    versions). It is built under another name beside and renamed when all of it is on the disk.

    Raises UsageError where there is no such run, trial or checkpoint or the folder exists, CheckpointError where the
    checkpoint is not what was written.
    """
    run = find(name, runs)
    state = read_state(run)
    won = winner(run, state, trial)
    found, best, kept = won.trial, won.best, won.checkpoint
    folder = Path(to) if to else run.root / "export" / f"trial-{found.number:04d}-epoch-{best.epoch}"
    if folder.exists():
        raise UsageError(f"{folder} exists", hint="remove it, or choose another: --to DIR")
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _remove_leftovers(folder.parent)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(mode=0o700)
        _copy(won.run.resolve(kept.path), temporary / MODEL, kept)
        config = write_durably(temporary / CONFIG, _json(_config(won.state, found, best)))
        files = {MODEL: (kept.size, kept.sha256), CONFIG: config}
        write_durably(temporary / MANIFEST, _json(_manifest(state, files)))
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(folder.parent)
    settle(folder.parent)
    return folder


def _copy(source: Path, target: Path, kept: Checkpoint) -> None:
    """Raises CheckpointError where what is copied is not what was written."""
    digest, size = hashlib.sha256(), 0
    try:
        with source.open("rb", buffering=0) as file, target.open("xb", buffering=0) as copy:
            while chunk := file.read(_CHUNK):
                copy.write(chunk)
                digest.update(chunk)
                size += len(chunk)
            os.fsync(copy.fileno())
    except FileNotFoundError as error:
        raise CheckpointError(f"{source} is gone", hint="export another trial: --trial N") from error
    if (size, digest.hexdigest()) != (kept.size, kept.sha256):
        raise CheckpointError(f"{source} is not what was written", hint="export another trial: --trial N")
    if fingerprint(target) != (kept.size, kept.sha256):
        raise CheckpointError(f"{target} does not read back as it was written", hint="check the disk")


def _config(state: SweepState, trial: Trial, best: Best) -> dict[str, Any]:
    spec = SweepSpec.model_validate(state.spec)
    params = trial.params_at(best.epoch)
    model, data, trainer = apply(spec, params)
    return {
        "model": model.model_dump(),
        "data": data.model_dump() if data else None,
        "trainer": dict(trainer),
        "params": params,
        "trial": trial.number,
        "epoch": best.epoch,
        "metrics": {name: _finite(value) for name, value in trial.reports[best.epoch].metrics.items()},
        "objective": state.spec["objective"],
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _manifest(state: SweepState, files: dict[str, tuple[int, str]]) -> dict[str, Any]:
    """``files``: name → size and SHA-256, as they were read back."""
    listed = {name: {"size": size, "sha256": sha256} for name, (size, sha256) in files.items()}
    created = {name: state.created.get(name) for name in ("seed", "versions", "git")}
    return {"format": 1, "files": listed, "sweep": state.spec["name"], "journal": state.seq, **created}


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()


def _remove_leftovers(folder: Path) -> None:
    """What exports that were killed have left."""
    for path in folder.glob(".*.tmp"):
        found = _LEFT_OVER.fullmatch(path.name)
        if found and not _lives(int(found["pid"])):
            with suppress(OSError):
                shutil.rmtree(path)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
