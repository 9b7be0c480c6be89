"""Ray Tune's searcher, scheduler and stopper as adapters of one sweep's controller."""

from __future__ import annotations

import _thread
import contextlib
import json
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from orchestrator.compat_ray import actor_of_trial, node_of_actor
from orchestrator.engine.controller import SweepController
from orchestrator.engine.failure_policy import SegmentFailure
from orchestrator.engine.stop_requests import StopRequests
from orchestrator.engine.tune.loss_diagnosis import (
    fault_of,
    host_of,
    kind_of,
    largest_memory_victim,
    was_killed_for_memory,
)
from orchestrator.engine.tune.placement import Slots, trial_request
from orchestrator.engine.tune.ray_lifecycle import Instance, RayDied
from orchestrator.engine.tune.worker import read_interim, read_report
from orchestrator.engine.watchdog import Watchdog
from orchestrator.training import Job

_ABANDON_SECONDS = 6.0  # for the Tuner to end by itself
_LEAVE_SECONDS = 2.0  # before a preempted node is gone
_PREEMPTED = "is being preempted"
_UNASKED = "it stopped, which nobody had asked for"


@dataclass
class _Running:
    """A segment and the Tune trial that runs it.

    Args:
        job: the segment.
        trial: Tune's trial.
        process: Ray's name of the actor that the segment runs in; Tune forgets the actor before it raises.
        node: ``NodeID`` of its node, once known.
        host: the name of its node, once known.
        killed: the failure kind and the reason, if the driver has killed the segment.
        told: whether the segment was told to stop at its next batch.
        stopped: whether it has done so.
    """

    job: Job
    trial: Any = None
    process: str = ""
    node: str = ""
    host: str = ""
    killed: tuple[str, str] | None = None
    told: bool = False
    stopped: bool = False

    @property
    def heartbeat(self) -> Path:
        """The file that its process touches while it makes progress."""
        return Path(self.job.folder) / "progress"

    @property
    def actor(self) -> Any:
        """Ray's handle of its process; None until it has one."""
        return actor_of_trial(self.trial) if self.trial is not None else None


class Segments:
    """The running segments, by the id of their Tune trial; their reports and ends go to the controller."""

    def __init__(
        self, controller: SweepController, stop_requests: StopRequests, instance: Instance, slots: Slots
    ) -> None:
        self.controller, self._stop_requests, self._instance, self._slots = controller, stop_requests, instance, slots
        self._running: dict[str, _Running] = {}
        self._watchdog = Watchdog(controller.spec.recovery.stalled_after, controller.run.changed)
        self._timer: threading.Timer | None = None

    def next(self, trial_id: str) -> Job | str:
        """Return the next segment, ``"wait"`` or ``"none_left"`` as `SweepController.next_job` does."""
        self.is_stopping()
        if len(self._running) >= self._slots.now():
            return "wait"
        job = self.controller.next_job("" if self._slots.on_cluster else None)
        if isinstance(job, str):
            return job
        self._running[trial_id] = _Running(job)
        self._watchdog.start(trial_id, self._running[trial_id].heartbeat)
        return job

    def on_added(self, trial: Any) -> None:
        """Keep a new Tune trial off the excluded nodes."""
        if trial.trial_id in self._running:
            self._running[trial.trial_id].trial = trial
            if excluded := self._slots.excluded_nodes:
                trial.update_resources(trial_request(self.controller.spec.resources, excluded))

    def on_result(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Pass on a report, a checkpoint, a stop or a failure; return whether the segment continues."""
        running = self._running.get(trial_id)
        if running is None:
            return False
        job = running.job
        self._watchdog.alive(trial_id)
        running.node, running.host = result.get("node", running.node), result["hostname"]
        if "failed" in result:
            failure = SegmentFailure(**json.loads(result["failed"]))
            self.controller.on_failure(job.trial, job.segment, failure, running.host)
            return True
        if "stopped" in result:
            running.stopped = True
            return True
        self.is_stopping()
        continues = self._take_interim(running, result) if "interim" in result else self._take_report(running, result)
        if not continues:
            self._pop(trial_id)
        return continues

    def _take_report(self, running: _Running, result: dict[str, Any]) -> bool:
        job, report = running.job, read_report(result["report"])
        self._stop_requests.note_saving(report.saving)
        continues = self.controller.on_report(job.trial, job.segment, report, node=running.host)
        if continues and running.node in self._slots.preempted:  # its checkpoint is durable: resume on another node
            self.controller.on_loss(job.trial, job.segment, f"{running.host} {_PREEMPTED}", kind="preempted")
            return False
        return continues

    def _take_interim(self, running: _Running, result: dict[str, Any]) -> bool:
        job, interim = running.job, read_interim(result["interim"])
        self._stop_requests.note_saving(interim.saving)
        return self.controller.on_interim(job.trial, job.segment, interim, node=running.host)

    def on_complete(self, trial_id: str) -> None:
        """Pass on that a segment returned: at its end, or since it was told to stop."""
        running = self._pop(trial_id)
        if running is None:
            return
        trial, segment = running.job.trial, running.job.segment
        if not running.stopped:
            self.controller.on_end(trial, segment)
        elif not self.controller.on_stop(trial, segment):
            preempted = running.node in self._slots.preempted
            kind, message = ("preempted", f"{running.host} {_PREEMPTED}") if preempted else ("lost", _UNASKED)
            self.controller.on_loss(trial, segment, message, kind=kind, node=running.host)

    def on_error(self, trial_id: str, error: str | None) -> None:
        """Pass on that a segment's process is gone; ``error`` is Ray's text."""
        running = self._pop(trial_id)
        if running is not None:
            job = running.job
            kind, message = running.killed or kind_of(error or "")
            if kind == "lost" and was_killed_for_memory(job):
                kind, message = "memory", "the kernel ended its process: the host is out of memory"
            elif kind == "lost":
                message = fault_of(job) or message
            self.controller.on_loss(job.trial, job.segment, message, kind=kind, node=running.host or host_of(job))

    def lose_all(self, message: str, kind: str = "lost", cause: BaseException | None = None) -> None:
        """Count every running segment as lost.

        If Ray's memory monitor is the cause, the segment that held most memory is out of memory, and the others count
        as preempted.
        """
        victim = largest_memory_victim(cause)
        for trial_id in list(self._running):
            running = self._running.pop(trial_id)
            self._watchdog.end(trial_id)
            if victim:
                kind = "memory" if victim in running.process else "preempted"
            job = running.job
            self.controller.on_loss(job.trial, job.segment, message, kind=kind, node=running.host)

    def poll(self) -> bool:
        """Check Ray, the nodes and the running segments, some ten times a second.

        Returns:
            True if the Tuner is to end: the sweep stops and no segment runs, or the grace period is over.

        Raises:
            RayDied: Ray cannot continue.
        """
        self._instance.check()
        self._slots.check()
        for running in self._running.values():
            running.process = running.process or (repr(running.actor) if running.actor else "")
        self._tell_to_stop()
        self._kill_on_leaving_nodes()
        for trial_id, seconds in self._watchdog.stalled():
            running = self._running[trial_id]
            if self._slots.on_cluster and running.actor is None:  # it waits for a node, however long that takes
                self._watchdog.start(trial_id, running.heartbeat)
            else:
                self._kill_stalled(running, seconds)
        if not self.is_stopping() or (self._running and not self._stop_requests.overdue):
            return False
        if self._timer is None:
            self._timer = threading.Timer(_ABANDON_SECONDS, _thread.interrupt_main)
            self._timer.daemon = True
            self._timer.start()
        return True

    def _tell_to_stop(self) -> None:
        """Tell the segments to stop that are to: all if the sweep stops, those of a trial, those on a leaving node."""
        stopping, preempted, controller = self.is_stopping(), self._slots.preempted, self.controller
        for running in self._running.values():
            if running.told or running.actor is None:
                continue
            if preempted and not stopping:
                running.node = running.node or node_of_actor(running.actor)
            job = running.job
            if stopping or running.node in preempted or controller.must_stop(job.trial):
                with contextlib.suppress(OSError):  # told again at the next poll
                    controller.run.tell_to_stop(job.trial, job.segment)
                    running.told = True

    def is_stopping(self) -> bool:
        """Return whether the sweep is to stop."""
        self.controller.stop_reason = self.controller.stop_reason or self._stop_requests.reason
        return bool(self.controller.stop_reason)

    def cancel_timer(self) -> None:
        """Cancel the interrupt of a Tuner that has ended by itself."""
        if self._timer is not None:
            self._timer.cancel()

    def _kill_stalled(self, running: _Running, seconds: float) -> None:
        import ray

        if running.actor is None:
            raise RayDied(f"it started no process for trial {running.job.trial} in {seconds:.0f} s")
        running.killed = "stalled", f"no progress for {seconds:.0f} s"
        if self._slots.on_cluster and (node := node_of_actor(running.actor)):
            self._slots.monitor.exclude(node)
        ray.kill(running.actor)

    def _kill_on_leaving_nodes(self) -> None:
        """Kill segments on a node that is about to go, so that they resume elsewhere before Ray notices the loss."""
        import ray

        leaving = {node for node, end in self._slots.preempted.items() if end and time.time() > end - _LEAVE_SECONDS}
        for running in self._running.values() if leaving else ():
            if running.killed is None and running.actor is not None:
                running.node = running.node or node_of_actor(running.actor)
                if running.node in leaving:
                    running.killed = "preempted", f"its host {_PREEMPTED}, and it did not stop in time"
                    ray.kill(running.actor)

    def _pop(self, trial_id: str) -> _Running | None:
        self._watchdog.end(trial_id)
        return self._running.pop(trial_id, None)


class _NeverPickled:
    """Tune pickles its searcher, scheduler and stopper into a state that is never read: leave them out."""

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return object, ()


def searcher(segments: Segments, roots: list[str]) -> Any:
    """Return a searcher that suggests the next segment.

    Args:
        segments: of the sweep.
        roots: folders that users' modules are imported from.
    """
    from ray.tune.search import Searcher

    class SegmentSearcher(_NeverPickled, Searcher):
        def suggest(self, trial_id: str) -> Any:
            job = segments.next(trial_id)
            if isinstance(job, Job):
                return {"job": job.to_text(), "roots": json.dumps(roots)}
            return Searcher.FINISHED if job == "none_left" else None

        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
            """Do nothing: the scheduler handles it."""

    return SegmentSearcher()


def scheduler(segments: Segments) -> Any:
    """Return a scheduler that passes reports to the controller and its answers to Tune."""
    from ray.tune.schedulers import FIFOScheduler, TrialScheduler

    class SegmentScheduler(_NeverPickled, FIFOScheduler):
        def on_trial_add(self, controller: Any, trial: Any) -> None:
            segments.on_added(trial)

        def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
            continues = segments.on_result(trial.trial_id, result)
            return str(TrialScheduler.CONTINUE if continues else TrialScheduler.STOP)

        def on_trial_complete(self, controller: Any, trial: Any, result: dict[str, Any]) -> None:
            segments.on_complete(trial.trial_id)

        def on_trial_error(self, controller: Any, trial: Any) -> None:
            segments.on_error(trial.trial_id, trial.get_error())

    return cast(Any, SegmentScheduler)()  # Ray's own class has no types


def stopper(segments: Segments) -> Any:
    """Return a stopper that polls the segments; Tune calls it in every turn of its loop."""
    from ray import tune

    class SegmentStopper(_NeverPickled, tune.Stopper):
        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            return False

        def stop_all(self) -> bool:
            return segments.poll()

    return SegmentStopper()
