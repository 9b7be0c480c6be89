"""Segments on Ray Tune: a Tuner whose every trial is one segment, fed and judged by the live sweep.

Tune gives us placement, processes and failure detection; it keeps no state that we read back (`docs/decisions.md`).
"""

from __future__ import annotations

import _thread
import contextlib
import json
import logging
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, cast

from orchestrator.engine.failures import Failed
from orchestrator.engine.live import LiveSweep
from orchestrator.engine.stopping import Stopping
from orchestrator.errors import SweepError, UsageError
from orchestrator.rundir import RunDirectory
from orchestrator.spec import Resources
from orchestrator.training import Checkpoint, Job, Report

# Read by Ray when it is imported or started, so set before either. Why each: see docs/decisions.md.
_ENVIRONMENT = {
    "RAY_AUTH_MODE": "disabled",  # a local instance must neither make nor ask for a token file
    "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints a banner even when silent
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "300",  # a slow teardown must not fail the next, innocent segment
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000",  # Tune's own state is never read back
    "TUNE_RESULT_BUFFER_LENGTH": "1",
}
_OBJECT_STORE_BYTES = 200_000_000
_ABANDON_SECONDS = 6.0


def run(live: LiveSweep, stopping: Stopping, *, roots: list[str]) -> None:
    """Run every segment on a Ray instance of our own. ``roots`` are folders that users' modules are imported from.

    A segment whose process dies goes on in a new one. Raises SweepError where Ray itself cannot run.
    """
    available = _cpus()
    slots = slot_count(live.spec.resources, available)
    with _ray(live.run, available):
        live.launched("tune", slots)
        while True:
            _tune_once(live, stopping, slots, roots)
            if not live.has_work():
                return


def check_resources(resources: Resources) -> None:
    """Raises UsageError where this machine cannot run even one trial."""
    slot_count(resources, _cpus())


def slot_count(resources: Resources, available: int) -> int:
    """How many trials fit on this machine at once. Raises UsageError where not even one does."""
    gpus = _gpus() if resources.gpus else 0
    for name, wanted, there in (("cpus", resources.cpus, available), ("gpus", resources.gpus, gpus)):
        if wanted > there:
            raise UsageError(
                f"a trial wants {wanted:g} {name}, and this machine has {there}",
                hint=f"--set resources.{name}={there}",
            )
    fits = [available / resources.cpus if resources.cpus else available]
    fits += [gpus / resources.gpus] if resources.gpus else []
    slots = max(1, int(min(fits) + 1e-9))
    return min(slots, resources.concurrent or slots)


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()


@contextlib.contextmanager
def _ray(run: RunDirectory, cpus: int) -> Iterator[None]:
    """A Ray instance of our own, in a temporary folder with a short path (its sockets' names are limited)."""
    os.environ.update({name: value for name, value in _ENVIRONMENT.items() if name not in os.environ})
    import ray

    # Tune logs a traceback for each process that dies; ours goes to the journal and to the trial's folder.
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    folder = tempfile.mkdtemp(prefix="sweep-", dir="/tmp" if os.access("/tmp", os.W_OK) else None)
    try:
        ray.init(
            address="local",
            num_cpus=cpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
            object_store_memory=_OBJECT_STORE_BYTES,
            _temp_dir=folder,
        )
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def _tune_once(live: LiveSweep, stopping: Stopping, slots: int, roots: list[str]) -> None:
    """One Tuner, until it has nothing left to run. What it was running when it broke counts as lost."""
    feed = _feed(live, stopping, roots)
    try:
        _tuner(live, feed, slots).fit()
    except KeyboardInterrupt:
        live.stop_reason = live.stop_reason or stopping.asked or "SIGINT"
    except Exception as error:
        # Ray's memory monitor ends the whole Tuner when it kills one trial; the sweep goes on without it.
        if not live.stop_reason and not live.state.count("running"):
            raise SweepError(f"Ray Tune ended: {error}", hint=f"its logs are in {live.run.ray}") from error
        feed.lose_all(f"{type(error).__name__}: {error}"[:1000])
    finally:
        feed.stand_down()


def _tuner(live: LiveSweep, feed: Any, slots: int) -> Any:
    from ray import tune

    resources = {"cpu": live.spec.resources.cpus, "gpu": live.spec.resources.gpus}
    return tune.Tuner(
        tune.with_resources(_segment, resources),
        tune_config=tune.TuneConfig(
            search_alg=feed.searcher,
            scheduler=feed.scheduler,
            num_samples=-1,
            max_concurrent_trials=slots,
            reuse_actors=True,
            trial_name_creator=str,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(live.run.ray),
            stop=feed.stopper,
            failure_config=tune.FailureConfig(max_failures=0),
            verbose=0,
        ),
    )


def _segment(config: dict[str, str]) -> None:
    """What runs in the worker: one segment. A stop comes as SystemExit out of ``tune.report``."""
    from ray import tune

    for root in reversed(json.loads(config["roots"])):
        if root not in sys.path:
            sys.path.insert(0, root)
    from orchestrator.engine.segment import attempt

    def report(epoch: Report) -> bool:
        tune.report({"report": json.dumps(asdict(epoch))})
        return True

    failed = attempt(Job(**json.loads(config["job"])), report)
    if failed:
        tune.report({"failed": json.dumps(asdict(failed))})


def _report(text: str) -> Report:
    fields = json.loads(text)
    checkpoint = fields["checkpoint"]
    return Report(fields["epoch"], fields["metrics"], Checkpoint(**checkpoint) if checkpoint else None)


class _NeverPickled:
    """Tune pickles what it is given into its own state, which is never read back: nothing goes there."""

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return object, ()


def _feed(live: LiveSweep, stopping: Stopping, roots: list[str]) -> Any:
    """Tune's searcher, scheduler and stopper over one live sweep. Made here so that Ray is imported only when used."""
    from ray import tune
    from ray.tune.schedulers import FIFOScheduler, TrialScheduler
    from ray.tune.search import Searcher

    running: dict[str, Job] = {}

    class Segments(_NeverPickled, Searcher):
        """Suggests the next segment."""

        def suggest(self, trial_id: str) -> Any:
            job = live.next_job()
            if job == "none_left":
                return Searcher.FINISHED
            running[trial_id] = job
            return {"job": json.dumps(asdict(job)), "roots": json.dumps(roots)}

        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
            """The scheduler has dealt with it."""

    class Judge(_NeverPickled, FIFOScheduler):
        """Takes reports to the live sweep and its answers back."""

        def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
            job = running.get(trial.trial_id)
            if job is None:
                return str(TrialScheduler.STOP)
            if "failed" in result:
                live.failed(job.trial, job.segment, Failed(**json.loads(result["failed"])))
                return str(TrialScheduler.CONTINUE)
            live.stop_reason = live.stop_reason or stopping.asked
            if live.reported(job.trial, job.segment, _report(result["report"])):
                return str(TrialScheduler.CONTINUE)
            running.pop(trial.trial_id)
            return str(TrialScheduler.STOP)

        def on_trial_complete(self, controller: Any, trial: Any, result: dict[str, Any]) -> None:
            job = running.pop(trial.trial_id, None)
            if job is not None:
                live.ended(job.trial, job.segment)

        def on_trial_error(self, controller: Any, trial: Any) -> None:
            job = running.pop(trial.trial_id, None)
            if job is not None:
                live.lost(job.trial, job.segment, _last_line(trial))

    class WhenAsked(_NeverPickled, tune.Stopper):
        """Ends the Tuner once a stop was asked for and what ran has come to the end of its epoch, or time is up."""

        def __init__(self) -> None:
            self._timer: threading.Timer | None = None

        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            return False

        def stop_all(self) -> bool:
            live.stop_reason = live.stop_reason or stopping.asked
            if not live.stop_reason or (running and not stopping.overdue):
                return False
            if self._timer is None:
                self._timer = threading.Timer(_ABANDON_SECONDS, _thread.interrupt_main)
                self._timer.daemon = True
                self._timer.start()
            return True

    class Feed:
        searcher = Segments()
        scheduler: Any = cast(Any, Judge)()  # Ray's own class has no types
        stopper = WhenAsked()

        def lose_all(self, message: str) -> None:
            for job in running.values():
                live.lost(job.trial, job.segment, message)
            running.clear()

        def stand_down(self) -> None:
            if self.stopper._timer is not None:
                self.stopper._timer.cancel()

    return Feed()


def _last_line(trial: Any) -> str:
    text = str(trial.get_error() or "its process ended")
    return text.strip().splitlines()[-1][:1000]
