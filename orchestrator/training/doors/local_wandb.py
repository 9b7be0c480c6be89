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


class _Wandb:
    """What replaces ``wandb.init`` and ``wandb.login`` in one segment.

    Args:
        session: the segment.
        tracked: the logger of the sweep file's ``tracking``, if it has one for W&B.
    """

    def __init__(self, session: TrialSession, tracked: Any) -> None:
        self._session, self._tracked = session, tracked
        self._undo: list[Callable[[], None]] = []
        self._is_inside = False
        self._logged = 0

    def install(self, wandb: Any) -> None:
        """Replace the functions of the module until `remove`."""
        original = wandb.init

        def init(*args: Any, **kwargs: Any) -> Any:
            if self._is_inside:
                return original(*args, **kwargs)
            self._is_inside = True
            try:
                return self._init(wandb, original, args, kwargs)
            finally:
                self._is_inside = False

        for name, replaced in (("init", init), ("login", lambda *args, **kwargs: True)):
            self._undo.append(_setter(wandb, name, getattr(wandb, name)))
            setattr(wandb, name, replaced)
        self._undo.append(_setter(wandb, "log", wandb.log))

    def remove(self) -> None:
        """Give the module its functions back."""
        while self._undo:
            self._undo.pop()()

    def _init(self, wandb: Any, original: Any, args: Any, kwargs: Mapping[str, Any]) -> Any:
        given = kwargs.get("config")
        config = dict(given) if isinstance(given, Mapping) else dict(vars(given)) if hasattr(given, "__dict__") else {}
        params = nested(self._session.job.model["args"])
        if self._tracked is not None:
            run = self._tracked.experiment
            run.config.update({**config, **params}, allow_val_change=True)
        else:
            run = original(mode="disabled", config={**config, **params})
        sent = run.log

        def log(data: Mapping[str, Any], step: int | None = None, *rest: Any, **more: Any) -> None:
            sent(data, step, *rest, **more)
            self._report(data, step)

        run.log = wandb.log = log
        return run

    def _report(self, data: Mapping[str, Any], step: int | None) -> None:
        """Report what is logged, unless a Trainer does so."""
        self._logged = self._logged + 1 if step is None else max(step, self._logged)
        session = self._session
        numbers = {str(name): value for name, value in data.items() if is_number(value)}
        if session.trainer is None and numbers:
            epoch = session.reports + 1 if session.job.metric in numbers else max(1, session.reports)
            session.report(numbers, {"step": max(1, self._logged), "epoch": epoch})


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
def local_wandb(session: TrialSession, tracked: Any = None) -> Iterator[None]:
    """Serve ``wandb`` locally meanwhile, whenever the code imports it."""
    served = _Wandb(session, tracked)
    hook = _Hook(served.install)
    if tracked is None:
        os.environ["WANDB_MODE"] = "disabled"  # restored with the rest of the process's state
    if "wandb" in sys.modules:
        served.install(sys.modules["wandb"])
    else:
        sys.meta_path.insert(0, hook)
    try:
        yield
    finally:
        served.remove()
        if hook in sys.meta_path:
            sys.meta_path.remove(hook)
