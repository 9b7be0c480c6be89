"""Segments on Ray Tune: a Tuner whose every trial is one segment, fed and judged by the live sweep.

Tune gives us placement, processes and failure detection; it keeps no state that we read back (`docs/decisions.md`).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from orchestrator.engine.controller import SweepController
from orchestrator.engine.stop_requests import StopRequests
from orchestrator.engine.tune.cluster_nodes import NotJoined, Waiting, answers, joined, survey
from orchestrator.engine.tune.node_monitor import ANOTHER
from orchestrator.engine.tune.ray_lifecycle import Instance, RayDied, instance
from orchestrator.engine.tune.slots import REPLACED, Slots, cpu_count, slot_count
from orchestrator.engine.tune.tune_adapters import Segments, scheduler, searcher, stopper
from orchestrator.engine.tune.worker import run_segment
from orchestrator.engine.tune.worker_group import placed
from orchestrator.errors import ClusterLostError, SweepError, UsageError
from orchestrator.spec import Resources

# Ray may die this often with not one report in between; then it is no accident.
RESTARTS = 3
_RESUME = "nothing that finished is lost; once there is a cluster again: sweep resume {}"


def run(live: SweepController, stopping: StopRequests, *, roots: list[str], address: str = "") -> None:
    """Run every segment on a Ray instance of our own, or on the cluster at ``address``.

    ``roots`` are folders that users' modules are imported from. A segment whose process dies goes on in a new one; when
    our own Ray dies, another instance is started.

    Raises SweepError where Ray cannot run, ClusterLostError where the cluster has gone.
    """
    slots = Slots(live.spec.resources, elsewhere=bool(address))
    launched, fruitless = False, 0
    while not _asked(live, stopping):
        before = _reports(live)
        try:
            with joined(address) if address else instance(cpu_count()) as ray:
                if not launched:
                    live.start("tune", slots(), threads=max(1, int(live.spec.resources.cpus)))
                    launched = True
                _run_on(ray, live, stopping, slots, roots)
                return
        except RayDied as death:
            if address and not _asked(live, stopping):  # a new process is to join what comes in its place
                raise ClusterLostError(f"the cluster was lost: {death}", hint=_RESUME.format(live.run.name)) from death
            fruitless = 0 if _reports(live) > before else fruitless + 1
            if fruitless > RESTARTS and not _asked(live, stopping):
                raise SweepError(
                    f"Ray has ended {fruitless} times with nothing done in between: {death}",
                    hint="is there memory left, and room in /tmp? dmesg says what the kernel killed",
                ) from death


def check_resources(resources: Resources) -> None:
    """Raises UsageError where this machine cannot run even one trial."""
    slot_count(resources, cpu_count())


def check_cluster(
    resources: Resources, address: str, runs: Path | str, until: Callable[[], object] | None = None
) -> None:
    """Raises UsageError where that cluster is not there, cannot run even one trial, or has hosts without ``runs``.

    With ``until`` it is waited for instead, as long as that says nothing; ClusterLostError where it came and went.
    """
    if until is None:
        survey(address, resources, runs)
        return
    waiting, met = Waiting(address, until), False
    while not until():
        try:
            survey(address, resources, runs)
            return
        except UsageError as error:
            absent = isinstance(error.__cause__, NotJoined)
            if absent and met:
                raise ClusterLostError(f"the cluster was lost: {error.message}", hint=error.hint) from error
            met = not absent
            waiting.on(error.message)


def _run_on(ray: Instance, live: SweepController, stopping: StopRequests, slots: Slots, roots: list[str]) -> None:
    """Tuner after Tuner, until there is nothing left to run."""
    try:
        while not _asked(live, stopping):
            _tune_once(ray, live, stopping, slots, roots)
            if not live.has_work():
                return
    finally:
        slots.rest()


def _tune_once(ray: Instance, live: SweepController, stopping: StopRequests, slots: Slots, roots: list[str]) -> None:
    """One Tuner, until it has nothing left to run. What it was running when it broke counts as lost."""
    segments = Segments(live, stopping, ray, slots)
    try:
        _tuner(segments, slots.most, roots).fit()
    except KeyboardInterrupt:
        live.stop_reason = live.stop_reason or stopping.reason or "SIGINT"
    except RayDied as death:
        segments.lose_all(f"Ray ended: {death}", kind="node")
        raise
    except Exception as error:
        _survive(error, ray, segments)
    finally:
        segments.stand_down()


def _survive(error: Exception, ray: Instance, segments: Segments) -> None:
    """Go on after Tune has given up: Ray's memory monitor ends the whole Tuner when it kills one trial.

    Raises RayDied where Ray itself is the cause, SweepError where nothing was running that could be.
    """
    live = segments.live
    if live.journal_error is not None:  # Tune has wrapped it in an error of its own
        raise live.journal_error from error
    text = f"{type(error).__name__}: {error}".partition("\n")[0][:1000]
    if ended := _ended(error, ray):
        segments.lose_all(f"Ray ended: {ended}", kind="node")
        raise RayDied(ended) from error
    if not live.stop_reason and not live.state.count("running"):
        raise SweepError(f"Ray Tune ended: {error}", hint=f"its logs are in {live.run.ray}") from error
    segments.lose_all(text, cause=error)


def _ended(error: Exception, ray: Instance) -> str:
    """How Ray itself has ended, if an error comes of that; else nothing."""
    if process := ray.ended():
        return f"its {process} process ended"
    if ray.head and ANOTHER in str(error):
        return REPLACED
    return f"nobody answers at {ray.head}" if ray.head and not answers(ray.head) else ""


def _tuner(segments: Segments, most: int, roots: list[str]) -> Any:
    from ray import tune

    live = segments.live
    return tune.Tuner(
        tune.with_resources(run_segment, placed(live.spec.resources)),
        tune_config=tune.TuneConfig(
            search_alg=searcher(segments, roots),
            scheduler=scheduler(segments),
            num_samples=-1,
            max_concurrent_trials=most,
            reuse_actors=True,
            trial_name_creator=str,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(live.run.ray),
            stop=stopper(segments),
            failure_config=tune.FailureConfig(max_failures=0),
            verbose=0,
        ),
    )


def _asked(live: SweepController, stopping: StopRequests) -> bool:
    live.stop_reason = live.stop_reason or stopping.reason
    return bool(live.stop_reason)


def _reports(live: SweepController) -> int:
    return sum(len(trial.reports) for trial in live.state.trials.values())
