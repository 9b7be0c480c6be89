"""Run a `Case` by a plain Trainer and as a sweep's segments, and list every difference to the bit."""

from __future__ import annotations

import copy
import dataclasses
import random
import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Checkpoint as CheckpointCallback
from lightning.pytorch.loggers import CSVLogger

from orchestrator import codec
from orchestrator.engine.segment_runner import attempt
from orchestrator.errors import describe
from orchestrator.training import Checkpoint, EpochSeed, Interim, Job, Report
from orchestrator.training.checkpoints import DurableCheckpointIO
from orchestrator.training.code_check import one_batch
from tests.support.random_callbacks import Ending
from tests.support.random_cases import Case

METRIC = "val_loss"
_OURS = ("orchestrator", "orchestrator.found", "orchestrator.resume")
_BY_FOLDER = ("dirpath", "best_model_path", "last_model_path", "kth_best_model_path", "best_k_models")
_BY_THE_CLOCK = ("time_elapsed",)


@dataclass
class History:
    """What a training gave.

    Attributes:
        metrics: for each validated epoch from 1, the metrics as floats.
        states: the checkpoint's content: for each of them, or for the last one of each segment.
        error: what ended the training; empty if it came to its end.
        segments: the epochs that each segment reported.
        batches: how many batches were trained; of a plain Trainer 0.
        end: how it ended, as `Ending` has it; empty after an error.
    """

    metrics: dict[float, dict[str, float]] = field(default_factory=dict)
    states: dict[float, dict[str, Any]] = field(default_factory=dict)
    error: str = ""
    segments: list[list[float]] = field(default_factory=list)
    batches: int = 0
    end: dict[str, Any] = field(default_factory=dict)


class Capture(CheckpointCallback):
    """Keeps what a checkpoint of each validated epoch holds. Lightning calls it after all other callbacks."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._last: Any = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._last = trainer.callback_metrics.get(METRIC)  # of a finder's training

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        epoch, value = trainer.current_epoch + 1, trainer.callback_metrics.get(METRIC)
        if value is None or value is self._last:
            return  # not validated
        self._last = value
        self._history.metrics[epoch] = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self._history.states[epoch] = copy.deepcopy(trainer._checkpoint_connector.dump_checkpoint(weights_only=False))


def plain(case: Case) -> History:
    """Train by ``lightning.Trainer`` alone, with `EpochSeed` among the callbacks."""
    history = History()
    arguments = case.trainer_arguments()
    with tempfile.TemporaryDirectory() as folder, _kept_process():
        callbacks = [EpochSeed(case.seed), *arguments.pop("callbacks"), Ending(), Capture(history)]
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
        options = {"accelerator": "cpu", "devices": 1, "precision": "32-true", **quiet, **arguments}
        try:
            L.seed_everything(case.seed, verbose=False)
            model, data = case.build_model(), case.build_data()
            logger = CSVLogger(folder)
            trainer = L.Trainer(**options, callbacks=callbacks, logger=logger, default_root_dir=folder)
            trainer.fit(model, datamodule=data)
            history.end = Ending.last
        except BaseException as error:
            history.error = describe(error)
    return history


def in_segments(case: Case, folder: Path, cuts: Sequence[float] = (), batches: Sequence[int] = ()) -> History:
    """Train as a sweep's trial, stopped after the epochs ``cuts`` and resumed; or after ``batches`` over all epochs.

    Each segment reads its job from text, as ``--local`` and a worker do.
    """
    history = History()
    saved: list[Checkpoint] = []
    for segment, cut in enumerate([*(batches or cuts), 1 << 30]):
        start = {"checkpoint": asdict(saved[-1])} if saved else {}
        job = _job(case, folder, segment=segment, save_every=None, **start)
        history.segments.append([])

        def report(each: Report, job: Job = job, cut: float = cut) -> bool:
            assert each.checkpoint is not None
            saved.append(each.checkpoint)
            history.segments[-1].append(each.epoch)
            history.metrics[each.epoch] = each.metrics
            return bool(batches) or each.epoch < cut

        def interim(each: Interim) -> None:
            assert each.checkpoint is not None
            saved.append(each.checkpoint)

        def stop(cut: float = cut) -> bool:
            history.batches += 1
            return bool(batches) and history.batches >= cut

        with _kept_process():
            failure = attempt(Job.from_text(job.to_text()), report, interim=interim, stop=stop)
        if history.segments[-1] and (path := job.run_directory / saved[-1].path).exists():
            history.states[saved[-1].epoch] = DurableCheckpointIO().load_checkpoint(path)
        history.end = {} if failure else Ending.last
        if failure is not None:
            history.error = f"{failure.kind}: {failure.message}"
            break
    return history


def _job(case: Case, folder: Path, **fields: Any) -> Job:
    known: dict[str, Any] = {"trial": 0, "seed": case.seed, "metric": METRIC}
    ending = {"class_path": f"{Ending.__module__}.Ending", "init_args": {}}
    callbacks = {"callbacks": [*case.trainer.get("callbacks", ()), ending]}
    trainer = codec.written({"accelerator": "cpu", "precision": "32-true", **case.trainer, **callbacks})
    fields["threads"] = 1
    places: dict[str, Any] = {"model": case.model, "data": case.data, "folder": str(folder / "run/trials/0000")}
    return Job(**known, trainer=trainer, **places, **fields)


@contextmanager
def _kept_process() -> Iterator[None]:
    """Keep what Lightning changes in the process if a KeyboardInterrupt or a setting of the case ends a training."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    deterministic, anomaly = torch.get_deterministic_debug_mode(), torch.is_anomaly_enabled()
    dtype, grad, threads = torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        torch.set_deterministic_debug_mode(deterministic)
        torch.autograd.set_detect_anomaly(anomaly)
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(grad)
        torch.set_num_threads(threads)


def differences(one: Any, other: Any, at: str = "") -> list[str]:
    """Return the places at which two values differ in type or content; NaN equals NaN."""
    if type(one) is not type(other) and not (isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor)):
        return [f"{at}: {type(one).__name__} {one!r:.60} is {type(other).__name__} {other!r:.60}"]
    if isinstance(one, torch.Tensor):
        alike = one.dtype == other.dtype and one.shape == other.shape
        return [] if alike and torch.equal(_bits(one), _bits(other)) else [f"{at}: {one!r:.90} is {other!r:.90}"]
    if isinstance(one, dict):
        parts = [f"{at}: keys {list(one)!r:.200} are {list(other)!r:.200}"] if one.keys() != other.keys() else []
        return parts + [
            part for key in one if key in other for part in differences(one[key], other[key], f"{at}.{key}")
        ]
    if isinstance(one, list | tuple) or type(one).__name__ == "deque":
        parts = [f"{at}: {len(one)} items are {len(other)}"] if len(one) != len(other) else []
        parts += [f"{at}: maxlen"] if getattr(one, "maxlen", None) != getattr(other, "maxlen", None) else []
        pairs = zip(one, other, strict=False)
        return parts + [part for n, pair in enumerate(pairs) for part in differences(*pair, f"{at}[{n}]")]
    if isinstance(one, np.ndarray):
        return [] if one.dtype == other.dtype and one.tobytes() == other.tobytes() else [f"{at}: {one} is {other}"]
    if dataclasses.is_dataclass(one) and not isinstance(one, type):
        return differences(vars(one), vars(other), at)
    return [] if one == other or (one != one and other != other) else [f"{at}: {one!r:.90} is {other!r:.90}"]


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)


def comparable(state: dict[str, Any]) -> dict[str, Any]:
    """Return a checkpoint's content without what names folders and what this project adds."""
    kept = {name: value for name, value in state.items() if name not in _OURS}
    kept["callbacks"] = {
        name: {key: value for key, value in part.items() if key not in (*_BY_FOLDER, *_BY_THE_CLOCK)}
        for name, part in state.get("callbacks", {}).items()
    }
    return kept


def compared(one: History, other: History) -> list[str]:
    """Return the differences in reported epochs, metrics and states."""
    if list(one.metrics) != list(other.metrics):
        return [f"epochs {list(one.metrics)} are {list(other.metrics)}"]
    found = []
    for epoch in other.metrics:
        found += differences(one.metrics[epoch], other.metrics[epoch], f"epoch {epoch} metrics")
    for epoch in {max(other.metrics, default=0)} & one.states.keys() & other.states.keys():
        found += differences(comparable(one.states[epoch]), comparable(other.states[epoch]), f"epoch {epoch} ")
    found += differences(one.end, other.end, "the end ") if one.end and other.end else []
    return found


def comparable_to_plain(plain: History, trial: History) -> tuple[History, History]:
    """Return both with the epochs that the trial has reported as a whole, and the metrics in these reports.

    A trial also reports validations within an epoch, and an epoch that was validated there alone has no report.
    """
    within = [epoch for epoch in trial.metrics if not isinstance(epoch, int)]
    epochs = [epoch for epoch in plain.metrics if not within or epoch in trial.metrics]
    named = {
        epoch: {name: value for name, value in plain.metrics[epoch].items() if name in trial.metrics.get(epoch, {})}
        for epoch in epochs
    }
    reported = {epoch: metrics for epoch, metrics in trial.metrics.items() if epoch not in within}
    return dataclasses.replace(plain, metrics=named), dataclasses.replace(trial, metrics=reported)


@dataclass
class Verdict:
    """How a case came out.

    Attributes:
        outcome: ``exact``, ``ended`` by the module's error, ``failed`` in Lightning as in the sweep, or ``refused``.
        faults: every difference, and what was not refused in time; empty if all is well.
    """

    outcome: str
    faults: list[str]


def judge(case: Case, folder: Path, cuts: Sequence[float] | None = None, batches: Sequence[int] | int = ()) -> Verdict:
    """Compare a plain Trainer, an uninterrupted trial, and one that is interrupted.

    It is interrupted at random epochs, at those of ``cuts``, or after ``batches``: these, or so many at random.
    """
    expected, whole = plain(case), in_segments(case, folder / "whole")
    if whole.error and not expected.error:
        return Verdict("refused", _refusal(case, folder / "checked", whole))
    rng = random.Random(f"cuts {case.seed}")
    if isinstance(batches, int):
        batches = sorted(rng.sample(range(1, whole.batches - 1), batches))  # an epoch that is cut short counts one more
    elif not batches and cuts is None:
        epochs = list(whole.metrics)[:-1]
        cuts = sorted(rng.sample(epochs, min(len(epochs), rng.choice([1, 1, 2, 3]))))
    parts = in_segments(case, folder / "parts", cuts or (), batches)
    faults = [f"a plain Trainer's {fault}" for fault in compared(*comparable_to_plain(expected, whole))]
    faults += [f"uninterrupted {fault}" for fault in compared(whole, parts)]
    if bool(expected.error) != bool(whole.error) or whole.error != parts.error:
        faults.append(f"errors {expected.error!r}, {whole.error!r}, {parts.error!r}")
    if whole.error and not whole.error.startswith("user: "):
        faults.append(f"a failure of another kind: {whole.error}")
    reported = [epoch for segment in parts.segments for epoch in segment]
    faults += [f"reported {reported}"] if reported != list(parts.metrics) else []
    return Verdict(("ended" if case.ends else "failed") if whole.error else "exact", faults)


def _refusal(case: Case, folder: Path, whole: History) -> list[str]:
    """Return what is wrong with a failure that a plain Trainer does not have: nothing if the check refuses the case."""
    with _kept_process():
        finding = one_batch(_job(case, folder, segment=0))
    is_refused = case.may_be_refused and finding.outcome == "refused" and finding.message and finding.hint
    return [] if is_refused else [f"not refused: {whole.error}; {finding}"]
