"""Train one segment in this process and turn an error into a `SegmentFailure`."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any, Generic, TypeVar

from orchestrator.durable_files import storage_fault
from orchestrator.engine.failure_policy import SegmentFailure
from orchestrator.engine.output_capture import OutputCapture
from orchestrator.engine.stop_requests import SecondSignal
from orchestrator.errors import (
    CheckpointError,
    DataError,
    ObjectiveError,
    ProgressError,
    SweepError,
    causes,
    describe,
    is_a,
)
from orchestrator.rundir.trial_logs import LogFile
from orchestrator.safe_text import visible
from orchestrator.secrets import allow, guarded_streams, masked, write_masked
from orchestrator.training import Interim, Job, Report
from orchestrator.training.memory import out_of_memory, release_memory

_KINDS = {ObjectiveError: "objective", DataError: "data", ProgressError: "progress"}
_PACKAGE = Path(__file__).resolve().parents[1]
_STANDARD = {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")}
_LIBRARIES = {"site-packages", "dist-packages"}
_SHIPPED = {_PACKAGE / "models", _PACKAGE / "data"}  # count as a user's own classes
_CONSTRUCTION = _PACKAGE / "training/class_loading"  # constructors raise here for arguments of the sweep file
_LOADER_WORKER = "DataLoader worker (pid"  # begins what torch raises if one has ended


def attempt(
    job: Job,
    report: Callable[[Report], bool],
    device: Mapping[str, Any] | None = None,
    *,
    interim: Callable[[Interim], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
    rank: int = 0,
    to_terminal: bool = False,
) -> SegmentFailure | None:
    """Train one segment.

    What it prints goes to ``logs/segment_K.log`` in the trial's folder (see `output_capture`). An error's traceback
    goes there, too, and to ``logs/error_segment_K.txt``, if that can be written; traceback and message are redacted.
    Whatever the user's code raises is a failure, SystemExit and KeyboardInterrupt included. What ends the segment from
    outside passes through: a SystemExit of ``report`` or ``interim``, a signal. After an error nothing of the segment
    stays in memory.

    Args:
        job: the segment.
        report: receives each report; returns whether to continue.
        device: as `fit` takes it.
        interim: receives each checkpoint between two reports; None if none are to be saved.
        stop: returns whether the segment is to end with a checkpoint after the present batch.
        rank: this process among those that train the segment.
        to_terminal: whether what it prints is shown as before, too; then ``report`` and ``interim`` print there only.

    Returns:
        None if the segment ended or was stopped, else its failure.
    """
    from orchestrator.training import fit, shared_storage

    job = job.localized()
    allow([job.metric, job.model, job.data, job.trainer])
    guarded_report: _Guarded[Report, bool] | None = None
    guarded_interim: _Guarded[Interim, None] | None = None
    try:
        with guarded_streams(), OutputCapture(job, rank, to_terminal=to_terminal) as output:
            beside = output.suspended if to_terminal else nullcontext
            guarded_report = _Guarded(report, beside)
            guarded_interim = _Guarded(interim, beside) if interim else None
            with output.noting():
                fit(job, guarded_report, device, interim=guarded_interim, stop=stop)
        return None
    except BaseException as error:
        if any(guarded and guarded.is_cause_of(error) for guarded in (guarded_report, guarded_interim)):
            raise
        if _is_signal(error):
            raise
        message = masked(" ".join(describe(_raised(error)).split()))[:1000]
        place = _place(error)
        failure = SegmentFailure(_kind(error, job.run_directory), message, _fingerprint(error), masked(place))
        _write_logs(job, rank, (f"{message}\nat {place}\n" if place else "") + _traceback(error))
        _clear_frames(error)
    finally:
        shared_storage.finish(job)
    if failure.kind == "memory":  # the error itself is released only here
        release_memory()
    return failure


_Sent = TypeVar("_Sent")
_Answer = TypeVar("_Answer")


class _Guarded(Generic[_Sent, _Answer]):
    """Calls ``receive`` and remembers what it raised that is no Exception, such as a scheduler's SystemExit.

    Args:
        receive: is called with what is sent.
        beside: a context around each call: where what ``receive`` prints is no output of the trial.
    """

    def __init__(
        self, receive: Callable[[_Sent], _Answer], beside: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        self._receive, self._beside = receive, beside
        self._raised: BaseException | None = None

    def __call__(self, sent: _Sent) -> _Answer:
        """Pass it on."""
        try:
            with self._beside():
                return self._receive(sent)
        except Exception:
            raise
        except BaseException as error:
            self._raised = error
            raise

    def is_cause_of(self, error: BaseException) -> bool:
        """Return whether ``error`` comes from what ``receive`` raised."""
        return self._raised is not None and any(link is self._raised for link in causes(error))


def _is_signal(error: BaseException) -> bool:
    """Return whether a signal ended the segment."""
    from orchestrator.training.process_state import SIGTERMException

    return any(is_a(link, SecondSignal, SIGTERMException) for link in causes(error))


def _raised(error: BaseException) -> BaseException:
    """Return what the user's code raised: Lightning turns a KeyboardInterrupt into a SystemExit.

    In a thread it fails to, with a ValueError, since only the main thread may change the handlers of signals.
    """
    if not is_a(error, SystemExit, ValueError):
        return error
    return next((link for link in causes(error) if is_a(link, KeyboardInterrupt)), error)


def _kind(error: BaseException, run: Path) -> str:
    """Return the error's kind, a key of `failure_policy.KINDS`."""
    if is_a(error, CheckpointError):
        return "checkpoint"
    if storage_fault(error, run):
        return "storage"
    if out_of_memory(error):
        return "memory"
    if _lost_loader_worker(error):
        return "lost"
    kind = next((kind for cls, kind in _KINDS.items() if is_a(error, cls)), "")
    return kind or ("bug" if _is_bug(error) else "user")


def _lost_loader_worker(error: BaseException) -> bool:
    """Return whether a worker process of a DataLoader was ended from outside.

    A job system or a terminal may have sent a signal to all processes of the sweep. One with an exit code ended by
    itself, through the user's code. torch's text has the code, unless a slow machine noticed the end late.
    """
    links = [link for link in causes(error) if type(link) is RuntimeError]
    ends = [link for link in links if describe(link).removeprefix("RuntimeError: ").startswith(_LOADER_WORKER)]
    if any("with exit code" in describe(link) for link in ends):
        return False
    return bool(ends) and not any(code > 0 for link in ends for code in _worker_exit_codes(link))


def _worker_exit_codes(error: BaseException) -> Iterator[int]:
    """Yield the exit codes of the loader's worker processes that have ended; negative after a signal."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        loader = frame.f_locals.get("self")
        if frame.f_code.co_filename.endswith("torch/utils/data/dataloader.py"):
            yield from (code for worker in getattr(loader, "_workers", ()) if (code := worker.exitcode) is not None)


def _is_bug(error: BaseException) -> bool:
    frames = traceback.extract_tb(error.__traceback__)
    if not frames or is_a(error, SweepError) or not is_a(error, Exception) or not _is_own(frames[-1]):
        return False
    return _CONSTRUCTION not in Path(frames[-1].filename).resolve().parents


def _fingerprint(error: BaseException) -> str:
    """Return a hash of the error's type and place, equal for equal mistakes whatever the message.

    The place is the last frame in the user's code (shipped models and data included): one mistake surfaces at many
    depths of torch and Lightning, and library lines differ between machines. Without such a frame it is the last one.
    Only the last two parts of a path count, since the nodes of a cluster keep the same code in different folders.
    """
    frames = traceback.extract_tb(error.__traceback__)
    places = [frame for frame in frames if _is_users(frame)] or frames
    place = f"{'/'.join(Path(places[-1].filename).parts[-2:])}:{places[-1].lineno}" if places else ""
    return blake2b(f"{type(error).__name__}@{place}".encode(), digest_size=6).hexdigest()


def _place(error: BaseException) -> str:
    """Return the last line of the user's own code on the way to the error, shipped models included; empty without."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_users(frame)]
    if not frames:
        return ""
    path = Path(frames[-1].filename)
    with suppress(ValueError):
        path = path.relative_to(Path.cwd())
    return f"{path}:{frames[-1].lineno}, in {frames[-1].name}"[:300]


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


def _traceback(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except Exception as fault:  # attributes of a user's own class may raise any error
        return f"{describe(error)}\n(its traceback cannot be shown: {describe(fault)})\n"


def _write_logs(job: Job, rank: int, text: str) -> None:
    """Write a traceback to its own file, and behind what the segment has printed."""
    logs = Path(job.folder) / "logs"
    with suppress(OSError):  # the disk may be full; the failure reaches the driver without these files
        write_masked(logs / f"error_segment_{job.segment}.txt", text)
        write_masked(logs / LogFile(job.trial, job.segment, rank).name, visible(text, keep="\n\t"), append=True)


def _clear_frames(error: BaseException) -> None:
    """Empty the frames that an error holds: their variables keep a batch and its graph in memory."""
    for link in causes(error):
        traceback.clear_frames(link.__traceback__)
