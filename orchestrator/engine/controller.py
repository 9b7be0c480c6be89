"""The running sweep: choose the next segment, judge each report, write the journal.

An engine asks `SweepController` for segments and brings it their reports. The controller asks the searcher and the
scheduler, journals the decision and answers. It knows neither Ray nor threads nor the clock: one caller at a time, and
everything outside the journal goes through a `DriverHost`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any, Literal

from orchestrator.durable_files import storage_fault
from orchestrator.engine.checkpoint_retention import Retention
from orchestrator.engine.driver_host import DriverHost
from orchestrator.engine.failure_policy import NODE_FAILURES, SegmentFailure, exhausted_retries, reason_to_pause
from orchestrator.engine.stop_requests import REQUESTED
from orchestrator.errors import JournalError, RunHeldError
from orchestrator.journal import FORMAT, Event, Journal, plain, program_version
from orchestrator.policies import Scheduler, Searcher, Verdict, budget, build_scheduler, build_searcher
from orchestrator.policies.recorded_versions import policy_versions
from orchestrator.progress import noun, value, whole
from orchestrator.rundir import RunDirectory
from orchestrator.seeds import trial_seed
from orchestrator.spec import SweepSpec, apply
from orchestrator.spec.progress_options import job_progress, job_saving
from orchestrator.state import MALFORMED, Checkpoint, Objective, SweepState, Trial, contradiction, spec_in_force
from orchestrator.state.report_order import order_fault, validation_span
from orchestrator.training import Checkpoint as Written
from orchestrator.training import Interim, Job, Report
from orchestrator.training.job import tracking_options

Observer = Callable[[SweepState, Event], None]
_ENDS = ("trial.finished", "trial.stopped", "trial.failed", "trial.set_aside")


class SweepController:
    """One running sweep; the only writer of its journal.

    Args:
        spec: the sweep.
        run: its run directory.
        journal: open for writing; its events are replayed first.
        host: the machine that the driver runs on.
        observer: receives new events only, each with the state after it.
    """

    def __init__(
        self, spec: SweepSpec, run: RunDirectory, journal: Journal, host: DriverHost, observer: Observer | None = None
    ) -> None:
        self.spec, self.run, self.journal, self.host = spec, run, journal, host
        self.state = SweepState()
        self.stop_reason = ""
        self.journal_error: Exception | None = None  # the journal cannot be written any more: the engine must end
        self._observer: Observer | None = None
        self._searcher: Searcher = build_searcher(spec)
        self._scheduler: Scheduler = build_scheduler(spec)
        objective = Objective.from_spec(spec.model_dump(include={"objective", "constraints"}))
        self._retention = Retention(objective, spec.checkpoints.keep_top, spec.checkpoints.quota)
        self._checkpoints_to_delete: list[str] = []
        self._storage_wait: tuple[str, float] | None = None  # the fault, and since when
        self._searcher_exhausted = False
        self._drained: set[int] = set()  # trials whose segment was ended at a report, since the sweep drains
        self._started_at = host.now()
        self._accepted: deque[Event] = deque()  # applied to the state, but not yet passed on
        self._state_is_current = True  # False if the last record could not be applied
        self._interrupted = False  # while it wrote or passed on a record: it decides nothing more
        journal.patience = self._wait_for_storage
        for event in journal.events():
            self.state.apply(event)
            try:
                self._apply(event)
            except MALFORMED as error:
                raise contradiction(event, error) from error
        journal.accept = self._accept
        self._seconds_before = self.state.active_seconds
        self._observer = observer

    def start(self, engine: str, slots: int, threads: int = 1) -> None:
        """Record that an engine starts; it runs ``slots`` segments at once, with ``threads`` CPU threads each."""
        self._started_at = self.host.now()
        self._replay_pending_decision()
        driver: dict[str, Any] = {"host": self.host.name, "pid": self.host.pid, "hardware": self.host.hardware()}
        driver |= {"format": FORMAT, "version": program_version(), "policies": policy_versions(self.spec)}
        driver |= self.host.environment()
        self._append("sweep.launched", engine=engine, slots=slots, threads=threads, **driver)
        self._delete_unrecorded_checkpoints()
        self._retire_checkpoints()

    def next_job(self, node: str | None = None, on: str = "") -> Job | Literal["none_left", "wait"]:
        """Return the next segment to run: of a waiting trial, else of a promoted one, else of a new one.

        Args:
            node: where the segment will run; by default the driver's own host. Empty if that is not known yet.
            on: the kind of device there, if the sweep has several. A trial stays on the kind that it began on.

        Returns:
            ``"wait"`` if a segment may become ready once a running one reports or another kind of device takes a
            waiting trial; ``"none_left"`` if the sweep has no more work.
        """
        self._apply_stop_requests()
        if self.stopping or self.host.draining() or self.exhausted_budget or not self._storage_is_ready():
            return "none_left"
        self._apply_promotion_requests()
        number = self._next_waiting(on)
        while number is None and self._promote(last=False) is not None:
            number = self._next_waiting(on)
        if number is None:
            number = self._suggest()
        if number is None and (self.state.interrupted or (self._may_suggest_later and self.state.running)):
            return "wait"
        if number is None and self.state.set_aside:
            if self.state.running:
                return "wait"
            number = self._promote(last=True)
            if number is not None and number != self._next_waiting(on):
                return "wait"
        return "none_left" if number is None else self._start_segment(self.state.trials[number], node, on)

    @property
    def stopping(self) -> bool:
        """Whether no new segment may start: a stop was requested, or the sweep has a reason to pause."""
        self.stop_reason = self.stop_reason or self.host.stop_reason() or reason_to_pause(self.state)
        if self.host.draining() and self.state.running <= self._drained:
            self.stop_reason = self.stop_reason or REQUESTED
        return bool(self.stop_reason) or self._interrupted

    @property
    def budget_trials(self) -> int | float:
        """The most trials that the sweep may suggest; infinity if the budget sets no number."""
        return math.inf if self.spec.budget.trials is None else self.spec.budget.trials

    @property
    def exhausted_budget(self) -> Verdict | None:
        """The budget that is spent, as a verdict; None if every budget has something left."""
        verdict = budget.spent(self.spec, self.state)
        if verdict is None and self._is_out_of_time:
            verdict = Verdict(budget.RULE, {"wall_clock": self.spec.budget.wall_clock})
        return verdict

    @property
    def _is_out_of_time(self) -> bool:
        limit = self.spec.budget.wall_clock
        return limit is not None and self._seconds_before + self.host.now() - self._started_at >= limit

    def has_work(self) -> bool:
        """Return whether trials wait for a new engine, because the process of the last one died.

        A trial that was set aside counts if the scheduler would promote or end it now that nothing runs.
        """
        if self.stopping or self.exhausted_budget:
            return False
        return bool(self.state.interrupted or (self.state.set_aside and self._scheduler.promote(last=True)))

    def is_suspect(self, node: str) -> bool:
        """Return whether a node has lost so many distinct trials that nothing more should be placed there."""
        return self.state.is_suspect_node(node, NODE_FAILURES)

    def on_report(self, trial: int, segment: int, report: Report, node: str = "") -> bool:
        """Journal a report and judge it. The journal has its checkpoint first.

        A report that arrives twice is ignored. A report of a segment that is no longer the trial's stops that segment.
        One that does not follow the report before it, or the checkpoint that the segment started from, fails it.

        Args:
            trial: number of the trial.
            segment: number of the segment.
            report: its metrics and checkpoint, which is durable.
            node: the host that sent it, if known.

        Returns:
            True if the segment continues.
        """
        running = self._running_trial(trial, segment)
        if running is None:
            return False
        metrics, progress = plain(report.metrics), value(asdict(report), self.spec.progress.unit)
        if progress is None:
            message = f"ProgressError: its report at epoch {report.epoch:g} has no {noun(self.spec.progress.unit)}"
            self.on_failure(trial, segment, SegmentFailure("progress", message, "progress"))
            return False
        earlier = running.reports.get(progress)
        if earlier is not None and earlier.segment == segment and metrics == plain(earlier.metrics):
            return not self.stopping
        if self._is_out_of_order(running, segment, progress, report.unreported):
            return False
        if report.checkpoint is not None:
            self._record_checkpoint(running, segment, {**_written(report.checkpoint, running), "progress": progress})
        news = _node(node, running) | _measures(report)
        if report.found and report.found != running.found:
            news["found"] = plain(report.found)
        place: dict[str, Any] = {"epoch": whole(report.epoch), "progress": progress}
        self._append("segment.reported", trial=trial, segment=segment, **place, metrics=metrics, **news)
        verdict = self._judge(trial, progress)
        if verdict is not None:
            self._end_trial(trial, segment, progress, verdict)
        self._apply_promotion_requests()
        if verdict is None and self.host.draining():
            self._drained.add(trial)
        return verdict is None and trial not in self._drained and not self.stopping

    def on_interim(self, trial: int, segment: int, interim: Interim, node: str = "") -> bool:
        """Journal a checkpoint between two reports, from which the trial's next segment can start.

        One that arrives twice is ignored. One that does not follow the segment's last report or checkpoint fails it.

        Args:
            trial: number of the trial.
            segment: number of the segment.
            interim: its checkpoint, which is durable, and how far the training is.
            node: the host that sent it, if known.

        Returns:
            True if the segment is the trial's current one.
        """
        running = self._running_trial(trial, segment)
        if running is None:
            return False
        saved = interim.checkpoint
        if saved is None or (running.interim is not None and running.interim.path == saved.path):
            return True
        progress = value(asdict(interim), self.spec.progress.unit)
        if progress is None:  # a counter that the module has not logged yet
            progress = running.segment_progress
        if self._is_out_of_order(running, segment, progress, interim.unreported, interim=True):
            return False
        place = {**_written(saved, running), "epoch": whole(interim.epoch), "progress": progress, "interim": True}
        news = _node(node, running) | _measures(interim)
        self._append("segment.checkpointed", trial=trial, segment=segment, **place, **news)
        return True

    def _is_out_of_order(
        self, trial: Trial, segment: int, progress: float, unreported: int, *, interim: bool = False
    ) -> bool:
        """Return whether a report or checkpoint has no place among those of its segment, which then fails."""
        last = trial.reports.get(trial.segment_reported)
        first = last is None or last.segment != segment
        unit = self.spec.progress.unit
        span = validation_span(self._components(trial)[2], unit) if first and not self.spec.is_code else None
        fault = order_fault(
            progress,
            after=trial.segment_progress,
            first=first,
            since=trial.segment_reported,
            span=span,
            unit=unit,
            unreported=unreported,
            interim=interim,
        )
        if fault:
            failure = SegmentFailure("progress", f"ProgressError: it {fault}", "progress")
            self.on_failure(trial.number, segment, failure)
        return bool(fault)

    def must_stop(self, trial: int) -> bool:
        """Return whether a running segment of the trial is to stop after its next batch."""
        return self.stopping or trial in self.host.trials_to_stop()

    def on_stop(self, trial: int, segment: int) -> bool:
        """End a segment that has stopped between two reports, at a batch. Return whether that was requested.

        A trial whose own stop was requested ends; if the sweep stops, the trial was interrupted.
        """
        running = self._running_trial(trial, segment)
        if running is not None and trial in self.host.trials_to_stop():
            self._end_trial(trial, segment, running.segment_reported, Verdict("request"))
            return True
        return running is None or self.stopping

    def on_end(self, trial: int, segment: int) -> None:
        """Finish the trial whose segment returned, unless it was stopped, set aside or paused."""
        running = self._running_trial(trial, segment)
        if running is not None and not self.stop_reason and trial not in self._drained:
            self._append("trial.finished", trial=trial, segment=segment, **_place(running, running.progress))

    def on_failure(self, trial: int, segment: int, failure: SegmentFailure, node: str = "") -> None:
        """Record a failed segment. The trial resumes from its last checkpoint if its failure's kind has retries left.

        Otherwise the trial fails. A process that is lost while the sweep stops was interrupted: nothing is recorded.
        ``node`` is the host where it ran, if known.
        """
        running = self._running_trial(trial, segment)
        if running is None or (failure.kind == "lost" and self.stopping):
            return
        self._append("segment.failed", trial=trial, segment=segment, **failure.fields(), **_node(node, running))
        reason = ""
        if exhausted_retries(running, failure.kind):
            reason = "infeasible: out of memory" if failure.kind == "memory" else failure.kind
        elif failure.kind == "memory" and self._components_with_smaller_batches(running) is None:
            reason = "infeasible: out of memory, and its batches cannot be made smaller"
        if reason:
            self._append("trial.failed", trial=trial, segment=segment, reason=reason)

    def on_loss(self, trial: int, segment: int, message: str, kind: str = "lost", node: str = "") -> None:
        """Record a segment whose process is gone, as `on_failure` does; ignored while the sweep stops."""
        if not self.stop_reason:
            self.on_failure(trial, segment, SegmentFailure(kind, message, kind), node)

    def close(self) -> None:
        """Record how the sweep ended and close the journal."""
        try:
            if self._interrupted:
                self._recover()
            if self.host.draining():
                self.stop_reason = self.stop_reason or REQUESTED
            if self.state.running and not self.stop_reason:
                self.stop_reason = f"the engine ended while trials {sorted(self.state.running)} were running"
            if self.stop_reason:
                self._append("sweep.paused", reason=self.stop_reason)
            else:
                verdict = self.exhausted_budget
                self._end_remaining_trials(verdict)
                self._delete_unrecorded_checkpoints()  # no later launch of a completed sweep would
                reason = f"{verdict.rule}.{budget.key_of(verdict.why)}" if verdict else self._searcher.end
                reason = reason or "all trials ended"
                self._append("sweep.completed", reason=reason)
        finally:
            self.journal.close()

    def _next_waiting(self, on: str) -> int | None:
        """Return the first trial that waits for a slot of that kind of device."""
        waiting = self.state.interrupted
        return min((n for n in waiting if not on or self.state.trials[n].device_kind in ("", on)), default=None)

    def _promote(self, *, last: bool) -> int | None:
        """Promote a trial that was set aside and return its number; end those that the scheduler ends instead."""
        while (decision := self._scheduler.promote(last=last)) is not None:
            number, verdict = decision
            if verdict.action == "promote":
                exploited = {"donor": list(verdict.donor), "params": verdict.params} if verdict.donor else {}
                fields = {"rule": verdict.rule, "why": plain(verdict.why), **exploited}
                self._append("trial.promoted", sync=False, trial=number, **fields)
                return number
            trial = self.state.trials[number]
            self._end_trial(number, trial.segments - 1, trial.progress, verdict)
        return None

    def _suggest(self) -> int | None:
        """Return the number of a new trial; None if the searcher or the budget has no more."""
        number = len(self.state.trials)
        if self._searcher_exhausted or number >= self.budget_trials:
            return None
        params = self._searcher.suggest(number)
        if params is None:
            self._searcher_exhausted = self._searcher.exhausts
            return None
        first = self._searcher.first(number)
        repeats = {"repeats": first} if first != number else {}
        by = self._searcher.by(number)
        self._append("trial.suggested", sync=False, trial=number, params=params, by=by, **repeats)
        return number

    @property
    def _may_suggest_later(self) -> bool:
        """Whether a searcher without a suggestion may have one once a running trial has ended."""
        return not self._searcher.exhausts and len(self.state.trials) < self.budget_trials

    def _running_trial(self, number: int, segment: int) -> Trial | None:
        """Return the trial if that segment of it is running."""
        trial = self.state.trials.get(number)
        return trial if trial and trial.status == "running" and trial.segments == segment + 1 else None

    def _judge(self, trial: int, progress: float) -> Verdict | None:
        verdict = self._scheduler.judge(trial, progress) or self.exhausted_budget
        if verdict is None and trial in self.host.trials_to_stop():
            return Verdict("request")
        return verdict

    def _end_trial(self, trial: int, segment: int, progress: float, verdict: Verdict, *, sync: bool = True) -> None:
        """Stop the trial or set it aside, as the verdict says."""
        type = "trial.set_aside" if verdict.action == "set_aside" else "trial.stopped"
        place = _place(self.state.trials[trial], progress)
        self._append(type, sync=sync, trial=trial, segment=segment, **place, rule=verdict.rule, why=plain(verdict.why))
        if trial in self.host.trials_to_stop():
            self.host.trial_stopped(trial)

    def _replay_pending_decision(self) -> None:
        """Judge the last report if the driver that journaled it died before it journaled the verdict."""
        if self.state.pending_decision is None:
            return
        trial, progress = self.state.pending_decision
        verdict = self._scheduler.judge(trial, progress) or budget.spent_by_report(self.spec, self.state)
        if verdict is not None:
            self._end_trial(trial, self.state.trials[trial].segments - 1, progress, verdict)

    def _end_remaining_trials(self, exhausted: Verdict | None) -> None:
        """End the trials that were set aside and, if a budget is exhausted, those that wait for a slot."""
        remaining = sorted(self.state.set_aside | self.state.interrupted if exhausted else self.state.set_aside)
        for number in remaining:
            trial, verdict = self.state.trials[number], exhausted or self._scheduler.dismiss(number)
            self._end_trial(number, trial.segments - 1, trial.progress, verdict, sync=len(remaining) == 1)

    def _apply_stop_requests(self) -> None:
        """End requested trials that wait; a running one ends at its next batch."""
        for number in list(self.host.trials_to_stop()):
            trial = self.state.trials.get(number)
            if trial and trial.status == "running":
                continue
            if trial and trial.status in ("interrupted", "set_aside"):
                self._end_trial(number, trial.segments - 1, trial.progress, Verdict("request"))
            self.host.trial_stopped(number)

    def _apply_promotion_requests(self) -> None:
        """Promote requested trials that are set aside; ignore the request for any other."""
        requested = sorted(self.host.trials_to_promote())
        if not requested or self.stopping or self.exhausted_budget:
            return
        for number in requested:
            trial = self.state.trials.get(number)
            if trial and trial.status == "set_aside":
                self._append("trial.promoted", trial=number, rule="request", why={"rung": trial.segment_progress})
            self.host.trial_promoted(number)

    def _start_segment(self, trial: Trial, node: str | None, on: str) -> Job:
        """Journal the trial's next segment as started and return its job, from the last intact checkpoint."""
        model, data, trainer = self._components_with_smaller_batches(trial) or self._components(trial)
        checkpoint = self._last_intact_checkpoint(trial)
        job = Job(
            trial=trial.number,
            segment=trial.segments,
            seed=trial_seed(self.spec.seed, trial.number),
            metric=self.spec.objective.metric,
            required=self.state.objective.metrics[1:],
            model=model,
            data=data,
            trainer=trainer,
            folder=str(self.host.trial_folder(trial.number)),
            url=self.run.url,
            checkpoint=_file(checkpoint) if checkpoint else None,
            precision=trial.precision if checkpoint else "",
            new_params=checkpoint is not None and not trial.has_current_params(checkpoint),
            workers=self.spec.resources.workers,
            progress=job_progress(self.spec),
            save_every=job_saving(self.spec),
            tracking=tracking_options(self.spec.tracking.enabled, self.run, self.state.started, trial.number),
        )
        origin = checkpoint.path if checkpoint else None
        fields: dict[str, Any] = {"node": self.host.name if node is None else node, "origin": origin}
        if on:
            fields["on"] = on
        if trial.halvings:
            fields["halvings"] = trial.halvings
        # Durable before the worker starts: after a power cut, a surviving worker and the next driver's would otherwise
        # have the same segment number and write the same files.
        self._append("segment.started", trial=trial.number, segment=job.segment, **fields)
        return job

    def _components(self, trial: Trial) -> tuple[dict[str, Any], dict[str, Any] | None, dict[str, Any]]:
        model, data, trainer = apply(self.spec, trial.params)
        return model.model_dump(), data.model_dump() if data else None, dict(trainer)

    def _components_with_smaller_batches(
        self, trial: Trial
    ) -> tuple[dict[str, Any], dict[str, Any] | None, dict[str, Any]] | None:
        """Return the components with micro-batches halved as often as the trial ran out of memory.

        None if it never did, or if its batches cannot be made smaller.
        """
        if not trial.halvings:
            return None
        return self.host.smaller_batches(*self._components(trial), trial.halvings)

    def _last_intact_checkpoint(self, trial: Trial) -> Checkpoint | None:
        """Return the last complete checkpoint, after skipping as many as failed to load since it was saved."""
        intact = [checkpoint for checkpoint in trial.restart_checkpoints if self._is_intact(checkpoint)]
        damaged = trial.load_failures(intact[0]) if intact else 0
        return intact[damaged] if damaged < len(intact) else None

    def _is_intact(self, checkpoint: Checkpoint) -> bool:
        """Ask until the storage answers: a folder that cannot be read now must not restart a trial from nothing."""
        return self.journal.with_patience(partial(self.host.is_intact, checkpoint))

    def _record_checkpoint(self, trial: Trial, segment: int, checkpoint: dict[str, Any]) -> None:
        replaced = trial.checkpoints.get(checkpoint["progress"])
        self._append("segment.checkpointed", sync=False, trial=trial.number, segment=segment, **checkpoint)
        if replaced and replaced.path != checkpoint["path"]:
            self._checkpoints_to_delete.append(replaced.path)

    def _retire_checkpoints(self, *, sync: bool = False) -> None:
        """Record the checkpoints that retention removes; they are deleted once that record is durable."""
        removed = self._retention.deletable(self.state, self._scheduler.lends)
        if removed:
            interims = [trial for trial, progress in removed if progress is None]
            fields = {"interim": interims} if interims else {}
            pairs = [list(checkpoint) for checkpoint in removed if checkpoint[1] is not None]
            self._append("checkpoints.removed", sync=sync, removed=pairs, **fields)

    def _delete_unrecorded_checkpoints(self) -> None:
        """Delete checkpoints that no record names: a worker may have written one after its driver died."""
        self.host.delete_unrecorded(c.path for t in self.state.trials.values() for c in t.files)

    def _storage_is_ready(self) -> bool:
        """Wait after a storage failure until the largest checkpoint so far would fit; False if the sweep stops."""
        while self.state.storage_failures:
            fault = self.host.storage_fault(self._largest_checkpoint)
            if not fault:
                self._record_storage_wait()
                break
            if not self._wait_out(fault):
                return not self.stopping
        return True

    @property
    def _largest_checkpoint(self) -> int:
        sizes = (c.size for n in self.state.interrupted for c in self.state.trials[n].files)
        return max(sizes, default=0)

    def _wait_for_storage(self, error: OSError) -> bool:
        """Wait a moment if the journal's storage is the cause of an error. False if not, or if the sweep is to stop."""
        fault = storage_fault(error, self.run.root)
        return bool(fault) and self._wait_out(fault)

    def _wait_out(self, fault: str) -> bool:
        self._storage_wait = self._storage_wait or (fault, self.host.now())
        return self.host.wait_for_storage(fault)

    def _record_storage_wait(self) -> None:
        """Record the wait after it is over, since nothing can be written during it."""
        if self._storage_wait is not None:
            (fault, since), self._storage_wait = self._storage_wait, None
            self.host.storage_recovered()
            self._append("storage.waited", sync=False, fault=fault, seconds=round(self.host.now() - since, 3))

    def _append(self, type: str, *, sync: bool = True, **fields: Any) -> None:
        """Write a record, and do what follows from it. The journal has it first, then the state, then everybody else.

        An exception may be raised at any point of this thread (a second Ctrl-C). The record is then in both journal and
        state or in neither, since another thread writes both, and the controller decides nothing more.
        """
        interrupted, self._interrupted = self._interrupted, True
        try:
            self._write(type, fields, sync=sync)
        except Exception as error:
            self._interrupted = interrupted or isinstance(error, MemoryError)
            raise
        self._interrupted = interrupted
        if self._storage_wait is not None and not self.state.storage_failures:
            self._record_storage_wait()
        if sync:
            paths, self._checkpoints_to_delete = self._checkpoints_to_delete, []
            self.host.delete(paths)
        if type in _ENDS or type == "segment.reported":
            self._retire_checkpoints(sync=sync and type in _ENDS)

    def _write(self, type: str, fields: dict[str, Any], *, sync: bool) -> None:
        try:
            self.journal.append(type, sync=sync, **fields)
        except (OSError, RunHeldError, JournalError) as error:
            self.journal_error = error
            raise
        while self._accepted:
            self._apply(self._accepted.popleft())

    def _accept(self, event: Event) -> None:
        """Apply a record that is in the journal now to the state; called by the thread that writes the journal."""
        self._accepted.append(event)
        self._state_is_current = False
        trials, named = self.state.trials, [event.fields.get("trial")]
        if event.type == "checkpoints.removed":  # here, so that no file is deleted without this record
            self._checkpoints_to_delete += [trials[trial].checkpoints[at].path for trial, at in event["removed"]]
            named = event.fields.get("interim", [])
        before = {number: trials[number].interim for number in named if number in trials}
        self.state.apply(event)
        replaced = [old for number, old in before.items() if old is not None and trials[number].interim is not old]
        self._checkpoints_to_delete += [checkpoint.path for checkpoint in replaced]
        self._state_is_current = True

    def _apply(self, event: Event) -> None:
        """Pass on a record that the state includes."""
        if event.type == "sweep.extended":
            self.spec = spec_in_force(self.state)
        self._searcher.observe(event)
        self._scheduler.observe(event)
        self._retention.observe(event)
        if self._observer is not None:
            self._observer(self.state, event)

    def _recover(self) -> None:
        """Wait for the record whose caller was interrupted, and make the state that of the journal."""
        self.journal.wait()
        if not self._state_is_current:
            self.state, self._state_is_current = SweepState(self.journal.events()), True
        self.stop_reason = self.stop_reason or self.host.stop_reason() or "interrupted"


def _node(node: str, trial: Trial) -> dict[str, Any]:
    """Return the field that names a segment's host if the journal does not know it yet.

    Ray Tune places a segment after it was journaled as started, so its first message is the first to name the host.
    """
    return {"node": node} if node and node != trial.node else {}


def _measures(report: Report | Interim) -> dict[str, Any]:
    """Return how far a report is beside its epoch; nothing for what the training does not count."""
    measures = {"step": report.step, "samples": report.samples, "seconds": report.seconds, "counters": report.counters}
    measures["unreported"] = report.unreported
    return {name: measure for name, measure in measures.items() if measure}


def _written(checkpoint: Written, trial: Trial) -> dict[str, Any]:
    """Return a checkpoint as it is journaled: with the precision that ``auto`` came to where that is news."""
    fields = asdict(checkpoint)
    if fields["precision"] in ("", trial.precision):
        del fields["precision"]
    return fields


def _place(trial: Trial, progress: float) -> dict[str, Any]:
    """Return epoch and progress of a trial's report; both are 0 before the first."""
    report = trial.reports.get(progress)
    return {"epoch": report.epoch if report else 0, "progress": progress}


def _file(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return a checkpoint as a segment receives it."""
    return {name: getattr(checkpoint, name) for name in ("path", "size", "sha256", "epoch")}
