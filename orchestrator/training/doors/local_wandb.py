"""Serve ``wandb`` to a trial's script on this machine: its config holds the parameters, what it logs is reported.

W&B runs in its own mode ``disabled``, which opens no connection and writes no file. If the sweep file's ``tracking``
names W&B, the script's run is the trial's, which the sweep uploads.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from orchestrator.training.doors.call_arguments import nested
from orchestrator.training.doors.trial_session import TrialSession, is_number


class LocalWandb:
    """What replaces ``wandb.init`` and its like in one segment.

    Args:
        session: the segment.
        tracked: the logger of the sweep file's ``tracking``, if it has one for W&B.
    """

    def __init__(self, session: TrialSession, tracked: Any) -> None:
        self._session, self._tracked = session, tracked
        self._undo: list[Callable[[], None]] = []
        self._is_inside = False
        self._logged = 0
        self._row: dict[str, float] = {}  # since the last report
        self._summary: dict[str, float] = {}  # the last value of each metric
        self._run: Any = None

    def install(self, wandb: Any) -> None:
        """Replace the functions of the module until `remove`."""
        original = wandb.init

        def init(*args: Any, **kwargs: Any) -> Any:
            if self._is_inside:
                return original(*args, **kwargs)
            self._is_inside = True
            try:
                return self._init(wandb, original, kwargs)
            finally:
                self._is_inside = False

        replaced = {"init": init, "login": _always, "sweep": _sweep, "agent": _agent, "log": wandb.log}
        for name, function in replaced.items():
            self._undo.append(_setter(wandb, name, getattr(wandb, name)))
            setattr(wandb, name, function)

    def remove(self) -> None:
        """Give the module its functions back."""
        while self._undo:
            self._undo.pop()()

    def final(self) -> dict[str, float] | None:
        """Return the run's summary if it has the objective: what a trial that made no report comes to."""
        numbers = dict(self._summary)
        if self._run is not None:
            numbers |= dict(_numbers(dict(self._run.summary.items())))
        return numbers if self._session.job.metric in numbers else None

    def _init(self, wandb: Any, original: Any, kwargs: Mapping[str, Any]) -> Any:
        params = nested(self._session.job.model["args"])
        kept = {name: value for name, value in kwargs.items() if name.startswith("config")}
        run = original(mode="disabled", **kept)
        if self._tracked is not None:
            config = dict(run.config.items())
            run = self._tracked.experiment
            run.config.update(config, allow_val_change=True)
        run.config.update(params, allow_val_change=True)
        sent = run.log

        def log(data: Mapping[str, Any], step: int | None = None, *rest: Any, **more: Any) -> None:
            sent(data, step, *rest, **more)
            self._report(data, step)

        run.log = wandb.log = log
        self._run = run
        return run

    def _report(self, data: Mapping[str, Any], step: int | None) -> None:
        """Report what is logged once all that a report needs is there, unless a Trainer reports."""
        self._logged = self._logged + 1 if step is None else max(step, self._logged)
        session, numbers = self._session, dict(_numbers(data))
        self._summary |= numbers
        if session.leaves_reports_to_trainer or not numbers:
            return
        needed = {session.job.metric, *session.job.required}
        self._row |= numbers
        if needed <= self._row.keys():
            numbers, self._row = self._row, {}
            epoch = session.reports + 1
        elif session.job.metric in numbers:
            return  # the rest of the row is logged by the next call
        else:
            epoch = max(1, session.reports)
        session.report(numbers, {"step": max(1, self._logged), "epoch": epoch})


def _always(*args: Any, **kwargs: Any) -> bool:
    return True


def _sweep(*args: Any, **kwargs: Any) -> str:
    """Return a name for a sweep that the script defines; the sweep file's space is searched instead."""
    return "local"


def _agent(sweep_id: str, function: Callable[[], Any] | None = None, *args: Any, **kwargs: Any) -> None:
    """Run the function of a script's own agent once: for this trial."""
    if function is not None:
        function()


def _numbers(data: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, float]]:
    """Yield the numbers of a logged row, those of a mapping within it by their dotted names, as W&B has them."""
    for name, value in data.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{above}{name}.")
        elif is_number(value):
            yield f"{above}{name}", float(value)


def _setter(owner: Any, name: str, value: Any) -> Callable[[], None]:
    return lambda: setattr(owner, name, value)


class _Hook(MetaPathFinder, Loader):
    """Calls ``installed`` with the module when ``wandb`` is imported for the first time."""

    def __init__(self, installed: Callable[[Any], None]) -> None:
        self._installed = installed

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Find the package without this hook."""
        if name != "wandb":
            return None
        sys.meta_path.remove(self)
        found = importlib.util.find_spec(name)
        if found is None or found.loader is None:
            return found
        self._loader, found.loader = found.loader, self
        return found

    def create_module(self, spec: ModuleSpec) -> Any:
        """Leave it to the package's own loader."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Execute the package, then replace its functions."""
        self._loader.exec_module(module)
        module.__loader__ = self._loader
        self._installed(module)


@contextmanager
def local_wandb(session: TrialSession, tracked: Any = None) -> Iterator[LocalWandb]:
    """Serve ``wandb`` locally meanwhile, whenever the code imports it."""
    served = LocalWandb(session, tracked)
    hook = _Hook(served.install)
    if tracked is None:
        os.environ["WANDB_MODE"] = "disabled"  # restored with the rest of the process's state
    if "wandb" in sys.modules:
        served.install(sys.modules["wandb"])
    else:
        sys.meta_path.insert(0, hook)
    try:
        yield served
    finally:
        served.remove()
        if hook in sys.meta_path:
            sys.meta_path.remove(hook)
