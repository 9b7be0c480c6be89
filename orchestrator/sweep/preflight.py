"""Checks before a sweep starts: that everything its spec names exists and can be used."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from orchestrator.errors import Problem, SpecError, UsageError
from orchestrator.notify import notification_problems
from orchestrator.object_storage import objects
from orchestrator.rundir import RunDirectory
from orchestrator.spec import PolicyOptions, SweepSpec, apply, plugin_of


def check(
    spec: SweepSpec,
    run: RunDirectory,
    *,
    local: bool,
    address: str = "",
    until: Callable[[], object] | None = None,
) -> list[str]:
    """Check a spec before the sweep starts.

    Args:
        spec: the sweep.
        run: its run directory.
        local: whether the trials run in this process.
        address: a Ray cluster's, or empty.
        until: if given, wait for a cluster that cannot run a trial until it can or ``until()`` is true.

    Returns:
        The folders that the spec's modules are imported from.

    Raises:
        SpecError: A class, an argument or a metric is wrong.
        UsageError: The cluster, a tracker or this machine cannot run the sweep.
        DataError: The data set cannot be fetched.
    """
    from orchestrator.tracking import check as check_trackers
    from orchestrator.training import class_loading
    from orchestrator.training.doors.code_checks import check_code

    if spec.resources.tpu:
        from orchestrator.xla.slice_engine import check as check_slices

        check_slices(spec, local=local)
    elif address and not local:
        from orchestrator.engine.tune import check_cluster

        check_cluster(spec.resources, address, run.runs, until)
    elif not local:
        from orchestrator.engine.tune import check_resources

        check_resources(spec.resources)
    roots = class_loading.import_roots(spec)
    if problems := notify_problems(spec) + class_loading.check(spec) + check_code(spec):
        raise SpecError(problems)
    _check_plugin(spec, spec.searcher, ("searcher", "init_args"))
    _check_plugin(spec, spec.scheduler, ("scheduler",))
    check_trackers(spec)
    _prepare_data(spec)
    return roots


def notify_problems(spec: SweepSpec) -> list[Problem]:
    """Return why a target under ``notify`` cannot be reached."""
    return [replace(problem, **spec.locate(problem.path)) for problem in notification_problems(spec.notify)]


def check_writable(run: RunDirectory) -> list[Path]:
    """Return the folders that must be created, innermost first. Raises UsageError if they cannot be."""
    if run.url:
        _check_bucket(run.url)
        return []
    missing = list(takewhile(lambda folder: not folder.exists(), (run.root, *run.root.parents)))
    existing = missing[-1].parent if missing else run.root
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise UsageError(f"{run.root} cannot be written", hint="choose another folder: --runs DIR or SWEEP_RUNS=DIR")
    return missing


def _check_bucket(url: str) -> None:
    """Raise UsageError if the bucket cannot be written, or cannot tell two drivers which of them was first."""
    try:
        refuses = objects(url).enforces_create()
    except OSError as error:
        hint = "check with the cloud's own tool that the bucket exists and that you may write to it"
        raise UsageError(f"{url} cannot be written: {error.strerror}", hint=hint) from error
    if not refuses:
        raise UsageError(
            f"the store of {url} overwrites an object that was to be created only if absent (If-None-Match: *)",
            hint="two drivers could overwrite each other there; use a newer version, another store or a folder",
        )


def _check_plugin(spec: SweepSpec, options: PolicyOptions, path: tuple[str, ...]) -> None:
    """Let a searcher or scheduler check what takes an import of the user's code."""
    try:
        plugin_of(options).preflight(options, spec)
    except UsageError as error:
        raise SpecError([Problem(error.message, error.hint, path, **spec.locate(path))]) from error


def _prepare_data(spec: SweepSpec) -> None:
    """Fetch the data once, before any trial needs it. Raises DataError."""
    from orchestrator.training import class_loading

    _, data, _ = apply(spec, spec.space.sample(random.Random(spec.seed)))
    if data is not None and data.class_path.startswith("orchestrator.data."):
        # A user's prepare_data runs in the trial, as under a plain Trainer.
        class_loading.build_data(data.model_dump()).prepare_data()
