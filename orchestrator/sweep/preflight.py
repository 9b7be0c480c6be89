"""What can be known before the start: whether all that a spec names is there, and can be used."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from orchestrator.errors import Problem, SpecError, UsageError
from orchestrator.notify import missing
from orchestrator.object_storage import objects
from orchestrator.policies import build_searcher
from orchestrator.policies.schedulers.ray_schedulers import try_out
from orchestrator.rundir import RunDirectory
from orchestrator.spec import RayTuneScheduler, SamplerSearcher, SweepSpec, apply
from orchestrator.state import Objective

_TRIED_EPOCHS = 100  # of trials that are not there, before a scheduler of Ray's is trusted


def check(
    spec: SweepSpec,
    run: RunDirectory,
    *,
    local: bool,
    address: str = "",
    until: Callable[[], object] | None = None,
) -> list[str]:
    """Everything that can be known before the start; returns the folders that the spec's modules are imported from.

    A cluster that cannot run a trial is waited for where ``until`` is given, as long as that says nothing.
    """
    from orchestrator.tracking import check as check_trackers
    from orchestrator.training import class_loading

    if spec.resources.tpu:
        from orchestrator.xla.slice_engine import check as check_slices

        check_slices(spec, local=local)
    elif address and not local:
        from orchestrator.engine.tune import check_cluster

        check_cluster(spec.resources, address, run.runs, until)
    elif not local:
        from orchestrator.engine.tune import check_resources

        check_resources(spec.resources)
    roots = [str(Path(root).absolute()) for root in class_loading.import_roots(spec)]
    problems = unreachable(spec) + class_loading.check(spec)
    if problems:
        raise SpecError(problems)
    if isinstance(spec.searcher, SamplerSearcher):
        _try_sampler(spec, len(spec.searcher.try_first))
    if isinstance(spec.scheduler, RayTuneScheduler):
        _try_scheduler(spec, spec.scheduler)
    check_trackers(spec)
    _prepare_data(spec)
    return roots


def unreachable(spec: SweepSpec) -> list[Problem]:
    """What keeps those under ``notify`` from being told."""
    return [replace(problem, **spec.locate(problem.path)) for problem in missing(spec.notify)]


def check_writable(run: RunDirectory) -> list[Path]:
    """The folders still to be made, innermost first. Raises UsageError where they cannot be."""
    if run.url:
        _check_bucket(run.url)
        return []
    missing = list(takewhile(lambda folder: not folder.exists(), (run.root, *run.root.parents)))
    existing = missing[-1].parent if missing else run.root
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise UsageError(f"{run.root} cannot be written", hint="choose another folder: --runs DIR or SWEEP_RUNS=DIR")
    return missing


def _check_bucket(url: str) -> None:
    """Raises UsageError where nothing can be written there, or two drivers could both believe that they were first."""
    try:
        refuses = objects(url).refuses_a_second()
    except OSError as error:
        hint = "is there such a bucket, and may you write to it? the cloud's own tool would say so"
        raise UsageError(f"{url} cannot be written: {error.strerror}", hint=hint) from error
    if not refuses:
        raise UsageError(
            f"the store of {url} makes an object anew that was to be made only if there is none (If-None-Match: *)",
            hint="two drivers could overwrite each other there; a newer version of it, another store, or a folder",
        )


def import_from(roots: Sequence[str], run: RunDirectory | None = None) -> None:
    """Let modules be imported from these folders, but for what lies in a run directory: nothing there is code."""
    for root in reversed(run.outside(roots) if run else roots):
        if root not in sys.path:
            sys.path.insert(0, root)


def _try_sampler(spec: SweepSpec, number: int) -> None:
    """Ask a sampler that the spec names for a trial: only its constructor knows which arguments it refuses."""
    path = ("searcher", "init_args")
    try:
        build_searcher(spec).suggest(number)
    except UsageError as error:
        raise SpecError([Problem(error.message, error.hint, path, **spec.locate(path))]) from error


def _try_scheduler(spec: SweepSpec, scheduler: RayTuneScheduler) -> None:
    """Let a scheduler that the spec names judge a few trials: only so is it known whether it can do without Ray."""
    objective = Objective(spec.objective.metric, spec.objective.mode)
    epochs = min(spec.trainer.get("max_epochs") or _TRIED_EPOCHS, _TRIED_EPOCHS)
    try:
        try_out(objective, scheduler.class_path, scheduler.init_args, epochs)
    except UsageError as error:
        path = ("scheduler",)
        raise SpecError([Problem(error.message, error.hint, path, **spec.locate(path))]) from error


def _prepare_data(spec: SweepSpec) -> None:
    """Fetch the data once, before any trial asks for it: what is missing is said now. Raises DataError."""
    from orchestrator.training import class_loading

    _, data, _ = apply(spec, spec.space.sample(random.Random(spec.seed)))
    if data is not None and data.class_path.startswith("orchestrator."):
        # A user's own prepare_data runs in the trial, as it would under a plain Trainer.
        class_loading.build(data.model_dump()).prepare_data()
