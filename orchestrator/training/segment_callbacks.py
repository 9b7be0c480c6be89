"""The sweep's callbacks for the Trainer of one segment: what makes its training exact, and what reports it."""

from __future__ import annotations

from typing import Any

import lightning as L

from orchestrator.training.epoch_seed import EpochSeed
from orchestrator.training.exact_resume import ExactResume, LoadsDouble
from orchestrator.training.finders import Finders
from orchestrator.training.job import Job
from orchestrator.training.live_writer import LiveWriter
from orchestrator.training.optimizer_overrides import OptimizerOverrides
from orchestrator.training.progress_meter import ProgressMeter
from orchestrator.training.report_callback import ReportCallback
from orchestrator.training.trial_files import OwnFolder

_BATCH_HOOKS = ("on_train_batch_start", "on_before_zero_grad", "on_before_backward", "on_after_backward",
                "on_before_optimizer_step", "on_train_batch_end", "on_validation_batch_start",
                "on_validation_batch_end")  # fmt: skip


def segment_callbacks(
    job: Job, live: LiveWriter | None, *, resumes: bool, **reporting: Any
) -> tuple[list[L.Callback], list[L.Callback]]:
    """Return the callbacks that come before the user's own, and those that come after them.

    Args:
        job: the segment.
        live: shows progress between two reports; None on ranks that show none.
        resumes: whether the segment starts from a checkpoint.
        **reporting: the other arguments of `ReportCallback`.
    """
    finders, meter = Finders(resumes=resumes), ProgressMeter()
    meter.live = live
    after: list[L.Callback] = [OptimizerOverrides()] if job.new_params else []
    after += [OwnFolder(job), finders, *([LoadsDouble()] if resumes else []), meter]
    after.append(ReportCallback(job, finders=finders, meter=meter, **reporting))
    before: list[L.Callback] = [EpochSeed(job.seed), ExactResume(job.trial, resumes=resumes)]
    for callback in (*before, *after):
        _drop_idle_hooks(callback)
    return before, after


def _drop_idle_hooks(callback: L.Callback) -> None:
    """Spare Lightning the calls of hooks that do nothing: each costs some microseconds, and a step has six."""
    for name in _BATCH_HOOKS:
        if getattr(type(callback), name) is getattr(L.Callback, name):
            setattr(callback, name, None)
