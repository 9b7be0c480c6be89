"""Train one segment by the user's function or script, with the sweep's part inside any Trainer that it makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.loggers.logger import Logger

from orchestrator.errors import UsageError
from orchestrator.training import loggers
from orchestrator.training.class_loading.import_paths import import_object
from orchestrator.training.class_loading.namespace_alias import alias_lightning
from orchestrator.training.csv_logger import EpochCSVLogger
from orchestrator.training.doors.call_arguments import bound
from orchestrator.training.doors.local_ray import local_ray
from orchestrator.training.doors.local_wandb import local_wandb
from orchestrator.training.doors.once_per_process import as_first_of_process
from orchestrator.training.doors.optuna_trial import is_pruned
from orchestrator.training.doors.script_metrics import LoggedMetrics, listening
from orchestrator.training.doors.script_run import invocation_of, run_script
from orchestrator.training.doors.search_at_import import imported_up_to_its_search
from orchestrator.training.doors.trainer_takeover import Takeover, inside_trainers
from orchestrator.training.doors.trial_session import Reporting, TrialEnd, TrialSession, active
from orchestrator.training.job import Interim, Job, Report
from orchestrator.training.shared_storage import Heartbeat


def run(
    job: Job,
    report: Callable[[Report], bool],
    device: Mapping[str, Any],
    *,
    interim: Callable[[Interim], None] | None,
    stop: Callable[[], bool],
    start: Path | None,
    heartbeat: Heartbeat,
) -> None:
    """Run the function or the script to its end, or to the report at which the trial ends.

    Args:
        job: the segment.
        report: as `fit` takes it.
        device: as `fit` takes it, for a Trainer that the code makes.
        interim: as `fit` takes it.
        stop: as `fit` takes it.
        start: the verified checkpoint to start from; None for none.
        heartbeat: beats with each report and each batch of a Trainer.

    Raises:
        ObjectiveError: The code has ended without a report of the objective.
        UsageError: The function does not exist.

    Errors of the user's code pass through; a ``SystemExit`` with code 0 is an end like any other.
    """
    alias_lightning()
    trackers = loggers.start(job)
    table = EpochCSVLogger(job.logs)
    log = _log_to(table, list(trackers.values()))
    session = TrialSession(job, Reporting(report, interim, stop, heartbeat.beat, log), start)
    L.seed_everything(job.seed, verbose=False)
    try:
        logged = LoggedMetrics(session)
        takeover = Takeover(session, logged, device, list(trackers.values()), table, heartbeat)
        with active(session), as_first_of_process(session.notice), inside_trainers(takeover):
            with local_wandb(session, logged, trackers.get("wandb")), local_ray(), listening(logged, session):
                returned = train_code(session)
            session.finish(logged.final() if returned is None else returned)
    except TrialEnd:
        pass
    finally:
        table.flush()
        loggers.finish(trackers)
    if session.interruption is not None:
        raise session.interruption


def train_code(session: TrialSession, *, keeps_modules: bool = False) -> Any:
    """Run the session's function or script; return what the function returns, and None for an exit with code 0.

    ``keeps_modules`` is that of `run_script`.
    """
    try:
        if session.job.model["train"]:
            return _objective(session)
        found = invocation_of(session.job, macros(session.job))
        return run_script(found, lambda words: setattr(session, "command_line", words), keeps_modules=keeps_modules)
    except SystemExit as error:
        if session.ended or error.code not in (None, 0):
            raise
        return None


def _objective(session: TrialSession) -> Any:
    """Return what the function returns; None if it ends its trial by ``optuna.TrialPruned`` after a report."""
    try:
        return call_function(session.job)
    except Exception as error:
        if session.reports and is_pruned(error):
            return None
        raise


def call_function(job: Job) -> Any:
    """Call the job's function with the trial's arguments; return what it returns. Raises UsageError if it is none."""
    path = job.model["train"]
    function = import_function(path)
    args = {name: _filled(value, job) for name, value in job.model["args"].items()}
    positional, named = bound(function, args)
    return function(*positional, **named)


def import_function(path: str) -> Callable[..., Any]:
    """Return the function at ``package.module:name``. Raises UsageError if there is none."""
    module = path.partition(":")[0]
    function = imported_up_to_its_search(module, lambda: import_object(path.replace(":", ".")))
    if not callable(function):
        raise UsageError(f"{path} is not a function but a {type(function).__name__}", hint="train names a function")
    return function  # type: ignore[no-any-return]


def macros(job: Job) -> dict[str, str]:
    """Return the values of ``${seed}``, ``${trial}`` and ``${folder}``."""
    return {"seed": str(job.seed), "trial": str(job.trial), "folder": str(Path(job.folder) / "files")}


def _filled(value: Any, job: Job) -> Any:
    """Return an argument with its macros replaced; ``${seed}`` alone is a number."""
    if not isinstance(value, str) or "${" not in value:
        return value
    if value == "${seed}":
        return job.seed
    for name, text in macros(job).items():
        value = value.replace(f"${{{name}}}", text)
    return value


def _log_to(table: EpochCSVLogger, trackers: list[Logger]) -> Callable[[Mapping[str, float], int], None]:
    def log(metrics: Mapping[str, float], step: int) -> None:
        for logger in (table, *trackers):
            logger.log_metrics({**metrics, "epoch": step} if logger is table else dict(metrics), step)
        table.flush()

    return log
