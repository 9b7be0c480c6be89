"""Put the sweep's part inside any Trainer that a function or a script makes, without a change to that code."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import BatchSizeFinder, Checkpoint, LearningRateFinder, ModelSummary, ProgressBar
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.plugins.io import CheckpointIO
from torch._dynamo import OptimizedModule

from orchestrator.errors import UsageError
from orchestrator.spec.old_trainer import METHODS, present_spelling
from orchestrator.training import class_loading, rendezvous
from orchestrator.training.checkpoints import DurableCheckpointIO
from orchestrator.training.csv_logger import EpochCSVLogger
from orchestrator.training.doors.folder_checkpoint import is_packed
from orchestrator.training.doors.import_hook import Replacements
from orchestrator.training.doors.script_metrics import LoggedMetrics
from orchestrator.training.doors.trial_session import TrialEnd, TrialSession
from orchestrator.training.host_lock import lock_prepare_data
from orchestrator.training.interim_saves import InterimSaves
from orchestrator.training.job import Report
from orchestrator.training.live_writer import LiveWriter, live_writer
from orchestrator.training.process_state import release
from orchestrator.training.segment_callbacks import segment_callbacks
from orchestrator.training.shared_storage import Heartbeat
from orchestrator.training.trial_files import own_place

_FOLDERS = ("save_dir", "_save_dir", "_root_dir")  # attributes of loggers
_EVALUATIONS = ("validate", "test", "predict")
OLD = "is of an earlier Lightning"
TWICE = "the code fits a second Trainer"
_TWICE_HINT = (
    "the validations of one training alone are reports: fit once; or name what the code reports between or after its "
    "fits as the objective, such as orchestrator.report(mean_loss=…)"
)


@dataclass
class Takeover:
    """What the sweep adds to the Trainers of one segment.

    Attributes:
        session: the segment.
        logged: takes what a Trainer's test and its like come to.
        device: Trainer arguments for the available devices, as `fit` takes them.
        trackers: loggers of the sweep file's ``tracking``.
        table: the trial's CSV table.
        heartbeat: beats with each batch.
        trainers: those that were fitted.
    """

    session: TrialSession
    logged: LoggedMetrics
    device: Mapping[str, Any]
    trackers: list[Logger]
    table: EpochCSVLogger
    heartbeat: Heartbeat
    trainers: list[L.Trainer] = field(default_factory=list)

    def arguments(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a Trainer: the code's own, and over them what a trial needs."""
        job = self.session.job
        overrides = {
            name: class_loading.build_value(value, class_loading.component_kinds(L.Trainer, name))
            for name, value in job.trainer.items()
        }
        own: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False}
        own["default_root_dir"] = own_place(job, given.get("default_root_dir") or job.folder)
        own["callbacks"] = without_bars(given.get("callbacks"))
        own |= self._one_device(given)
        if self.session.start is not None:
            own["num_sanity_val_steps"] = 0  # which the trial's first segment has run
        if given.get("logger") in (None, True) and not given.get("fast_dev_run"):
            own["logger"] = self.table
        device = {name: value for name, value in self.device.items() if name not in ("plugins", "callbacks")}
        return {**given, **own, **overrides, **device}

    def _one_device(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return arguments that make a Trainer of several processes one of one process."""
        several = given.get("devices") not in (None, 1, "1", [0], "auto") or given.get("num_nodes") not in (None, 1)
        if several:
            self.session.notice(
                f"the code asks for devices={given.get('devices')!r}; a trial of a function or script trains on one"
            )
        own: dict[str, Any] = {"devices": 1, "num_nodes": 1}
        if several or str(given.get("strategy", "auto")).startswith(("ddp", "fsdp", "deepspeed")):
            own["strategy"] = "auto"
        return own

    def fit(self, original: Callable[..., Any], trainer: L.Trainer, *args: Any, **kwargs: Any) -> None:
        """Fit with the sweep's callbacks, loggers and checkpoints. Raises TrialEnd if the trial ends there."""
        if self.is_of_tuner(trainer):
            original(trainer, *args, **kwargs)
            return
        session = self.session
        session.fits += 1
        self._refuse_two_trainings()
        given, *owners = parts_of_fit(original, trainer, args, kwargs)
        for owner in owners:
            if owner is not None:
                lock_prepare_data(owner, self.heartbeat.beat)
        if self._resumes:
            given |= {"ckpt_path": session.start, "weights_only": True}
        live = live_writer(session.job, self.heartbeat)
        self.trainers.append(trainer)
        session.trainer = trainer
        try:
            with self._inside(trainer, live), rendezvous.by_file():
                original(trainer, **given)
        finally:
            session.trainer = None
            session.logged = sorted(trainer.callback_metrics)
            live.end()
        if session.ended:
            raise TrialEnd

    @property
    def _resumes(self) -> bool:
        """Whether the present fit continues from the trial's checkpoint: one of its first fit, and not the code's."""
        start = self.session.start
        return start is not None and self.session.fits == 1 and not is_packed(start)

    def _refuse_two_trainings(self) -> None:
        """Raise UsageError if the code has trained what the trial is judged by, and fits once more."""
        if self.session.fits > 1 and self.session.trained:
            raise UsageError(TWICE, hint=_TWICE_HINT)

    def _report(self, report: Report) -> bool:
        """Send a validation's report."""
        self.session.trained = True
        self._refuse_two_trainings()
        return self.session.send(report)

    def is_of_tuner(self, trainer: L.Trainer) -> bool:
        """Return whether a ``Tuner`` calls ``fit`` for its own search, not the code for its training."""
        return any(getattr(each, "_early_exit", False) for each in _finders_of(trainer))

    @contextmanager
    def _inside(self, trainer: Any, live: LiveWriter) -> Iterator[None]:
        """Add callbacks, loggers and the writer of checkpoints, and take them away again after ``fit``."""
        session, users = self.session, list(trainer.callbacks)
        writer = DurableCheckpointIO()
        added = self._callbacks(writer, live)
        _let_overwrite(users)
        finders = _finders_of(trainer)
        rest = [*added[0], *(each for each in users if each not in finders), *added[1]]
        savers = [each for each in rest if isinstance(each, Checkpoint)]  # last, as Lightning orders those it is given
        trainer.callbacks = [*finders, *(each for each in rest if each not in savers), *savers]
        loggers = list(trainer.loggers)
        for logger in loggers:
            self._move(logger)
        trainer.loggers = [*loggers, *self.trackers, *([self.table] if self.table not in loggers else [])]
        users_io = trainer.strategy.checkpoint_io
        trainer.strategy.checkpoint_io = _RoutedIO(session.job.checkpoints, writer, users_io)
        try:
            yield
        finally:
            ours = {id(each) for part in added for each in part}
            trainer.callbacks = [each for each in trainer.callbacks if id(each) not in ours]
            trainer.loggers = loggers
            trainer.strategy.checkpoint_io = users_io

    def _callbacks(self, writer: DurableCheckpointIO, live: LiveWriter) -> tuple[list[L.Callback], list[L.Callback]]:
        """Return the sweep's callbacks that come before the code's own, and those after them."""
        session = self.session
        job = session.job if self._resumes else replace(session.job, checkpoint=None)
        before, after = segment_callbacks(
            job,
            live,
            resumes=self._resumes,
            report=self._report,
            writer=writer,
            table=self.table,
            heartbeat=self.heartbeat,
            interim=session.send_interim if session.to.interim is not None and session.fits == 1 else None,
            saves=InterimSaves(self._must_stop, job.save_every),
            requires_report=False,
        )
        return [*before, *self.device.get("callbacks", [])], after

    def _must_stop(self) -> bool:
        self.session.ended = self.session.ended or self.session.to.stop()
        return self.session.ended

    def _move(self, logger: Any) -> None:
        """Let a logger of the code's write into the trial's folder."""
        job = self.session.job
        for name in _FOLDERS:
            place = vars(logger).get(name)
            if isinstance(place, str | Path) and (own := own_place(job, place)) != str(place):
                setattr(logger, name, own)
                self.session.notice(f"{type(logger).__name__} writes to {own} instead of {place}")


def parts_of_fit(
    original: Callable[..., Any], trainer: L.Trainer, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[dict[str, Any], Any, Any]:
    """Return the arguments of a call of ``fit`` by name, its module, and its DataModule, which may come as loaders.

    Of what ``torch.compile`` made of a module, that module is returned. It stays among the arguments as it is: ``fit``
    lets the module compute with it.
    """
    given = inspect.signature(original).bind(trainer, *args, **kwargs).arguments
    given.pop("self")
    loaders = given.get("train_dataloaders")
    if isinstance(loaders, L.LightningDataModule) and given.get("datamodule") is None:
        given |= {"train_dataloaders": None, "datamodule": loaders}
    model = given.get("model")
    return given, model._orig_mod if isinstance(model, OptimizedModule) else model, given.get("datamodule")


class _RoutedIO(CheckpointIO):
    """Writes the trial's checkpoints as the sweep does, and the code's own as a plain Trainer does."""

    def __init__(self, folder: Path, ours: CheckpointIO, users: CheckpointIO) -> None:
        self._folder, self._ours, self._users = str(folder), ours, users

    def _of(self, path: Any) -> CheckpointIO:
        return self._ours if str(path).startswith(self._folder) else self._users

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Save by the one or the other."""
        self._of(path).save_checkpoint(checkpoint, path, storage_options)

    def load_checkpoint(self, path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Load by the one or the other."""
        return self._of(path).load_checkpoint(path, *args, **kwargs)

    def remove_checkpoint(self, path: Any) -> None:
        """Remove by the one or the other."""
        self._of(path).remove_checkpoint(path)


def without_bars(callbacks: Any) -> list[Any]:
    """Return callbacks without progress bars and summaries, which a Trainer refuses where they are switched off."""
    listed = [callbacks] if isinstance(callbacks, L.Callback) else list(callbacks or [])  # OmegaConf's list, perhaps
    return [each for each in listed if not isinstance(each, ProgressBar | ModelSummary)]


def _finders_of(trainer: Any) -> list[Any]:
    return [each for each in trainer.callbacks if isinstance(each, LearningRateFinder | BatchSizeFinder)]


def _let_overwrite(callbacks: Sequence[Any]) -> None:
    """Let LightningCLI save its config again in a trial's own folder, where an earlier segment has saved it."""
    for callback in callbacks:
        if any(cls.__name__ == "SaveConfigCallback" for cls in type(callback).__mro__):
            callback.overwrite = True


@contextmanager
def inside_trainers(takeover: Takeover) -> Iterator[None]:
    """Take over every Trainer that is made meanwhile, and release what it held at the end."""
    with ExitStack() as stack:
        stack.enter_context(_patched(L.Trainer, takeover))
        try:
            yield
        finally:
            for trainer in takeover.trainers:
                release(trainer)


@contextmanager
def _patched(cls: Any, takeover: Takeover) -> Iterator[None]:
    original, fit = cls.__init__, cls.fit
    names = inspect.signature(original)

    @functools.wraps(original)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        _refuse_old(kwargs)
        given = names.bind(self, *args, **kwargs).arguments
        given.pop("self")
        try:
            original(self, **takeover.arguments(given))
        except MisconfigurationException as error:
            raise _explained(error, given) from error

    @functools.wraps(fit)
    def fitted(self: Any, *args: Any, **kwargs: Any) -> None:
        takeover.fit(fit, self, *args, **kwargs)

    replacements = Replacements()
    for name, present in METHODS.items():
        if not hasattr(cls, name):
            replacements.replace(cls, name, _refusing(f"Trainer.{name} {OLD}; today it is {present}"))
    replacements.replace(cls, "__init__", init)
    replacements.replace(cls, "fit", fitted)
    for name in _EVALUATIONS:
        replacements.replace(cls, name, _evaluation(getattr(cls, name), takeover))
    try:
        yield
    finally:
        replacements.undo()


def _explained(error: MisconfigurationException, given: Mapping[str, Any]) -> Exception:
    """Return a UsageError for a device that the trial does not have, and any other error as it is."""
    if given.get("accelerator") in (None, "auto", "cpu"):
        return error
    message = f"the code asks for accelerator={given['accelerator']!r}, and the trial has none: {error}"
    return UsageError(message, hint="`trainer: {accelerator: auto}` in the sweep file overrides it")


def _refusing(message: str) -> Callable[..., Any]:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise UsageError(message, hint="correct the code")

    return refuse


def _refuse_old(given: Mapping[str, Any]) -> None:
    """Raise UsageError for a Trainer's argument of an earlier Lightning, with today's spelling."""
    for name, value in given.items():
        if spelling := present_spelling(name):
            raise UsageError(f"Trainer({name}={value!r}) {OLD}; today it is {spelling}", hint="correct the code")


def _evaluation(original: Callable[..., Any], takeover: Takeover) -> Callable[..., Any]:
    """Return ``Trainer.test`` or its like, whose metrics are no reports."""
    session = takeover.session

    @functools.wraps(original)
    def evaluate(self: Any, *args: Any, **kwargs: Any) -> Any:
        before, session.evaluates = session.evaluates, True
        try:
            returned = original(self, *args, **kwargs)
            takeover.logged.take(self.callback_metrics)
            return returned
        finally:
            session.evaluates = before

    return evaluate
