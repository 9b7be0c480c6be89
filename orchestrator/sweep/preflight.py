"""Checks before a sweep starts: that everything its spec names exists and can be used."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from typing import Any

from orchestrator.errors import Problem, SpecError, UsageError
from orchestrator.notify import notification_problems
from orchestrator.object_storage import objects
from orchestrator.rundir import RunDirectory
from orchestrator.spec import SweepSpec, apply, plugin_of


def check(
    spec: SweepSpec,
    run: RunDirectory,
    *,
    local: bool,
    address: str = "",
    until: Callable[[], object] | None = None,
    try_code: Callable[[], object] = lambda: None,
) -> list[str]:
    """Check a spec before the sweep starts. All mistakes are in one error.

    Args:
        spec: the sweep.
        run: its run directory.
        local: whether the trials run in this process.
        address: a Ray cluster's, or empty.
        until: if given, wait for a cluster that cannot run a trial until it can or ``until()`` is true.
        try_code: raises SpecError if the code fails when it is run; called unless its classes are wrong already.

    Returns:
        The folders that the spec's modules are imported from.

    Raises:
        SpecError: A class, an argument or a metric is wrong.
        UsageError: The cluster, a tracker or this machine cannot run the sweep.
        DataError: The data set cannot be fetched.
    """
    from orchestrator.tracking import check as check_trackers
    from orchestrator.training import class_loading

    faults = Faults(spec)
    with faults.of("resources"):
        _check_place(spec, run, local=local, address=address, until=until)
    faults.add(notify_problems(spec))
    faults.add(code := code_problems(spec))
    roots = class_loading.import_roots(spec)
    for options, path in ((spec.searcher, ("searcher", "init_args")), (spec.scheduler, ("scheduler",))):
        if not any(problem.path[:1] == path[:1] for problem in code):
            with faults.of(*path):
                plugin_of(options).preflight(options, spec)
    with faults.of("tracking"):
        check_trackers(spec)
    if faults.found and not code:
        with faults.of():
            try_code()
    faults.raise_all()
    _prepare_data(spec)
    try_code()
    return roots


def code_problems(spec: SweepSpec) -> list[Problem]:
    """Return what is wrong with the code that a spec names, and with its arguments."""
    from orchestrator.training import class_loading
    from orchestrator.training.doors.code_checks import check_code

    try:
        return class_loading.check(spec) + check_code(spec)
    except SpecError as error:  # a class that is named alone, and is not found
        return list(error.problems)


def further_problems(error: SpecError) -> list[Problem]:
    """Return what is wrong with the sections of a refused file that can be read: its code, and what a trial gets.

    What follows from a section that cannot be read is left out.
    """
    rest: SweepSpec | None = error.rest
    if rest is None:
        return []
    faults = Faults(rest)
    with faults.of("resources"):
        if not rest.resources.tpu:
            from orchestrator.engine.tune import check_resources

            check_resources(rest.resources)
    faults.add(code_problems(rest))
    removed = [problem.path for problem in error.problems]
    swept = any(path[:1] == ("space",) for path in removed)  # an argument may be missing for that alone
    return [
        problem
        for problem in faults.problems()
        if not any(_overlap(problem.path, path) for path in removed)
        and not (swept and " needs the " in problem.message)
    ]


def _overlap(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]


class Faults:
    """The errors of several checks, for one answer.

    Args:
        spec: whose file gives the positions.
    """

    def __init__(self, spec: SweepSpec) -> None:
        self._spec = spec
        self._errors: list[tuple[UsageError, tuple[str, ...]]] = []

    @property
    def found(self) -> bool:
        """Whether there are any."""
        return bool(self._errors)

    def add(self, problems: Sequence[Problem]) -> None:
        """Add problems that have their positions."""
        if problems:
            self._errors.append((SpecError(problems), ()))

    @contextlib.contextmanager
    def of(self, *path: str) -> Iterator[None]:
        """Collect what a check of the section at ``path`` raises."""
        try:
            yield
        except UsageError as error:
            self._errors.append((error, path))

    def problems(self) -> list[Problem]:
        """Return all problems, in the order of the file."""
        found: dict[Problem, None] = {}
        for error, path in self._errors:
            if isinstance(error, SpecError):
                found.update(dict.fromkeys(error.problems))
            else:
                found[Problem(error.message, error.hint, path, **self._spec.locate(path))] = None
        return sorted(found, key=lambda problem: (problem.line == 0, problem.line, problem.column))

    def raise_all(self) -> None:
        """Raise the only error as it is, several as one SpecError."""
        if len(self._errors) == 1:
            error, path = self._errors[0]
            if path[:1] not in (("searcher",), ("scheduler",)):
                raise error
        if self._errors:
            raise SpecError(self.problems()) from self._errors[0][0]


def _check_place(
    spec: SweepSpec, run: RunDirectory, *, local: bool, address: str, until: Callable[[], object] | None
) -> None:
    """Raise UsageError if a trial finds no room on this machine or on the cluster."""
    if spec.resources.tpu:
        from orchestrator.xla.slice_engine import check as check_slices

        check_slices(spec, local=local)
    elif address and not local:
        from orchestrator.engine.tune import check_cluster

        check_cluster(spec.resources, address, run.runs, until)
    elif not local:
        from orchestrator.engine.tune import check_resources

        check_resources(spec.resources)


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


def _prepare_data(spec: SweepSpec) -> None:
    """Fetch the data once, before any trial needs it. Raises DataError."""
    from orchestrator.training import class_loading

    _, data, _ = apply(spec, spec.space.sample(random.Random(spec.seed)))
    if data is not None and data.class_path.startswith("orchestrator.data."):
        # A user's prepare_data runs in the trial, as under a plain Trainer.
        class_loading.build_data(data.model_dump()).prepare_data()
