"""One segment in the process that runs it: train, and turn what goes wrong into a record."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

from orchestrator.durable_files import storage_fault
from orchestrator.engine.failure_policy import Failed
from orchestrator.errors import CheckpointError, DataError, ObjectiveError, SweepError, causes
from orchestrator.secrets import redact
from orchestrator.training import Job, Report
from orchestrator.training.memory import out_of_memory, release_memory

_KINDS = {ObjectiveError: "objective", DataError: "data"}
_PACKAGE = Path(__file__).resolve().parents[1]
_STANDARD = {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")}
_LIBRARIES = {"site-packages", "dist-packages"}
_STAND_INS = {_PACKAGE / "models", _PACKAGE / "data"}  # for a user's own classes
_CONSTRUCTION = _PACKAGE / "training/class_loading"  # where constructors refuse what a sweep file gives them


def attempt(job: Job, report: Callable[[Report], bool], device: Mapping[str, Any] | None = None) -> Failed | None:
    """Train one segment. None when it came to its end or was told to stop; else why not. ``device`` as for ``fit``.

    The whole traceback goes to ``logs/error_segment_K.txt`` in the trial's folder, if that can be written; keys and
    passwords are left out of it and of the message. What is not an Exception (a scheduler's SystemExit, Ctrl-C) passes
    through. After an error nothing of the segment stays in memory.
    """
    from orchestrator.training import fit, shared_storage

    job = job.localized()
    try:
        fit(job, report, device)
        return None
    except Exception as error:
        failed = Failed(
            _kind(error, job.run_directory), redact(f"{type(error).__name__}: {error}")[:1000], _fingerprint(error)
        )
        _write_log(job, redact(traceback.format_exc()))
        _clear_frames(error)
    finally:
        shared_storage.finish(job)
    if failed.kind == "memory":  # only now has the error itself gone
        release_memory()
    return failed


def _kind(error: Exception, run: Path) -> str:
    """Whose fault it is, and so what to do next; a kind of :class:`orchestrator.engine.failure_policy.Failed`."""
    if isinstance(error, CheckpointError):
        return "checkpoint"
    if storage_fault(error, run):
        return "storage"
    if out_of_memory(error):
        return "memory"
    known = next((kind for known, kind in _KINDS.items() if isinstance(error, known)), "")
    return known or ("bug" if _is_bug(error) else "user")


def _is_bug(error: Exception) -> bool:
    frames = traceback.extract_tb(error.__traceback__)
    if not frames or isinstance(error, SweepError) or not _is_own(frames[-1]):
        return False
    return _CONSTRUCTION not in Path(frames[-1].filename).resolve().parents


def _fingerprint(error: Exception) -> str:
    """The same for the same mistake, whatever its message: the error's type and the place it came from.

    That is the last frame in the user's own code (the shipped models and data count as such), for one mistake there
    surfaces at many depths of torch and Lightning, and the libraries' lines differ between machines. Where no frame is
    the user's it is the last frame of all. Of a file's path the last two parts count, since a cluster's nodes have the
    same code in different folders.
    """
    frames = traceback.extract_tb(error.__traceback__)
    places = [frame for frame in frames if _is_users(frame)] or frames
    place = f"{'/'.join(Path(places[-1].filename).parts[-2:])}:{places[-1].lineno}" if places else ""
    return blake2b(f"{type(error).__name__}@{place}".encode(), digest_size=6).hexdigest()


def _is_own(frame: traceback.FrameSummary) -> bool:
    """Whether a frame is in this package, and not where it stands in for a user's code."""
    folders = set(Path(frame.filename).resolve().parents)
    return _PACKAGE in folders and not _STAND_INS & folders


def _is_users(frame: traceback.FrameSummary) -> bool:
    """Whether a frame is neither generated code, nor a library's, nor this package's own."""
    folders = set(Path(frame.filename).resolve().parents)
    if frame.filename.startswith("<") or _is_own(frame):
        return False
    in_library = _STANDARD & folders or any(folder.name in _LIBRARIES for folder in folders)
    return bool(_STAND_INS & folders) or not in_library


def _write_log(job: Job, text: str) -> None:
    log = Path(job.folder) / "logs" / f"error_segment_{job.segment}.txt"
    with suppress(OSError):  # a full disk is among what is logged here; the record goes to the driver all the same
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(text, encoding="utf-8", errors="backslashreplace")


def _clear_frames(error: BaseException) -> None:
    """Empty the frames that an error holds: a batch and its graph are in their variables."""
    for link in causes(error):
        traceback.clear_frames(link.__traceback__)
