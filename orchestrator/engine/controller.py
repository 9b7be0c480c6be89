"""The sweep while it runs: what to run next, what each report means. The one writer of its journal.

Engines ask it for segments and bring it reports; it asks the policies, writes the journal, and answers. It knows
neither Ray nor threads nor the clock: one caller at a time, and the world comes through a `Host`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any, Literal

from orchestrator.durable_files import storage_fault
from orchestrator.engine.checkpoint_retention import Retention
from orchestrator.engine.failure_policy import NODE_FAILURES, Failed, exhausted, reason_to_pause
from orchestrator.engine.runtime_env import Host
from orchestrator.errors import RunHeldError
from orchestrator.journal import FORMAT, Event, Journal, plain, program_version
from orchestrator.policies import Scheduler, Searcher, Verdict, budget, build_scheduler, build_searcher
from orchestrator.rundir import RunDirectory
from orchestrator.secrets import redact
from orchestrator.seeds import trial_seed
from orchestrator.spec import SweepSpec, apply
from orchestrator.state import Checkpoint, Objective, SweepState, Trial
from orchestrator.training import Job, Report
from orchestrator.training.job import tracking_options

Observer = Callable[[SweepState, Event], None]
_TEXTS = frozenset({"message", "reason", "fault"})  # what others have written, perhaps with a key in it
_ENDS = ("trial.finished", "trial.stopped", "trial.failed", "trial.set_aside")


class LiveSweep:
    """One running sweep."""

    def __init__(
        self, spec: SweepSpec, run: RunDirectory, journal: Journal, host: Host, observer: Observer | None = None
    ) -> None:
        self.spec, self.run, self.journal, self.host = spec, run, journal, host
        self.state = SweepState()
        self.stop_reason = ""
        self.broken: Exception | None = None  # why nothing more can be journaled; an engine ends with it
        self._observer: Observer | None = None
        self._searcher: Searcher = build_searcher(spec)
        self._scheduler: Scheduler = build_scheduler(spec)
        self._retention = Retention(_objective(spec), spec.checkpoints.keep_top, spec.checkpoints.quota)
        self._doomed: list[str] = []
        self._waiting: tuple[str, float] | None = None
        self._exhausted = False
        self._since = host.now()
        journal.patience = self._patience
        for event in journal.events():
            self._fold(event)
        self._spent = self.state.active_seconds
        self._observer = observer  # it is told what happens, not what happened

    def launched(self, engine: str, slots: int, threads: int = 1) -> None:
        """An engine is about to ask for segments; it runs ``slots`` at once, with so many CPU threads each."""
        self._since = self.host.now()
        self._pay_verdict()
        who: dict[str, Any] = {"host": self.host.name, "pid": self.host.pid, "hardware": self.host.hardware()}
        who |= {"format": FORMAT, "version": program_version()}
        self._append("sweep.launched", engine=engine, slots=slots, threads=threads, **who)
        self._remove_unknown()
        self._retire()

    def next_job(self, node: str = "", on: str = "") -> Job | Literal["none_left", "wait"]:
        """The next segment to run: trials that were interrupted or asked for first, then promotions, then new ones.

        ``node`` is where it will run, by default the driver's own, and ``on`` the kind of device there, where a sweep
        has several: a trial stays on the kind that it began on. ``wait`` where there may be one later, when what runs
        now has reported, or another kind has taken what waits for it.
        """
        self._stop_what_was_asked()
        if self.stopping or self.over or not self._storage_is_ready():
            return "none_left"
        self._promote_what_was_asked()
        number = self._ready(on)
        while number is None and self._promoted(last=False) is not None:
            number = self._ready(on)
        if number is None:
            number = self._suggested()
        if number is None and (self.state.interrupted or (self._undecided and self.state.running)):
            return "wait"
        if number is None and self.state.set_aside:
            if self.state.running:
                return "wait"
            number = self._promoted(last=True)
            if number is not None and number != self._ready(on):
                return "wait"
        return "none_left" if number is None else self._job(self.state.trials[number], node, on)

    def _ready(self, on: str) -> int | None:
        """The first of the trials that wait for a slot, and for one of that kind."""
        waiting = self.state.interrupted
        return min((n for n in waiting if not on or self.state.trials[n].device_kind in ("", on)), default=None)

    def _promoted(self, *, last: bool) -> int | None:
        """A trial that was set aside and goes on now, by number. Those that the scheduler gives up meanwhile end."""
        while (found := self._scheduler.promote(last=last)) is not None:
            number, verdict = found
            if verdict.action == "promote":
                taken = {"donor": list(verdict.donor), "params": verdict.params} if verdict.donor else {}
                fields = {"rule": verdict.rule, "why": plain(verdict.why), **taken}
                self._append("trial.promoted", sync=False, trial=number, **fields)
                return number
            trial = self.state.trials[number]
            self._end(number, trial.segments - 1, trial.epoch, verdict)
        return None

    def _suggested(self) -> int | None:
        """A new trial, by number; None where there are no more."""
        number = len(self.state.trials)
        if self._exhausted or number >= self.budget_trials:
            return None
        params = self._searcher.suggest(number)
        if params is None:
            self._exhausted = self._searcher.exhausts
            return None
        first = self._searcher.first(number)
        repeats = {"repeats": first} if first != number else {}
        by = self._searcher.by(number)
        self._append("trial.suggested", sync=False, trial=number, params=params, by=by, **repeats)
        return number

    @property
    def _undecided(self) -> bool:
        """Whether the searcher, which has suggested nothing, may do so yet when what runs has ended."""
        return not self._searcher.exhausts and len(self.state.trials) < self.budget_trials

    @property
    def stopping(self) -> bool:
        """Whether no new work is to start: somebody asked, or there is a reason to pause."""
        self.stop_reason = self.stop_reason or self.host.asked() or reason_to_pause(self.state)
        return bool(self.stop_reason)

    @property
    def budget_trials(self) -> int | float:
        return math.inf if self.spec.budget.trials is None else self.spec.budget.trials

    @property
    def out_of_time(self) -> bool:
        limit = self.spec.budget.wall_clock
        return limit is not None and self._spent + self.host.now() - self._since >= limit

    @property
    def over(self) -> Verdict | None:
        """Why nothing more is to be trained: a budget is spent; None while there is something left of all."""
        found = budget.spent(self.spec, self.state)
        if found is None and self.out_of_time:
            found = Verdict(budget.RULE, {"wall_clock": self.spec.budget.wall_clock})
        return found

    def has_work(self) -> bool:
        """Whether trials wait that an engine has let go of (their process died), and the sweep may go on.

        Of those set aside, any that would go on or end now that nothing runs; the rest end with the sweep.
        """
        if self.stopping or self.over:
            return False
        return bool(self.state.interrupted or (self.state.set_aside and self._scheduler.promote(last=True)))

    def avoided(self, node: str) -> bool:
        """Whether a node has lost so many distinct trials that nothing more should be placed there."""
        return self.state.is_suspect_node(node, NODE_FAILURES)

    def reported(self, trial: int, segment: int, report: Report, node: str = "") -> bool:
        """A report came in: journal it and judge. True to go on. The checkpoint is durable, and known, first.

        A report that came twice is passed over; one of a segment that is no longer the trial's ends that segment.
        ``node`` is the host that it came from, where that is known.
        """
        known = self._running(trial, segment)
        if known is None:
            return False
        told = known.reports.get(report.epoch)
        if told is not None and told.segment == segment:
            return not self.stopping
        if report.checkpoint is not None:
            self._checkpointed(known, segment, asdict(report.checkpoint))
        metrics = plain(report.metrics)
        # Where it was placed is known from here on.
        moved: dict[str, Any] = {"node": node} if node and node != known.node else {}
        self._append("segment.reported", trial=trial, segment=segment, epoch=report.epoch, metrics=metrics, **moved)
        verdict = self._verdict(trial, report.epoch)
        if verdict is not None:
            self._end(trial, segment, report.epoch, verdict)
        self._promote_what_was_asked()
        return verdict is None and not self.stopping

    def ended(self, trial: int, segment: int) -> None:
        """The segment's function returned: the trial is finished, unless it was stopped, set aside or told to pause."""
        known = self._running(trial, segment)
        if known is not None and not self.stop_reason:
            self._append("trial.finished", trial=trial, segment=segment, epoch=known.epoch)

    def failed(self, trial: int, segment: int, failure: Failed) -> None:
        """The segment ended badly: the trial goes on from its last checkpoint, or has failed, as the kind demands."""
        known = self._running(trial, segment)
        if known is None:
            return
        self._append("segment.failed", trial=trial, segment=segment, **asdict(failure))
        reason = ""
        if exhausted(known, failure.kind):
            reason = "infeasible: out of memory" if failure.kind == "memory" else failure.kind
        elif failure.kind == "memory" and self._smaller(known) is None:
            reason = "infeasible: out of memory, and its batches cannot be made smaller"
        if reason:
            self._append("trial.failed", trial=trial, segment=segment, reason=reason)

    def lost(self, trial: int, segment: int, message: str, kind: str = "lost") -> None:
        """The segment's process is gone: the trial goes on from its last checkpoint, unless that happens too often."""
        if not self.stop_reason:
            self.failed(trial, segment, Failed(kind, message, kind))

    def close(self) -> None:
        """Write how it ended and let the journal go."""
        try:
            if self.stop_reason:
                self._append("sweep.paused", reason=self.stop_reason)
            else:
                over = self.over
                self._dismiss(over)
                self._remove_unknown()  # now, since nobody looks after a completed sweep
                reason = f"{over.rule}.{budget.key_of(over.why)}" if over else "all trials ended"
                self._append("sweep.completed", reason=reason)
        finally:
            self.journal.close()

    def _running(self, trial: int, segment: int) -> Trial | None:
        """The trial, if that segment of it is what runs."""
        known = self.state.trials.get(trial)
        return known if known and known.status == "running" and known.segments == segment + 1 else None

    def _verdict(self, trial: int, epoch: int) -> Verdict | None:
        verdict = self._scheduler.judge(trial, epoch) or self.over
        if verdict is None and trial in self.host.trials_to_stop():
            return Verdict("request")
        return verdict

    def _end(self, trial: int, segment: int, epoch: int, verdict: Verdict, *, sync: bool = True) -> None:
        """The verdict on a trial takes effect: it is stopped, or set aside."""
        type = "trial.set_aside" if verdict.action == "set_aside" else "trial.stopped"
        why = plain(verdict.why)
        self._append(type, sync=sync, trial=trial, segment=segment, epoch=epoch, rule=verdict.rule, why=why)
        if trial in self.host.trials_to_stop():
            self.host.trial_stopped(trial)

    def _pay_verdict(self) -> None:
        """Judge the last report, if the process that journaled it died before it could."""
        if self.state.pending_decision is None:
            return
        trial, epoch = self.state.pending_decision
        verdict = self._scheduler.judge(trial, epoch) or budget.spent_by_report(self.spec, self.state)
        if verdict is not None:
            self._end(trial, self.state.trials[trial].segments - 1, epoch, verdict)

    def _dismiss(self, over: Verdict | None) -> None:
        """Nobody waits any more: a budget is spent, or all that will be promoted has been."""
        left = sorted(self.state.set_aside | self.state.interrupted if over else self.state.set_aside)
        for number in left:
            trial, verdict = self.state.trials[number], over or self._scheduler.dismiss(number)
            self._end(number, trial.segments - 1, trial.epoch, verdict, sync=len(left) == 1)

    def _stop_what_was_asked(self) -> None:
        """End trials that wait; those that run end at their next report."""
        for number in list(self.host.trials_to_stop()):
            trial = self.state.trials.get(number)
            if trial and trial.status == "running":
                continue
            if trial and trial.status in ("interrupted", "set_aside"):
                self._end(number, trial.segments - 1, trial.epoch, Verdict("request"))
            self.host.trial_stopped(number)

    def _promote_what_was_asked(self) -> None:
        """Trials that were set aside go on as soon as there is room; others are passed over."""
        asked = sorted(self.host.trials_to_promote())
        if not asked or self.stopping or self.over:
            return
        for number in asked:
            trial = self.state.trials.get(number)
            if trial and trial.status == "set_aside":
                self._append("trial.promoted", trial=number, rule="request", why={"rung": trial.segment_epoch})
            self.host.trial_promoted(number)

    def _job(self, trial: Trial, node: str, on: str) -> Job:
        """The trial's next segment, journaled as started. It goes on from the last checkpoint that is still whole."""
        model, data, trainer = self._smaller(trial) or self._components(trial)
        checkpoint = self._last_whole(trial)
        job = Job(
            trial=trial.number,
            segment=trial.segments,
            seed=trial_seed(self.spec.seed, trial.number),
            metric=self.spec.objective.metric,
            required=self.state.objective.metrics[1:],
            model=model,
            data=data,
            trainer=trainer,
            folder=str(self.host.folder(trial.number)),
            url=self.run.url,
            checkpoint=asdict(checkpoint) if checkpoint else None,
            new_params=checkpoint is not None and not trial.has_current_params(checkpoint),
            workers=self.spec.resources.workers,
            tracking=tracking_options(self.spec.tracking.wanted, self.run, self.state.started, trial.number),
        )
        fields: dict[str, Any] = {"node": node or self.host.name, "origin": checkpoint.path if checkpoint else None}
        if on:
            fields["on"] = on
        if trial.halvings:
            fields["halvings"] = trial.halvings
        # Durable before the worker starts: else, after a power cut, a worker that lives on and the next driver's would
        # have one segment number, and write the same files.
        self._append("segment.started", trial=trial.number, segment=job.segment, **fields)
        return job

    def _components(self, trial: Trial) -> tuple[dict[str, Any], dict[str, Any] | None, dict[str, Any]]:
        model, data, trainer = apply(self.spec, trial.params)
        return model.model_dump(), data.model_dump() if data else None, dict(trainer)

    def _smaller(self, trial: Trial) -> tuple[dict[str, Any], dict[str, Any] | None, dict[str, Any]] | None:
        """The trial's components with its micro-batches halved as often as it ran out of memory; None if never."""
        if not trial.halvings:
            return None
        return self.host.smaller_batches(*self._components(trial), trial.halvings)

    def _last_whole(self, trial: Trial) -> Checkpoint | None:
        """The last checkpoint that is still there, passing over as many as failed to load since it was saved."""
        whole = [checkpoint for checkpoint in trial.restart_checkpoints if self._is_whole(checkpoint)]
        damaged = trial.load_failures(whole[0]) if whole else 0
        return whole[damaged] if damaged < len(whole) else None

    def _is_whole(self, checkpoint: Checkpoint) -> bool:
        """Asked until the storage answers: a trial does not start afresh because a folder cannot be read just now."""
        return self.journal.with_patience(partial(self.host.whole, checkpoint))

    def _checkpointed(self, trial: Trial, segment: int, checkpoint: dict[str, Any]) -> None:
        replaced = trial.checkpoints.get(checkpoint["epoch"])
        self._append("segment.checkpointed", sync=False, trial=trial.number, segment=segment, **checkpoint)
        if replaced and replaced.path != checkpoint["path"]:
            self._doomed.append(replaced.path)

    def _retire(self, *, sync: bool = False) -> None:
        """Let go of checkpoints that nobody needs: first on record, then, once that is durable, on the disk."""
        removed = self._retention.superfluous(self.state, self._scheduler.lends)
        if removed:
            self._doomed += [self.state.trials[trial].checkpoints[epoch].path for trial, epoch in removed]
            self._append("checkpoints.removed", sync=sync, removed=[list(held) for held in removed])

    def _remove_unknown(self) -> None:
        """Remove checkpoints that no record names: a worker whose driver died may have written one after its time."""
        self.host.remove_unknown(c.path for t in self.state.trials.values() for c in t.checkpoints.values())

    def _storage_is_ready(self) -> bool:
        """After a segment failed for want of storage: wait until the largest checkpoint so far would fit again."""
        while self.state.storage_failures:
            fault = self.host.fault(self._largest)
            if not fault:
                self._storage_returned()
                break
            self._note_waiting(fault)
            if not self.host.wait(fault):
                return not self.stopping
        return True

    @property
    def _largest(self) -> int:
        sizes = (c.size for n in self.state.interrupted for c in self.state.trials[n].checkpoints.values())
        return max(sizes, default=0)

    def _patience(self, error: OSError) -> bool:
        """The journal cannot be written: the sweep stands still until it can, or somebody asks for a stop."""
        fault = storage_fault(error, self.run.root)
        if not fault:
            return False
        self._note_waiting(fault)
        return self.host.wait(fault)

    def _note_waiting(self, fault: str) -> None:
        self._waiting = self._waiting or (fault, self.host.now())

    def _storage_returned(self) -> None:
        """On record afterwards, since nothing can be written meanwhile."""
        if self._waiting is not None:
            (fault, since), self._waiting = self._waiting, None
            self.host.recovered()
            self._append("storage.waited", sync=False, fault=fault, seconds=round(self.host.now() - since, 3))

    def _append(self, type: str, *, sync: bool = True, **fields: Any) -> None:
        fields = {name: redact(value) if name in _TEXTS else value for name, value in fields.items()}
        try:
            event = self.journal.append(type, sync=sync, **fields)
        except (OSError, RunHeldError) as error:
            self.broken = error
            raise
        self._fold(event)
        if self._waiting is not None and not self.state.storage_failures:
            self._storage_returned()
        if sync:
            doomed, self._doomed = self._doomed, []
            self.host.remove(doomed)
        if type in _ENDS or type == "segment.reported":
            self._retire(sync=sync and type in _ENDS)

    def _fold(self, event: Event) -> None:
        self.state.apply(event)
        if event.type == "sweep.extended":
            self.spec = SweepSpec.model_validate(self.state.spec)
        self._searcher.observe(event)
        self._scheduler.observe(event)
        self._retention.observe(event)
        if self._observer is not None:
            self._observer(self.state, event)


def _objective(spec: SweepSpec) -> Objective:
    return Objective.from_spec(spec.model_dump(include={"objective", "constraints"}))
