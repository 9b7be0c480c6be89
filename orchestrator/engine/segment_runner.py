"""Train one segment in this process and turn an error into a `SegmentFailure`."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

from orchestrator.durable_files import storage_fault
from orchestrator.engine.failure_policy import SegmentFailure
from orchestrator.errors import CheckpointError, DataError, ObjectiveError, ProgressError, SweepError, causes
from orchestrator.secrets import allow, guarded_streams, masked, write_masked
from orchestrator.training import Job, Report
from orchestrator.training.memory import out_of_memory, release_memory

_KINDS = {ObjectiveError: "objective", DataError: "data", ProgressError: "progress"}
_PACKAGE = Path(__file__).resolve().parents[1]
_STANDARD = {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")}
_LIBRARIES = {"site-packages", "dist-packages"}
_SHIPPED = {_PACKAGE / "models", _PACKAGE / "data"}  # count as a user's own classes
_CONSTRUCTION = _PACKAGE / "training/class_loading"  # constructors raise here for arguments of the sweep file


def attempt(
    job: Job, report: Callable[[Report], bool], device: Mapping[str, Any] | None = None
) -> SegmentFailure | None:
    """Train one segment.

    An error's traceback goes to ``logs/error_segment_K.txt`` in the trial's folder, if that can be written; traceback
    and message are redacted. What is no Exception (a scheduler's SystemExit, Ctrl-C) is not caught. After an error
    nothing of the segment stays in memory.

    Args:
        job: the segment.
        report: receives each report; returns whether to continue.
        device: as `fit` takes it.

    Returns:
        None if the segment ended or was stopped, else its failure.
    """
    from orchestrator.training import fit, shared_storage

    job = job.localized()
    allow([job.metric, job.model, job.data, job.trainer])
    try:
        with guarded_streams():
            fit(job, report, device)
        return None
    except Exception as error:
        failure = SegmentFailure(
            _kind(error, job.run_directory), masked(f"{type(error).__name__}: {error}")[:1000], _fingerprint(error)
        )
        _write_log(job, traceback.format_exc())
        _clear_frames(error)
    finally:
        shared_storage.finish(job)
    if failure.kind == "memory":  # the error itself is released only here
        release_memory()
    return failure


def _kind(error: Exception, run: Path) -> str:
    """Return the error's kind, a key of `failure_policy.KINDS`."""
    if isinstance(error, CheckpointError):
        return "checkpoint"
    if storage_fault(error, run):
        return "storage"
    if out_of_memory(error):
        return "memory"
    kind = next((kind for cls, kind in _KINDS.items() if isinstance(error, cls)), "")
    return kind or ("bug" if _is_bug(error) else "user")


def _is_bug(error: Exception) -> bool:
    frames = traceback.extract_tb(error.__traceback__)
    if not frames or isinstance(error, SweepError) or not _is_own(frames[-1]):
        return False
    return _CONSTRUCTION not in Path(frames[-1].filename).resolve().parents


def _fingerprint(error: Exception) -> str:
    """Return a hash of the error's type and place, equal for equal mistakes whatever the message.

    The place is the last frame in the user's code (shipped models and data included): one mistake surfaces at many
    depths of torch and Lightning, and library lines differ between machines. Without such a frame it is the last one.
    Only the last two parts of a path count, since the nodes of a cluster keep the same code in different folders.
    """
    frames = traceback.extract_tb(error.__traceback__)
    places = [frame for frame in frames if _is_users(frame)] or frames
    place = f"{'/'.join(Path(places[-1].filename).parts[-2:])}:{places[-1].lineno}" if places else ""
    return blake2b(f"{type(error).__name__}@{place}".encode(), digest_size=6).hexdigest()


def _is_own(frame: traceback.FrameSummary) -> bool:
    """Return whether a frame is in this package, outside the shipped models and data."""
    folders = set(Path(frame.filename).resolve().parents)
    return _PACKAGE in folders and not _SHIPPED & folders


def _is_users(frame: traceback.FrameSummary) -> bool:
    """Return whether a frame is neither generated code, nor a library's, nor this package's."""
    folders = set(Path(frame.filename).resolve().parents)
    if frame.filename.startswith("<") or _is_own(frame):
        return False
    in_library = _STANDARD & folders or any(folder.name in _LIBRARIES for folder in folders)
    return bool(_SHIPPED & folders) or not in_library


def _write_log(job: Job, text: str) -> None:
    log = Path(job.folder) / "logs" / f"error_segment_{job.segment}.txt"
    with suppress(OSError):  # the disk may be full; the failure reaches the driver without this file
        write_masked(log, text)


def _clear_frames(error: BaseException) -> None:
    """Empty the frames that an error holds: their variables keep a batch and its graph in memory."""
    for link in causes(error):
        traceback.clear_frames(link.__traceback__)
