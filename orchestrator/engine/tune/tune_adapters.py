"""Tune's searcher, scheduler and stopper over one live sweep."""

from __future__ import annotations

import _thread
import json
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from orchestrator.engine.controller import SweepController
from orchestrator.engine.failure_policy import SegmentFailure
from orchestrator.engine.stop_requests import StopRequests
from orchestrator.engine.tune import oom_detection
from orchestrator.engine.tune.cluster_nodes import node_of
from orchestrator.engine.tune.error_parsing import greediest, kind_of
from orchestrator.engine.tune.ray_lifecycle import Instance, RayDied
from orchestrator.engine.tune.slots import Slots
from orchestrator.engine.tune.worker import read_report
from orchestrator.engine.tune.worker_group import placed
from orchestrator.engine.watchdog import Watchdog
from orchestrator.training import Job

_ABANDON_SECONDS = 6.0
_LEAVE_SECONDS = 2.0  # before a host that was told to go is gone
_TOLD_TO_GO = "was told to go"


@dataclass
class _Running:
    """A segment and the Tune trial that runs it.

    ``process`` is how Ray calls the actor that it runs in, which Tune forgets before it raises; ``node`` is the
    ``NodeID`` of its host, once that is known; ``killed`` says as what it counts that we ended it, and why.
    """

    job: Job
    trial: Any = None
    process: str = ""
    node: str = ""
    killed: tuple[str, str] | None = None

    @property
    def progress(self) -> Path:
        """The file that its process touches while it gets on."""
        return Path(self.job.folder) / "progress"

    @property
    def actor(self) -> Any:
        """Ray's handle of its process; None until it has one. Tune has no public way to it."""
        return self.trial.temporary_state.ray_actor if self.trial is not None else None


class Segments:
    """What runs, by the number of its Tune trial; what becomes of it goes to the live sweep."""

    def __init__(self, live: SweepController, stopping: StopRequests, instance: Instance, slots: Slots) -> None:
        self.live, self._stopping, self._instance, self._slots = live, stopping, instance, slots
        self._running: dict[str, _Running] = {}
        self._watchdog = Watchdog(live.spec.recovery.stalled_after, live.run.changed)
        self._timer: threading.Timer | None = None

    def next(self, trial_id: str) -> Job | str:
        """The next segment; else ``none_left``, or ``wait`` where there may be one later."""
        self.asked()
        if len(self._running) >= self._slots():
            return "wait"
        job = self.live.next_job()
        if isinstance(job, str):
            return job
        self._running[trial_id] = _Running(job)
        self._watchdog.start(trial_id, self._running[trial_id].progress)
        return job

    def added(self, trial: Any) -> None:
        if trial.trial_id in self._running:
            self._running[trial.trial_id].trial = trial
            if shunned := self._slots.shunned:
                trial.update_resources(placed(self.live.spec.resources, shunned))

    def reported(self, trial_id: str, result: dict[str, Any]) -> bool:
        """True to go on."""
        known = self._running.get(trial_id)
        if known is None:
            return False
        job = known.job
        self._watchdog.alive(trial_id)
        if "failed" in result:
            self.live.on_failure(job.trial, job.segment, SegmentFailure(**json.loads(result["failed"])))
            return True
        self.asked()
        known.node = result.get("node", "")
        go_on = self.live.on_report(job.trial, job.segment, read_report(result["report"]), node=result["hostname"])
        if go_on and known.node in self._slots.leaving:  # the checkpoint is there: the rest is for another host
            self.live.on_loss(job.trial, job.segment, f"{result['hostname']} {_TOLD_TO_GO}", kind="preempted")
            go_on = False
        if not go_on:
            self._pop(trial_id)
        return go_on

    def ended(self, trial_id: str) -> None:
        known = self._pop(trial_id)
        if known is not None:
            self.live.on_end(known.job.trial, known.job.segment)

    def lost(self, trial_id: str, error: str | None) -> None:
        """Its process is gone; ``error`` is Ray's text."""
        known = self._pop(trial_id)
        if known is not None:
            job = known.job
            kind, message = known.killed or kind_of(error or "")
            if kind == "lost" and oom_detection.killed(job):
                kind, message = "memory", "the kernel ended its process: the host is out of memory"
            self.live.on_loss(job.trial, job.segment, message, kind=kind)

    def lose_all(self, message: str, kind: str = "lost", cause: BaseException | None = None) -> None:
        """All of it is gone.

        Where Ray's memory monitor is the cause, who used most is out of memory, and the others had no part in it.
        """
        guilty = greediest(cause)
        for trial_id in list(self._running):
            known = self._running.pop(trial_id)
            self._watchdog.end(trial_id)
            if guilty:
                kind = "memory" if guilty in known.process else "preempted"
            self.live.on_loss(known.job.trial, known.job.segment, message, kind=kind)

    def look_after(self) -> bool:
        """Called some ten times a second. True when the Tuner is to end: what ran has ended, or time is up.

        Raises RayDied where Ray cannot go on.
        """
        self._instance.check()
        self._slots.look_after()
        for known in self._running.values():
            known.process = known.process or (repr(known.actor) if known.actor else "")
        self._leave_in_time()
        for trial_id, seconds in self._watchdog.stalled():
            known = self._running[trial_id]
            if self._slots.elsewhere and known.actor is None:  # it waits for a host, however long that takes
                self._watchdog.start(trial_id, known.progress)
            else:
                self._end_stalled(known, seconds)
        if not self.asked() or (self._running and not self._stopping.overdue):
            return False
        if self._timer is None:
            self._timer = threading.Timer(_ABANDON_SECONDS, _thread.interrupt_main)
            self._timer.daemon = True
            self._timer.start()
        return True

    def asked(self) -> bool:
        """Whether the sweep is to stop."""
        self.live.stop_reason = self.live.stop_reason or self._stopping.reason
        return bool(self.live.stop_reason)

    def stand_down(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _end_stalled(self, known: _Running, seconds: float) -> None:
        import ray

        if known.actor is None:
            raise RayDied(f"it started no process for trial {known.job.trial} in {seconds:.0f} s")
        known.killed = "stalled", f"no progress for {seconds:.0f} s"
        if self._slots.elsewhere and (node := node_of(known.actor)):
            self._slots.avoid(node)
        ray.kill(known.actor)

    def _leave_in_time(self) -> None:
        """End what still runs on a host whose time is up: elsewhere it then goes on before the loss is noticed."""
        import ray

        due = {node for node, gone in self._slots.leaving.items() if gone and time.time() > gone - _LEAVE_SECONDS}
        for known in self._running.values() if due else ():
            if known.killed is None and known.actor is not None:
                known.node = known.node or node_of(known.actor)
                if known.node in due:
                    known.killed = "preempted", f"its host {_TOLD_TO_GO}, and the epoch did not end in time"
                    ray.kill(known.actor)

    def _pop(self, trial_id: str) -> _Running | None:
        self._watchdog.end(trial_id)
        return self._running.pop(trial_id, None)


class _NeverPickled:
    """Tune pickles what it is given into its own state, which is never read back: nothing goes there."""

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return object, ()


def searcher(segments: Segments, roots: list[str]) -> Any:
    """Suggests the next segment. ``roots`` are folders that users' modules are imported from."""
    from ray.tune.search import Searcher

    class Suggest(_NeverPickled, Searcher):
        def suggest(self, trial_id: str) -> Any:
            job = segments.next(trial_id)
            if isinstance(job, Job):
                return {"job": json.dumps(asdict(job)), "roots": json.dumps(roots)}
            return Searcher.FINISHED if job == "none_left" else None

        def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
            """The scheduler has dealt with it."""

    return Suggest()


def scheduler(segments: Segments) -> Any:
    """Takes reports to the live sweep and its answers back."""
    from ray.tune.schedulers import FIFOScheduler, TrialScheduler

    class Judge(_NeverPickled, FIFOScheduler):
        def on_trial_add(self, controller: Any, trial: Any) -> None:
            segments.added(trial)

        def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
            go_on = segments.reported(trial.trial_id, result)
            return str(TrialScheduler.CONTINUE if go_on else TrialScheduler.STOP)

        def on_trial_complete(self, controller: Any, trial: Any, result: dict[str, Any]) -> None:
            segments.ended(trial.trial_id)

        def on_trial_error(self, controller: Any, trial: Any) -> None:
            segments.lost(trial.trial_id, trial.get_error())

    return cast(Any, Judge)()  # Ray's own class has no types


def stopper(segments: Segments) -> Any:
    """Ends the Tuner when it is time; Tune asks in every turn of its loop."""
    from ray import tune

    class WhenAsked(_NeverPickled, tune.Stopper):
        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            return False

        def stop_all(self) -> bool:
            return segments.look_after()

    return WhenAsked()
