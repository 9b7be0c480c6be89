"""The Ray Tune engine: a Tuner whose every trial is one segment, suggested and judged by the sweep's controller.

Tune gives placement, processes and failure detection; its own state is never read back (docs/decisions).
"""

from __future__ import annotations

from typing import Any

from orchestrator.compat_ray import WRONG_CLUSTER
from orchestrator.engine.controller import SweepController
from orchestrator.engine.stop_requests import StopRequests
from orchestrator.engine.tune.cluster_probe import check_cluster
from orchestrator.engine.tune.placement import HEAD_REPLACED, Slots, cpu_count, local_slots, trial_request
from orchestrator.engine.tune.ray_lifecycle import Instance, RayDied, answers, instance, join_cluster
from orchestrator.engine.tune.tune_adapters import Segments, scheduler, searcher, stopper
from orchestrator.engine.tune.worker import run_segment
from orchestrator.errors import ClusterLostError, SweepError, describe
from orchestrator.spec import Resources

__all__ = ["check_cluster", "check_resources", "run"]

RESTARTS = 3
"""Ray may die so often without one report in between; then it is no accident."""
_RESUME = "nothing that finished is lost; once there is a cluster again: sweep resume {}"


def run(controller: SweepController, stop_requests: StopRequests, *, roots: list[str], address: str = "") -> None:
    """Run segments until the sweep has no more, on a Ray instance of the driver's own or on a cluster.

    A segment whose process dies resumes in a new one. If the driver's own Ray dies, another instance is started.

    Args:
        controller: the sweep.
        stop_requests: checked while segments run.
        roots: folders that users' modules are imported from.
        address: of a cluster, or empty.

    Raises:
        SweepError: Ray cannot run.
        ClusterLostError: The cluster is gone.
    """
    slots = Slots(controller.spec.resources, on_cluster=bool(address))
    started, fruitless = False, 0
    while not _stopping(controller, stop_requests):
        reports = _count_reports(controller)
        try:
            with join_cluster(address) if address else instance(cpu_count()) as ray:
                if not started:
                    threads = max(1, int(controller.spec.resources.cpu_count))
                    controller.start("tune", slots.now(), threads=threads)
                    started = True
                _run_on(ray, controller, stop_requests, slots, roots)
                return
        except RayDied as death:
            if address and not _stopping(controller, stop_requests):  # only a new process can join another cluster
                hint = _RESUME.format(controller.run.name)
                raise ClusterLostError(f"the cluster was lost: {death}", hint=hint) from death
            fruitless = 0 if _count_reports(controller) > reports else fruitless + 1
            if fruitless > RESTARTS and not _stopping(controller, stop_requests):
                raise SweepError(
                    f"Ray has ended {fruitless} times with nothing done in between: {death}",
                    hint="check the free memory and the room in /tmp; dmesg lists the processes that the kernel killed",
                ) from death


def check_resources(resources: Resources) -> None:
    """Raise UsageError if this machine cannot run even one trial."""
    local_slots(resources, cpu_count())


def _run_on(
    ray: Instance, controller: SweepController, stop_requests: StopRequests, slots: Slots, roots: list[str]
) -> None:
    """Run one Tuner after another until there is no work left."""
    try:
        while not _stopping(controller, stop_requests):
            _run_tuner(ray, controller, stop_requests, slots, roots)
            if not controller.has_work():
                return
    finally:
        slots.monitor.disconnect()


def _run_tuner(
    ray: Instance, controller: SweepController, stop_requests: StopRequests, slots: Slots, roots: list[str]
) -> None:
    """Run one Tuner until it has no work left. If it breaks, its running segments count as lost."""
    segments = Segments(controller, stop_requests, ray, slots)
    try:
        _tuner(segments, slots.maximum, roots).fit()
    except KeyboardInterrupt:
        controller.stop_reason = controller.stop_reason or stop_requests.reason or "SIGINT"
    except RayDied as death:
        segments.lose_all(f"Ray ended: {death}", kind="node")
        raise
    except Exception as error:
        _recover(error, ray, segments)
    finally:
        segments.cancel_timer()


def _recover(error: Exception, ray: Instance, segments: Segments) -> None:
    """Prepare for another Tuner: Ray's memory monitor ends the whole Tuner when it kills one trial.

    Raises RayDied if Ray itself is the cause, SweepError if no segment was running that could be.
    """
    controller = segments.controller
    if controller.journal_error is not None:  # Tune has wrapped it in an error of its own
        raise controller.journal_error from error
    text = describe(error).partition("\n")[0][:1000]
    if death := _death_of_ray(error, ray):
        segments.lose_all(f"Ray ended: {death}", kind="node")
        raise RayDied(death) from error
    if not controller.stop_reason and not controller.state.count("running"):
        raise SweepError(f"Ray Tune ended: {error}", hint=f"its logs are in {controller.run.ray}") from error
    segments.lose_all(text, cause=error)


def _death_of_ray(error: Exception, ray: Instance) -> str:
    """Return how Ray itself has ended, if that is the error's cause; else nothing."""
    if process := ray.ended():
        return f"its {process} process ended"
    if ray.head and WRONG_CLUSTER in str(error):
        return HEAD_REPLACED
    return f"no head answers at {ray.head}" if ray.head and not answers(ray.head) else ""


def _tuner(segments: Segments, concurrent: int, roots: list[str]) -> Any:
    from ray import tune

    controller = segments.controller
    return tune.Tuner(
        tune.with_resources(run_segment, trial_request(controller.spec.resources)),
        tune_config=tune.TuneConfig(
            search_alg=searcher(segments, roots),
            scheduler=scheduler(segments),
            num_samples=-1,
            max_concurrent_trials=concurrent,
            reuse_actors=True,
            trial_name_creator=str,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(controller.run.ray),
            stop=stopper(segments),
            failure_config=tune.FailureConfig(max_failures=0),
            verbose=0,
        ),
    )


def _stopping(controller: SweepController, stop_requests: StopRequests) -> bool:
    controller.stop_reason = controller.stop_reason or stop_requests.reason
    return bool(controller.stop_reason)


def _count_reports(controller: SweepController) -> int:
    return sum(len(trial.reports) for trial in controller.state.trials.values())
