"""Serve ``wandb`` to a trial's script on this machine: its config holds the parameters, what it logs is reported.

W&B runs in its own mode ``disabled``, which opens no connection and writes no file. If the sweep file's ``tracking``
names W&B, the script's run is the trial's, which the sweep uploads.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from orchestrator.spec.command_line import nested
from orchestrator.training.doors.import_hook import Replacements, on_import
from orchestrator.training.doors.script_metrics import LoggedMetrics, numbers_of
from orchestrator.training.doors.trial_session import TrialSession
from orchestrator.training.trial_files import FOLDER


class _LocalWandb:
    """What replaces ``wandb.init`` and its like in one segment.

    Args:
        session, logged, tracked: as `local_wandb` takes them.
    """

    def __init__(self, session: TrialSession, logged: LoggedMetrics, tracked: Any) -> None:
        self._session, self._logged, self._tracked = session, logged, tracked
        self._replacements = Replacements()
        self._is_inside = False
        self._run: Any = None
        self._folders: list[str] = []

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
            self._replacements.replace(wandb, name, function)

    def remove(self) -> None:
        """Give the module its functions back. Folders of runs that hold no file are removed."""
        self._replacements.undo()
        for folder in self._folders:
            with suppress(OSError):  # it holds files
                os.removedirs(folder)

    def close(self) -> None:
        """Take the run's summary: what was logged last, and what the code has set in it."""
        if self._run is not None:
            self._logged.summary |= dict(numbers_of(dict(self._run.summary.items())))

    def _init(self, wandb: Any, original: Any, kwargs: Mapping[str, Any]) -> Any:
        params = nested(self._session.job.model["args"])
        kept = {name: value for name, value in kwargs.items() if name.startswith("config")}
        run = original(mode="disabled", **kept)
        if self._tracked is None:
            self._folders.append(_own_folder(run, Path(self._session.job.folder) / FOLDER))
        else:
            config = dict(run.config.items())
            run = self._tracked.experiment
            run.config.update(config, allow_val_change=True)
        run.config.update(params, allow_val_change=True)
        self._session.serves_wandb = True
        sent = run.log

        def log(data: Mapping[str, Any], step: int | None = None, *rest: Any, **more: Any) -> None:
            sent(data, step, *rest, **more)
            self._logged.take(data, step)

        run.log = wandb.log = log
        self._run = run
        return run


def _own_folder(run: Any, place: Path) -> str:
    """Return ``run.dir``, which is made below a folder of the trial; W&B names one that does not exist."""
    run._settings.root_dir = str(place)  # no argument sets it in the mode ``disabled``
    Path(run.dir).mkdir(parents=True, exist_ok=True)
    return str(run.dir)


def _always(*args: Any, **kwargs: Any) -> bool:
    return True


def _sweep(*args: Any, **kwargs: Any) -> str:
    """Return a name for a sweep that the script defines; the sweep file's space is searched instead."""
    return "local"


def _agent(sweep_id: str, function: Callable[[], Any] | None = None, *args: Any, **kwargs: Any) -> None:
    """Run the function of a script's own agent once: for this trial."""
    if function is not None:
        function()


@contextmanager
def local_wandb(session: TrialSession, logged: LoggedMetrics, tracked: Any = None) -> Iterator[None]:
    """Serve ``wandb`` locally meanwhile, whenever the code imports it.

    Args:
        session: the segment.
        logged: takes what is logged, and in the end the run's summary.
        tracked: the logger of the sweep file's ``tracking``, if it has one for W&B.
    """
    served = _LocalWandb(session, logged, tracked)
    if tracked is None:
        os.environ["WANDB_MODE"] = "disabled"  # restored with the rest of the process's state
    with on_import("wandb", served.install):
        try:
            yield
            served.close()
        finally:
            served.remove()
