"""Serve ``tune.report`` and ``tune.get_checkpoint`` to a function written for Ray Tune: they act on the trial."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from orchestrator.training.doors import trial_session
from orchestrator.training.doors.import_hook import Replacements, on_import

_MODULES = ("ray.tune", "ray.train", "ray.air.session")


@contextmanager
def local_ray() -> Iterator[None]:
    """Serve the functions of Ray locally meanwhile, whenever the code imports them."""
    replaced = Replacements()

    def install(module: Any) -> None:
        replaced.replace(module, "report", _reporting(module.report))
        replaced.replace(module, "get_checkpoint", _restoring(module.get_checkpoint))

    with ExitStack() as stack:
        stack.callback(replaced.undo)
        for name in _MODULES:
            stack.enter_context(on_import(name, install))
        yield


def _reporting(original: Callable[..., None]) -> Callable[..., None]:
    """Return what replaces ``report``. The code may keep it for later trials, and beyond the sweep."""

    def report(metrics: Mapping[str, Any] | None = None, *, checkpoint: Any = None, **more: Any) -> None:
        session = trial_session.current()
        if session is None:
            original(metrics, checkpoint=checkpoint, **more)
        elif not session.reports_by_trainer:
            given = {**(metrics or {}), **more}
            numbers = {name: value for name, value in given.items() if trial_session.is_number(value)}
            with ExitStack() as stack:
                if checkpoint is not None:
                    trial_session.checkpoint(stack.enter_context(checkpoint.as_directory()))
                trial_session.report(numbers)

    return report


def _restoring(original: Callable[[], Any]) -> Callable[[], Any]:
    """Return what replaces ``get_checkpoint``."""

    def get_checkpoint() -> Any:
        if trial_session.current() is None:
            return original()
        folder = trial_session.restore()
        ray = sys.modules.get("ray.tune") or sys.modules["ray.train"]
        return None if folder is None else ray.Checkpoint.from_directory(str(folder))

    return get_checkpoint
