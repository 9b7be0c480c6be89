"""What a user's function or script calls in a trial: ``report()``, ``checkpoint()`` and ``restore()``.

Outside of a sweep they do nothing that matters, so that the same code runs by itself. This module loads neither torch
nor Lightning.
"""

from __future__ import annotations

import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from orchestrator.errors import ObjectiveError, ProgressError, UsageError
from orchestrator.progress import place, whole
from orchestrator.progress import value as progress_value
from orchestrator.secrets import masked
from orchestrator.training import shared_storage
from orchestrator.training.checkpoint_names import checkpoint_name
from orchestrator.training.doors import folder_checkpoint
from orchestrator.training.job import Checkpoint, Interim, Job, Report

_TOLERANCE = 1e-9  # relative, of the end of a trial
_COUNTER = "metric:"
_session: TrialSession | None = None


class TrialEnd(SystemExit):
    """Raised in the user's code by the report after which the trial ends, past its ``except Exception``."""

    def __init__(self) -> None:
        super().__init__(0)


@dataclass
class Reporting:
    """Where a segment's reports go.

    Attributes:
        report: returns whether to continue.
        interim: receives checkpoints between two reports; None for none.
        stop: returns whether the segment is to end.
        beat: tells that the segment is alive.
        log: receives the metrics and the step of each report, for tables and trackers.
    """

    report: Callable[[Report], bool]
    interim: Callable[[Interim], None] | None = None
    stop: Callable[[], bool] = lambda: False
    beat: Callable[[], None] = lambda: None
    log: Callable[[Mapping[str, float], int], None] = lambda metrics, step: None


@dataclass
class TrialSession:
    """One segment of a function or a script.

    Attributes:
        job: the segment.
        to: where its reports go.
        start: the checkpoint that it starts from; None for none.
        reports: how many reports it has sent.
        ended: whether the trial ends with the last report.
        interruption: what ended the process's work from outside in a report; it is raised again at the end.
        trainer: the Trainer that is fitting now; None outside of ``fit``.
        fits: how many Trainers have been fitted.
        trained: whether a validation of one of them has been a report.
        evaluates: whether a Trainer validates, tests or predicts now, outside of ``fit``.
        passes_on: whether a report goes to the table and the trackers now: what they log is none of the code's.
        serves_wandb: whether the code has called ``wandb.init``, whose config has all arguments.
        command_line: the script's ``sys.argv``; empty for a function.
        notices: sentences for the user, each printed once.
        logged: metrics that a Trainer has logged, or that were reported without the objective.
    """

    job: Job
    to: Reporting
    start: Path | None = None
    reports: int = 0
    ended: bool = False
    interruption: BaseException | None = None
    trainer: Any = None
    fits: int = 0
    trained: bool = False
    evaluates: bool = False
    passes_on: bool = False
    serves_wandb: bool = False
    command_line: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    logged: list[str] = field(default_factory=list)
    _reached: dict[str, float] = field(default_factory=dict)
    _unreported: int = 0
    _last: float | None = None  # the progress of the last report
    _pending: Path | None = None
    _restored: Path | None = None
    _asked: bool = False  # whether the code has called restore()
    _before: dict[str, float] = field(default_factory=dict)  # counts at the checkpoint
    _since: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        if self.start is not None and folder_checkpoint.is_packed(self.start):
            self._before = folder_checkpoint.counts_of(self.start)

    @property
    def unit(self) -> str:
        """The unit of the sweep's progress."""
        return str(self.job.progress.get("unit") or "epochs")

    @property
    def leaves_reports_to_trainer(self) -> bool:
        """Whether a Trainer has a part in the trial: then its validations are the reports, and nothing logged is."""
        return self.fits > 0 or self.evaluates

    @property
    def reports_by_trainer(self) -> bool:
        """Whether a Trainer fits, or has reported the objective: then what another library is told is no report."""
        return self.trainer is not None or self.trained

    def send(self, report: Report) -> bool:
        """Send a report; return whether to continue."""
        self.reports += 1
        self._reached = {"epoch": report.epoch, "step": report.step}
        with self._interruptible():
            self.ended = not self.to.report(report)
        return not self.ended

    def send_interim(self, interim: Interim) -> None:
        """Send a checkpoint between two reports."""
        self._reached = {"epoch": interim.epoch, "step": interim.step}
        if self.to.interim is not None:
            with self._interruptible():
                self.to.interim(interim)

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Remember what ends the segment from outside meanwhile, such as a scheduler's SystemExit."""
        try:
            yield
        except Exception:
            raise
        except BaseException as error:
            self.interruption, self.ended = error, True
            raise

    def report(self, metrics: Mapping[str, Any], place_fields: Mapping[str, Any]) -> None:
        """Take a report of the user's code. Raises TrialEnd if the trial ends with it."""
        if self.trainer is not None:
            raise UsageError(
                "report() was called while a Trainer fits, which reports each of its validations",
                hint="log the metric with self.log() in validation_step",
            )
        self.to.beat()
        self._end_if_over()
        values = {name: _number(name, value) for name, value in metrics.items()}
        counts = self._counts(place_fields)
        self._pass_on(values, int(counts["step"]))
        if self.job.metric not in values:
            self._unreported += 1
            self.logged = sorted({*self.logged, *values})
            return
        self._reject_partial(values)
        counters = self._counters(values)
        progress = progress_value({**counts, "counters": counters}, self.unit)
        if self._is_repeated(progress):
            self._reached = {"epoch": counts["epoch"], "step": counts["step"]}
            return
        begun = time.perf_counter()
        checkpoint = self._save(counts)
        saving = time.perf_counter() - begun if checkpoint else 0.0
        self._since += saving
        unreported, self._unreported = self._unreported, 0
        self._check_order(progress)
        told = Report(
            whole(counts["epoch"]), values, checkpoint, {}, int(counts["step"]), int(counts["samples"]),
            counts["seconds"], counters, unreported, saving,
        )  # fmt: skip
        self._last = progress
        if not self.send(told) or self._is_over(progress) or self.to.stop():
            self.ended = True
        self._end_if_over()

    def _pass_on(self, values: Mapping[str, float], step: int) -> None:
        self.passes_on = True
        try:
            self.to.log(values, step)
        finally:
            self.passes_on = False

    def _end_if_over(self) -> None:
        if self.interruption is not None:
            raise self.interruption
        if self.ended:
            raise TrialEnd

    def _is_over(self, progress: float | None) -> bool:
        until = self.job.progress.get("until")
        return until is not None and progress is not None and progress >= float(until) * (1 - _TOLERANCE)

    def _is_repeated(self, progress: float | None) -> bool:
        """Return whether the code trains again, from nothing, what the trial has reported before its checkpoint."""
        origin = progress_value({**self._before, "counters": self._before.get("counters") or {}}, self.unit)
        if not self._before or self._asked or progress is None or origin is None:
            return False
        if progress <= origin:
            self.notice(
                f"trial {self.job.trial} trains again what it had done: its code saves checkpoints and never calls "
                "orchestrator.restore()"
            )
        return progress <= origin

    def _check_order(self, progress: float | None) -> None:
        if progress is None or self._last is None or progress > self._last:
            return
        here, before = place(progress, self.unit), place(self._last, self.unit)
        raise ProgressError(
            f"report() was called {here} after it was called {before}",
            hint="pass the number of finished epochs or steps as step=, which grows from report to report",
        )

    def _reject_partial(self, values: Mapping[str, float]) -> None:
        """Raise ObjectiveError for a report that has the objective, and lacks what the sweep also needs."""
        missing = [name for name in self.job.required if name not in values]
        if missing:
            raise ObjectiveError(
                f"report() lacks {', '.join(map(repr, missing))}: it has {', '.join(sorted(values))}",
                hint="pass every metric that `objective.also` and `constraints` name in the same report",
            )

    def _counts(self, given: Mapping[str, Any]) -> dict[str, float]:
        step, epoch, samples = (given.get(name) for name in ("step", "epoch", "samples"))
        where: dict[str, Any] = {}
        if step is None and epoch is None:
            step = int(self._reached.get("epoch", self._first())) + 1
        where["epoch"], where["step"] = step if epoch is None else epoch, epoch if step is None else step
        where["samples"] = samples or 0
        for name, value in where.items():
            if isinstance(value, bool) or not hasattr(value, "__float__") or not math.isfinite(float(value)):
                raise UsageError(f"report({name}={value!r}): a finite number is needed", hint=f"e.g. {name}=1")
        if self.unit == "samples" and not samples:
            raise UsageError("progress is measured in samples, and report() has none", hint="pass report(samples=…)")
        seconds = self._before.get("seconds", 0.0) + time.perf_counter() - self._since
        counts = {"step": int(where["step"]), "epoch": float(where["epoch"]), "samples": int(where["samples"])}
        return {**counts, "seconds": seconds}

    def _first(self) -> float:
        """Return the epoch that a segment counts from: the checkpoint's, once the code has restored it."""
        return self._before.get("epoch", 0) if self._asked else 0

    def _counters(self, values: Mapping[str, float]) -> dict[str, float]:
        name = self.unit.removeprefix(_COUNTER)
        if name == self.unit:
            return {}
        if name not in values:
            raise ObjectiveError(
                f"progress is measured in {name!r}, which report() lacks", hint=f"pass it: report({name}=…)"
            )
        return {name: values[name]}

    def _save(self, counts: Mapping[str, float]) -> Checkpoint | None:
        """Pack what the code has saved for this report; None if it has saved nothing."""
        folder, self._pending = self._pending, None
        if folder is None:
            return None
        epoch = counts["epoch"]
        batch = 0 if epoch == int(epoch) else max(1, int(counts["step"]))
        path = self.job.checkpoints / checkpoint_name(int(epoch), self.job.segment, batch)
        size, digest = folder_checkpoint.pack(folder, counts, path)
        if folder.is_relative_to(self._own("saving")):
            shutil.rmtree(folder, ignore_errors=True)
        shared_storage.publish_checkpoint(self.job, path)
        return Checkpoint(path.relative_to(self.job.run_directory).as_posix(), size, digest, whole(epoch))

    def save(self, folder: Path) -> None:
        """Take a folder or file as the checkpoint of the next report."""
        self._end_if_over()
        self._pending = folder

    def saving_folder(self) -> Path:
        """Return a new, empty folder of the trial to save into."""
        self.to.beat()
        self._own("saving").mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(dir=self._own("saving")))

    def restore(self) -> Path | None:
        """Return a folder with the files of the checkpoint that the segment starts from; None if there is none."""
        self._asked = True
        if self._before and self._restored is None and self.start is not None:
            self._restored = folder_checkpoint.unpack(self.start, self._own("restored"))
        return self._restored

    def finish(self, returned: Any) -> None:
        """Take what the function returned, which is the only report if it made none. Raises ObjectiveError for none.

        Several numbers are called ``values_0``, ``values_1``, …, as in Optuna's tables.
        """
        if self.reports or self.ended or self.interruption is not None:
            return
        if self.start is not None and returned is None:
            return  # from a checkpoint at which the training was complete
        if isinstance(returned, Mapping):
            metrics = {name: value for name, value in returned.items() if is_number(value)}
        elif is_number(returned):
            metrics = {self.job.metric: returned}
        elif isinstance(returned, list | tuple) and returned and all(map(is_number, returned)):
            metrics = {f"values_{index}": value for index, value in enumerate(returned)}
        else:
            raise self._silent()
        if self.job.metric not in metrics:
            names = ", ".join(sorted(map(str, metrics))) or "no number"
            raise ObjectiveError(f"the objective is {self.job.metric!r}, and the function returned {names}",
                                 hint="return a mapping that has it, or set `objective.metric`")  # fmt: skip
        try:
            self.report(metrics, {"epoch": max(1, self._reached.get("epoch", 0))})
        except TrialEnd:
            return

    def _silent(self) -> ObjectiveError:
        what = "function" if self.job.model.get("train") else "script"
        logged = f": it logs {', '.join(self.logged)}" if self.logged else ""
        name = self.job.metric
        keyword = f"{name}=…" if name.isidentifier() else f'{{"{name}": …}}'
        other = "return it" if what == "function" else "log it by W&B, TensorBoard or MLflow"
        hint = f"log it in a Lightning Trainer's validation, {other}, or call orchestrator.report({keyword})"
        return ObjectiveError(f"the {what} has ended and never reported {name!r}{logged}", hint=hint)

    def notice(self, sentence: str) -> None:
        """Print a sentence on stderr, once a segment."""
        import sys

        if sentence not in self.notices:
            self.notices.append(sentence)
            print(f"notice: {masked(sentence)}", file=sys.stderr)

    def close(self) -> None:
        """Remove the temporary folders of the segment."""
        for name in ("saving", "restored"):
            shutil.rmtree(self._own(name), ignore_errors=True)

    def _own(self, name: str) -> Path:
        return Path(self.job.folder) / f".{name}"


def is_number(value: Any) -> bool:
    """Return whether a value is a number, or a tensor or array of one."""
    try:
        return not isinstance(value, str | bytes | bool) and math.isfinite(float(value)) | True
    except (TypeError, ValueError, RuntimeError):
        return False


def _number(name: str, value: Any) -> float:
    if not is_number(value):
        raise UsageError(
            f"report({name}=…) got {type(value).__name__}, which is no number",
            hint="report numbers; log others elsewhere",
        )
    return float(value)


@contextmanager
def active(session: TrialSession) -> Iterator[TrialSession]:
    """Let the module's functions act on the session meanwhile."""
    global _session
    earlier, _session = _session, session
    try:
        yield session
    finally:
        _session = earlier
        session.close()


def current() -> TrialSession | None:
    """Return the session of the trial that this process trains; None outside of a sweep."""
    return _session


def report(
    metrics: Mapping[str, Any] | None = None,
    /,
    *,
    step: float | None = None,
    epoch: float | None = None,
    samples: float | None = None,
    **more: Any,
) -> None:
    """Report a validation to the sweep that runs this function or script.

    The sweep decides whether the trial continues. If not, this call raises a `SystemExit`, which ends the function.
    The last `checkpoint` before it belongs to the report. Outside of a sweep nothing happens.

    Args:
        metrics: numbers by name; those without the objective are only kept in the trial's table.
        step: how many steps, or epochs, are finished; by default one more than at the last report.
        epoch: epochs finished, if the sweep's progress is in epochs and differs from ``step``.
        samples: samples trained on, for a sweep whose progress is in samples.
        **more: metrics as keywords: ``report(step=3, val_loss=0.4)``.

    Raises:
        UsageError: A metric is no number.
        ProgressError: The step is not beyond that of the last report.

    Example:
        ```python
        orchestrator.report(step=1, val_loss=0.25)
        ```
    """
    if _session is not None:
        _session.report({**(metrics or {}), **more}, {"step": step, "epoch": epoch, "samples": samples})


class checkpoint:  # reads as a call and as a context
    """Save files from which the trial can resume; they belong to the next `report`.

    As a context it gives an empty folder to save into; as a call it takes a folder or file that is there.

    Args:
        folder: a folder or file that the code has written; by default a new folder of the trial.

    Example:
        ```python
        with orchestrator.checkpoint() as folder:
            (folder / "weights.txt").write_text("1.5")
        ```
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self._session = _session
        self._folder = Path(folder) if folder is not None else None
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        if self._session is not None and self._folder is not None:
            self._session.save(self._folder)

    def __enter__(self) -> Path:
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
        elif self._session is not None:
            self._folder = self._session.saving_folder()
        else:
            self._temporary = tempfile.TemporaryDirectory(prefix="checkpoint-")
            self._folder = Path(self._temporary.name)
        return self._folder

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._temporary is not None:
            self._temporary.cleanup()
        elif self._session is not None and error is None and self._folder is not None:
            self._session.save(self._folder)


def restore() -> Path | None:
    """Return a folder with the files of the trial's last checkpoint; None at the start, and outside of a sweep.

    Code that never calls it starts its trial from nothing whenever it is resumed.

    Example:
        ```python
        if folder := orchestrator.restore():
            weights = float((folder / "weights.txt").read_text())
        ```
    """
    return _session.restore() if _session is not None else None
