"""Every private part of Lightning that this package uses, each behind one function.

Lightning has no public call for these. If a release renames one, the function here raises an error that names the
installed version and `LAST_TESTED`, and a canary in ``tests/test_compat_lightning.py`` fails with the same text.
"""

from __future__ import annotations

import functools
import importlib.metadata
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NoReturn

import lightning as L
import torch
from lightning.fabric.utilities import optimizer as optimizer_utilities
from lightning.fabric.utilities import registry
from lightning.fabric.utilities.data import _set_sampler_epoch
from lightning.pytorch.loops import fetchers, training_epoch_loop
from lightning.pytorch.loops.loop import _Loop as Loop
from lightning.pytorch.trainer.connectors.logger_connector.result import _Metadata, _ResultMetric, _Sync
from lightning.pytorch.tuner import lr_finder
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from lightning.pytorch.utilities.exceptions import SIGTERMException, _TunerExitException

from orchestrator.errors import SweepError

if TYPE_CHECKING:
    from lightning.pytorch.callbacks import (
        BatchSizeFinder,
        LearningRateFinder,
        ModelCheckpoint,
        ModelPruning,
        StochasticWeightAveraging,
    )
    from lightning.pytorch.loggers import MLFlowLogger, WandbLogger

LAST_TESTED = "2.6.6"
"""The last version of Lightning that these functions are tested with."""


def version_hint() -> str:
    """Return the installed version of Lightning and the last tested one, for an error's hint."""
    return f"lightning {L.__version__} is installed; the last version tested is {LAST_TESTED}"


def restart_data_fetcher(trainer: L.Trainer) -> None:
    """Start the training loader of the current epoch again, after all hooks of the epoch's start.

    Lightning does so itself in each epoch but the first one of a fit. A loader draws from the global generators as it
    starts, and so may the hooks. Does nothing before Lightning has started the loader for the first time.
    """
    if _attribute(trainer.fit_loop, "_data_fetcher") is None:
        return
    loop: Any = trainer.fit_loop.epoch_loop
    original = _attribute(loop, "on_run_start")

    def on_run_start(data_fetcher: Any) -> None:
        loop.on_run_start = original
        iter(data_fetcher)
        original(data_fetcher)

    loop.on_run_start = on_run_start


def before_loading(trainer: L.Trainer, prepare: Callable[[int], None]) -> None:
    """Call ``prepare`` each time before Lightning makes the training loaders, with the epoch that they are made for.

    An uninterrupted run makes them before epoch 0, and again at the multiples of ``reload_dataloaders_every_n_epochs``.
    So a fit that resumes makes those of the last such epoch, and ``trainer.current_epoch`` is that epoch meanwhile.
    """
    loop: Any = trainer.fit_loop
    every = int(_attribute(trainer, "reload_dataloaders_every_n_epochs"))
    original = _attribute(loop, "setup_data")

    def setup_data() -> None:
        if _attribute(loop, "_combined_loader") is not None and not _attribute(loop, "_should_reload_train_dl"):
            return
        progress = loop.epoch_progress.current
        completed = progress.completed
        progress.completed = epoch = progress.processed - progress.processed % every if every else 0
        prepare(epoch)
        if progress.ready == progress.started == progress.processed:
            _end_restart(loop)
        try:
            original()
        finally:
            progress.completed = completed

    loop.setup_data = setup_data


def end_persistent_workers(loader: Any) -> None:
    """End the persistent worker processes of a DataLoader; it starts others as it is started. A private part of torch.

    Such a worker draws its random numbers from one state through all epochs, which nothing can set from outside.
    """
    iterator = _attribute(loader, "_iterator") if getattr(loader, "persistent_workers", False) else None
    if iterator is not None:
        _attribute(iterator, "_shutdown_workers")()
        loader._iterator = None


def _end_restart(loop: Any) -> None:
    """Begin the next epoch if the checkpoint's has ended. Where ``max_steps`` is set, Lightning would end it again."""
    loop._restarting = False
    for part in vars(loop).values():
        if isinstance(part, Loop):
            _end_restart(part)


def logged_step(trainer: L.Trainer) -> int:
    """Return the step at which Lightning logs the metrics of the epoch, or of the validation, that has just ended."""
    stepped = stepped_batches(trainer)
    return stepped if is_accumulating(trainer) else stepped - 1


def on_train_loaders(trainer: L.Trainer, call: Callable[[CombinedLoader], None]) -> None:
    """Call a function with the training loaders whenever Lightning has made them, before it starts them."""
    loop: Any = trainer.fit_loop
    original = _attribute(loop, "_load_combined_loader_states")

    def load() -> None:
        original()
        call(_attribute(loop, "_combined_loader"))

    loop._load_combined_loader_states = load


def iterate_through(combined: CombinedLoader, sources: list[Any], started: Callable[[CombinedLoader], None]) -> None:
    """Let an iteration of ``combined`` iterate over ``sources`` in place of its loaders, which stay in view.

    ``started`` is called with it after each start of its iterator.
    """
    _attribute(combined, "_flattened")
    kind = type(combined)

    class Watched(kind):  # type: ignore[misc, valid-type]
        def __iter__(self) -> Any:
            loaders: Any = vars(self)["_flattened"]
            self._flattened = sources
            try:
                super().__iter__()
            finally:
                self._flattened = loaders
            started(self)
            return self

    Watched.__name__, Watched.__qualname__ = kind.__name__, kind.__qualname__
    combined.__class__ = Watched


def combined_progress(combined: CombinedLoader) -> tuple[int, list[bool]]:
    """Return how many batches the running iteration has given, and which loaders it has exhausted once."""
    iterator = _attribute(combined, "_iterator")
    return int(_attribute(iterator, "_idx")), list(getattr(iterator, "_consumed", ()))


def set_combined_progress(combined: CombinedLoader, batches: int, exhausted: Iterable[bool]) -> None:
    """Set what `combined_progress` returns for an iteration that has just started."""
    iterator = _attribute(combined, "_iterator")
    _attribute(iterator, "_idx")
    iterator._idx = batches
    if hasattr(iterator, "_consumed"):
        iterator._consumed = list(exhausted)


def scale_batch_counts(trainer: L.Trainer, ratio: float) -> None:
    """Multiply the counts of training batches in the epoch and in all, rounded down: the batches have another size."""
    progress = trainer.fit_loop.epoch_loop.batch_progress
    for counts in (progress.current, progress.total):
        for name in ("ready", "started", "processed", "completed"):
            setattr(counts, name, int(_attribute(counts, name) * ratio))


def batches_begun(trainer: L.Trainer) -> int:
    """Return how many training batches were begun, over all epochs."""
    return int(_attribute(trainer.fit_loop.epoch_loop.batch_progress.total, "ready"))


def fetches_ahead(trainer: L.Trainer) -> bool:
    """Return whether Lightning fetches a batch before it is needed: the epoch has no known length."""
    fetcher = _attribute(trainer.fit_loop, "_data_fetcher")
    return isinstance(fetcher, fetchers._PrefetchDataFetcher) and fetcher.length is None


def batches_ahead(trainer: L.Trainer) -> int:
    """Return the number of batches that are fetched and not trained on."""
    return len(getattr(_attribute(trainer.fit_loop, "_data_fetcher"), "batches", ()))


def set_sampler_epoch(loader: Any, epoch: int) -> None:
    """Tell the samplers of a loader the epoch, as Lightning does at its start."""
    _set_sampler_epoch(loader, epoch)


def last_reload(trainer: L.Trainer) -> int:
    """Return the epoch at which the training loaders were made."""
    return int(_attribute(trainer.fit_loop, "_last_train_dl_reload_epoch"))


def set_last_reload(trainer: L.Trainer, epoch: int) -> None:
    """Set what `last_reload` returns, for ``reload_dataloaders_every_n_epochs``."""
    last_reload(trainer)
    loop: Any = trainer.fit_loop
    loop._last_train_dl_reload_epoch = epoch


def epoch_length(trainer: L.Trainer) -> list[Any]:
    """Return how many batches Lightning expects of an epoch, and after how many it validates.

    It counts them as it makes the loaders, and keeps these numbers whatever later epochs give.
    """
    return [_attribute(trainer.fit_loop, "max_batches"), _attribute(trainer, "val_check_batch")]


def set_epoch_length(trainer: L.Trainer, length: list[Any]) -> None:
    """Set what `epoch_length` returns."""
    epoch_length(trainer)
    trainer.fit_loop.max_batches, trainer.val_check_batch = length


def validation_loaded_at(trainer: L.Trainer) -> int | None:
    """Return the epoch at which the validation loaders were made; None before that, and for those of a sanity check."""
    epoch = _attribute(trainer.fit_loop.epoch_loop.val_loop, "_last_val_dl_reload_epoch")
    return int(epoch) if epoch >= 0 else None


def load_validation_as_at(trainer: L.Trainer, epoch: int) -> None:
    """Make the first validation loaders of this fit as those of an epoch, unless others are due by then.

    An uninterrupted run made them in that epoch, and ``trainer.current_epoch`` is that epoch meanwhile.
    """
    loop: Any = trainer.fit_loop.epoch_loop.val_loop
    every = int(_attribute(trainer, "reload_dataloaders_every_n_epochs"))
    original = _attribute(loop, "setup_data")

    def setup_data() -> None:
        loop.setup_data = original
        progress = trainer.fit_loop.epoch_progress.current
        completed = progress.completed
        if not every or completed - epoch < every:
            progress.completed = epoch
        try:
            original()
        finally:
            progress.completed = completed

    loop.setup_data = setup_data


def seconds_since_validation(trainer: L.Trainer) -> float | None:
    """Return the time since the last validation, if the Trainer validates by the clock."""
    since = getattr(trainer, "_last_val_time", None)  # a finder saves a checkpoint before Lightning sets it
    is_by_clock = _attribute(trainer, "_val_check_time_interval") is not None
    return time.monotonic() - since if is_by_clock and since is not None else None


def set_seconds_since_validation(trainer: L.Trainer, seconds: float | None) -> None:
    """Set what `seconds_since_validation` returns."""
    if seconds is not None and seconds_since_validation(trainer) is not None:
        own: Any = trainer
        own._last_val_time = time.monotonic() - seconds


_OF_MODEL_CHECKPOINT = ("_last_global_step_saved", "_last_checkpoint_saved", "_defer_save_until_validation",
                        "current_score")  # fmt: skip


def checkpoint_memory(callback: ModelCheckpoint) -> dict[str, Any]:
    """Return what a ModelCheckpoint remembers of its last save beyond the state that it loads."""
    memory = {name: getattr(callback, name) for name in _OF_MODEL_CHECKPOINT if hasattr(callback, name)}
    checked = _attribute(callback, "_last_time_checked")
    return memory | {"seconds": None if checked is None else time.monotonic() - checked}


def set_checkpoint_memory(callback: ModelCheckpoint, memory: Mapping[str, Any]) -> None:
    """Set what `checkpoint_memory` returned."""
    own: Any = callback
    for name in _OF_MODEL_CHECKPOINT:
        if name in memory and hasattr(own, name):
            setattr(own, name, memory[name])
    if memory.get("seconds") is not None:
        own._last_time_checked = time.monotonic() - memory["seconds"]


def around_batches(
    trainer: L.Trainer,
    *,
    first: Callable[[], None],
    after_each: Callable[[], None],
    validates: Callable[[], bool] = lambda: False,
) -> None:
    """Call ``first`` before the first batch that an epoch's loop fetches, and ``after_each`` after each batch.

    If ``validates`` returns True after a batch, it is validated, whether or not Lightning would. ``after_each`` comes
    after the batch's validation and after every scheduler's step, so the Trainer is between two batches. There is no
    hook for any of them. Lightning raises there after a SIGTERM, and ``after_each`` is called first.
    """
    loop: Any = trainer.fit_loop.epoch_loop
    start, end = _attribute(loop, "on_run_start"), _attribute(loop, "on_advance_end")
    is_due = _attribute(loop, "_should_check_val_fx")

    def on_run_start(data_fetcher: Any) -> None:
        start(data_fetcher)
        first()

    def on_advance_end(data_fetcher: Any) -> None:
        if validates():
            loop._should_check_val_fx = lambda fetcher: True
        try:
            end(data_fetcher)
        except SIGTERMException:
            after_each()
            raise
        finally:
            loop._should_check_val_fx = is_due
        after_each()

    loop.on_run_start, loop.on_advance_end = on_run_start, on_advance_end


def refuse_stop_iteration(trainer: L.Trainer) -> None:
    """Raise RuntimeError where a hook or a step raises StopIteration.

    Lightning takes it for the end of the data, and would end the epoch, the validation or the training in silence.
    """
    fit: Any = trainer.fit_loop
    steps = ("on_advance_start", "advance", "on_advance_end")
    loops = {fit: steps, fit.epoch_loop: steps[1:]}
    loops |= dict.fromkeys((fit.epoch_loop.val_loop, trainer.validate_loop, trainer.test_loop), ("_evaluation_step",))
    for loop, names in loops.items():
        for name in names:
            setattr(loop, name, _without_stop_iteration(trainer, _attribute(loop, name)))


def _without_stop_iteration(trainer: L.Trainer, step: Callable[..., Any]) -> Callable[..., Any]:
    def checked(*args: Any) -> Any:
        try:
            return step(*args)
        except StopIteration as error:
            files = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
            if fetchers.__file__ in files or files[-1] == training_epoch_loop.__file__:
                raise  # the data have ended, or on_train_batch_start has returned -1
            hook = trainer.lightning_module._current_fx_name
            message = f"{hook} raised StopIteration, which would end the data for Lightning: give next() a default"
            raise RuntimeError(message).with_traceback(error.__traceback__) from None

    return checked


def leave_fit() -> NoReturn:
    """End ``Trainer.fit`` between two batches: it returns after the hooks ``teardown``.

    The hooks of an epoch's and of the training's end are not called, since neither has ended.
    """
    raise _TunerExitException


def epoch_is_complete(trainer: L.Trainer) -> bool:
    """Return whether the epoch's last batch is done; not so where a limit of steps or a stop cuts the epoch short."""
    return steps_epoch_schedulers(trainer) or bool(_attribute(trainer.fit_loop, "_data_fetcher").done)


def steps_epoch_schedulers(trainer: L.Trainer) -> bool:
    """Return whether Lightning steps the schedulers of epochs after this batch.

    It does not if the data end before the expected number of batches.
    """
    return bool(_attribute(trainer.fit_loop.epoch_loop, "_num_ready_batches_reached")())


def is_accumulating(trainer: L.Trainer) -> bool:
    """Return whether gradients of the last batch wait for further batches."""
    return bool(_attribute(trainer.fit_loop.epoch_loop, "_should_accumulate")())


@contextmanager
def within_epoch(trainer: L.Trainer) -> Iterator[None]:
    """Let a checkpoint that is saved meanwhile, in the hooks of an epoch's end, say that the epoch goes on."""
    progress = _attribute(trainer.fit_loop, "epoch_progress")
    trackers = (progress.total, progress.current)
    for tracker in trackers:
        tracker.processed -= 1
    try:
        yield
    finally:
        for tracker in trackers:
            tracker.processed += 1


def call_hook(trainer: L.Trainer, owner: L.Callback | L.LightningModule, name: str) -> None:
    """Call a training hook of a callback or of the module as the Trainer does, so that it may log."""
    module = trainer.lightning_module
    before = module._current_fx_name
    module._current_fx_name = name
    try:
        if isinstance(owner, L.LightningModule):
            getattr(owner, name)()
        else:
            getattr(owner, name)(trainer, module)
    finally:
        module._current_fx_name = before


def stepped_batches(trainer: L.Trainer) -> int:
    """Return Lightning's step for loggers: the number of batches after which an optimizer stepped."""
    return int(_attribute(trainer.fit_loop.epoch_loop, "_batches_that_stepped"))


def continue_within_epoch(trainer: L.Trainer, stepped: int) -> None:
    """Let a Trainer that continues within an epoch continue with the next batch as if it had not been interrupted.

    Lightning would leave out the first validation and every scheduler's step at the end of the epoch. To be called
    where the epoch's loop starts.
    """
    _end_restart(trainer.fit_loop)
    trainer.fit_loop.epoch_loop._batches_that_stepped = stepped  # Lightning adds one if a batch was left out before
    for loop in (trainer.fit_loop, trainer.fit_loop.epoch_loop):
        _attribute(loop, "reset_restart_stage")()
    connector = _attribute(trainer, "_logger_connector")
    _attribute(connector, "_first_loop_iter")
    connector._first_loop_iter = False  # else the metrics of the epoch so far are reset


_META = ("fx", "name", "prog_bar", "logger", "on_step", "on_epoch", "enable_graph", "add_dataloader_idx",
         "dataloader_idx", "metric_attribute")  # fmt: skip
_REDUCTIONS: dict[str, Any] = {
    "torch.mean": torch.mean, "torch.sum": torch.sum, "torch.max": torch.max, "torch.min": torch.min,
    "sum": sum, "max": max, "min": min,
}  # fmt: skip
_VALUES = ("value", "cumulated_batch_size", "_forward_cache", "has_reset")


def logged_so_far(trainer: L.Trainer) -> list[dict[str, Any]]:
    """Return what ``self.log`` has collected in the training of this epoch, as plain values and tensors."""
    return [_logged(key, result) for key, result in _attribute(trainer.fit_loop.epoch_loop, "_results").items()]


def set_logged_so_far(trainer: L.Trainer, module: L.LightningModule, logged: list[dict[str, Any]]) -> None:
    """Restore what `logged_so_far` returned. A logged torchmetrics object is found by its attribute of the module."""
    results = _attribute(trainer.fit_loop.epoch_loop, "_results")
    for item in logged:
        meta = _Metadata(**item["meta"], reduce_fx=_REDUCTIONS[item["reduction"]])
        meta.sync = _Sync(fn=trainer.strategy.reduce, **item["sync"])
        result = _ResultMetric(meta, item["is_tensor"])
        result._update_count = 1  # else the first reading warns
        for name, value in item["values"].items():
            setattr(result, name, value)
        if not item["is_tensor"]:
            result.value = attrgetter(str(meta.metric_attribute))(module)
        results[item["key"]] = result.to(module.device)


def _logged(key: str, result: Any) -> dict[str, Any]:
    meta, sync = result.meta, result.meta.sync
    return {
        "key": key,
        "is_tensor": result.is_tensor,
        "meta": {name: getattr(meta, name) for name in _META},
        "reduction": next(name for name, function in _REDUCTIONS.items() if function is meta.reduce_fx),
        "sync": {"_should": sync._should, "rank_zero_only": sync.rank_zero_only, "_op": sync._op},
        "values": {
            name: getattr(result, name)
            for name in _VALUES
            if hasattr(result, name) and (result.is_tensor or name not in ("value", "cumulated_batch_size"))
        },
    }


def step_plateau(trainer: L.Trainer, scheduler: Any, value: torch.Tensor) -> None:
    """Step a plateau scheduler as Lightning does after an epoch, and count the step."""
    progress = _attribute(trainer.fit_loop.epoch_loop, "scheduler_progress")
    progress.increment_ready()
    trainer.lightning_module.lr_scheduler_step(scheduler, value)
    progress.increment_completed()


def resume_weight_averaging(callback: StochasticWeightAveraging) -> None:
    """Let the callback restore its schedule in a segment that resumes in the epoch after the last averaged one.

    Lightning restores it in the averaged epochs alone. In the one more that updates the statistics of batch norm, the
    optimizer would then keep its learning rate, and the checkpoint lose the schedule.
    """
    swa: Any = callback
    original = swa.on_train_epoch_start

    def on_train_epoch_start(trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        end, updated, epoch = (
            _attribute(swa, "_max_epochs"),
            _attribute(swa, "_latest_update_epoch"),
            trainer.current_epoch,
        )
        if (
            not _attribute(swa, "_initialized")
            and _attribute(swa, "_scheduler_state") is not None
            and -1 < end <= epoch
        ):
            swa._max_epochs, swa._latest_update_epoch = epoch + 1, epoch  # as if this one were averaged already
            original(trainer, pl_module)
            swa._max_epochs, swa._latest_update_epoch = end, updated
        original(trainer, pl_module)

    swa.on_train_epoch_start = on_train_epoch_start


def original_layers(callback: ModelPruning) -> Iterator[tuple[Any, Any, str]]:
    """Yield for each parameter that returns to its first values: the copy of its layer, the layer, and its name."""
    pruning: Any = callback
    if _attribute(pruning, "_resample_parameters") or not _attribute(pruning, "_use_lottery_ticket_hypothesis"):
        return
    for copy in (_attribute(pruning, "_original_layers") or {}).values():
        for index, name in copy["names"]:
            yield copy["data"], _attribute(pruning, "_parameters_to_prune")[index][0], name


@contextmanager
def cached_entry_points() -> Iterator[None]:
    """Let ``Trainer()`` find the callback entry points of installed packages without reading all metadata again.

    Lightning reads the metadata of every package, 10 to 25 ms, at each construction; a process's packages do not
    change. There is no setting for it, so the module's ``entry_points`` is replaced for the duration of the block.
    """
    module: Any = registry
    original = _attribute(module, "entry_points")
    try:
        module.entry_points = _entry_points
        yield
    finally:
        module.entry_points = original


_entry_points = functools.cache(importlib.metadata.entry_points)


def wandb_run(logger: WandbLogger) -> Any:
    """Return the logger's W&B run, or None if it has not been started; reading it starts nothing."""
    return _attribute(logger, "_experiment")


def set_wandb_run(logger: WandbLogger, run: Any) -> None:
    """Make ``run`` the logger's W&B run."""
    _attribute(logger, "_experiment")
    logger._experiment = run


def wandb_init_arguments(logger: WandbLogger) -> dict[str, Any]:
    """Return the arguments with which the logger will call ``wandb.init``; changes of them take effect."""
    arguments: dict[str, Any] = _attribute(logger, "_wandb_init")
    return arguments


def mlflow_client(logger: MLFlowLogger) -> Any:
    """Return the logger's MLflow client; unlike ``logger.experiment``, this makes no request."""
    return _attribute(logger, "_mlflow_client")


def mlflow_ids(logger: MLFlowLogger) -> tuple[str | None, str | None]:
    """Return the experiment's and the run's id; None for what the logger has not created or found yet."""
    return _attribute(logger, "_experiment_id"), _attribute(logger, "_run_id")


def set_mlflow_run_id(logger: MLFlowLogger, run_id: str | None) -> None:
    """Make the logger resume the run with that id; None lets it create a run."""
    _attribute(logger, "_run_id")
    logger._run_id = run_id


def move_optimizers(optimizers: Iterable[Any], device: torch.device) -> None:
    """Move the state of the optimizers to ``device``, in place."""
    _attribute(optimizer_utilities, "_optimizers_to_device")(optimizers, device)


def learning_rate_attribute(finder: LearningRateFinder, module: L.LightningModule) -> str:
    """Return the attribute that the finder sets; empty if it sets none."""
    if not _attribute(finder, "_update_attr"):
        return ""
    name: str = _attribute(lr_finder, "_determine_lr_attr_name")(module, _attribute(finder, "_attr_name"))
    return name


def batch_size_attribute(finder: BatchSizeFinder) -> str:
    """Return the attribute that the finder sets."""
    name: str = _attribute(finder, "_batch_arg_name")
    return name


def _attribute(owner: Any, name: str) -> Any:
    try:
        return getattr(owner, name)
    except AttributeError as error:
        kind = getattr(owner, "__name__", type(owner).__name__)
        raise SweepError(f"Lightning's {kind} has no {name}", hint=version_hint()) from error
