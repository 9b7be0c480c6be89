"""Replay a journal and check that every record follows from the records before it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from orchestrator.errors import JournalError, JournalVersionError, SpecError
from orchestrator.journal import Event, plain
from orchestrator.policies import (
    Searcher,
    Verdict,
    budget,
    build_scheduler,
    build_searcher,
    foreign_scheduler,
    foreign_searcher,
)
from orchestrator.policies.extend_limits import trials_to_continue
from orchestrator.policies.numerics import same_numerics
from orchestrator.policies.recorded_versions import policy_versions, same_version
from orchestrator.policies.scheduler import scheduler_class
from orchestrator.policies.searcher import searcher_class
from orchestrator.progress import EPOCHS, SECONDS, UNITS, noun, place, value
from orchestrator.results.nearly_equal import nearly_equal
from orchestrator.spec import SweepSpec, apply, options_class
from orchestrator.spec.progress_section import LIMITS, trainer_limit
from orchestrator.state import ENDED, MALFORMED, NON_DECISION_EVENTS, SweepState, Trial, spec_in_force
from orchestrator.state.report_order import order_fault, validation_span

# The fields that an extension may change.
_EXTENDED = {
    "trainer": set(LIMITS.values()),
    "progress": {"until"},
    "budget": {"trials", *UNITS, "wall_clock", "gpu_hours", "cost", "target"},
}
_VERDICTS = {"trial.stopped": "stop", "trial.set_aside": "set_aside"}


class JournalReplay:
    """Replay a journal with a fresh searcher and scheduler, which must decide the same.

    What another version of their rules decided is not derived again, and ``not_derived`` says so. Numbers may differ in
    their last digits. Where the journal was written with other arithmetic (another CPU or library), a larger difference
    is one of ``other_numerics``, and no violation, unless the policy is exact.
    """

    def __init__(self, spec: SweepSpec) -> None:
        self.records = self.suggestions = self.decisions = 0
        self.violations: list[str] = []
        self.other_numerics: list[str] = []
        self.not_derived: list[str] = []
        self.state = SweepState()
        self._spec = spec
        self.foreign_scheduler = foreign_scheduler(spec)
        self.foreign_searcher = foreign_searcher(spec)  # a class that a run directory names is never imported
        self._searcher: Searcher | None = None if self.foreign_searcher else build_searcher(spec)
        self._scheduler = build_scheduler(spec)
        self._derives = {"searcher": True, "scheduler": True}  # whether each decides by the version of its rules here
        self._exact = {"searcher": searcher_class(spec.searcher.name).exact, "scheduler": type(self._scheduler).exact}
        self._same_numerics = True
        self._foreign_rule = ""
        if self.foreign_scheduler:
            self._foreign_rule = self._scheduler.name
            self._scheduler = scheduler_class("fifo").build(options_class("schedulers", "fifo")(), spec)
        self._pending_decision: tuple[Event, Verdict] | None = None
        self._started: dict[int, float] = {}  # running trial -> progress of the last report on its segment's way
        self._reached: dict[int, float] = {}  # the same, of the last report or checkpoint
        self._silent: set[int] = set()  # running trials whose segment has not reported yet
        self._open, self._lease = False, 0

    def take(self, event: Event) -> None:
        """Check the next event and apply it."""
        self.records += 1
        try:
            self._check(event)
            self._fold(event)
        except JournalVersionError:
            raise
        except (*MALFORMED, RecursionError, SpecError, JournalError) as error:
            self._violate(event, f"cannot be read: {type(error).__name__}: {error}")

    def _violate(self, event: Event, problem: str) -> None:
        self.violations.append(_sentence(event, problem))

    def _differs(self, event: Event, part: str, problem: str) -> None:
        """Note that a searcher or scheduler decides otherwise here: a violation, unless the arithmetic may be why."""
        if self._same_numerics or self._exact[part]:
            self._violate(event, problem)
        else:
            self.other_numerics.append(_sentence(event, problem))

    def _check(self, event: Event) -> None:
        if (event.type == "sweep.created") != (event.seq == 0):
            self._violate(event, "is out of place: a journal has one sweep.created, its first record")
        if self._pending_decision and event.type not in NON_DECISION_EVENTS and event.type not in _VERDICTS:
            self._report_missing_decision(event)
        if "trial" in event.fields and not self._check_trial_exists(event):
            return
        check = getattr(self, "_check_" + event.type.replace(".", "_"), None)
        if check:
            check(event)

    def _report_missing_decision(self, event: Event) -> None:
        assert self._pending_decision
        report, verdict = self._pending_decision
        action = verdict.action.replace("set_aside", "set aside").replace("stop", "stopped")
        expected = f"trial {report['trial']} had to be {action} by {verdict.rule} after record {report.seq}"
        if verdict.rule == budget.RULE:
            self._violate(event, f"comes where {expected}")
        else:
            self._differs(event, "scheduler", f"comes where {expected}")
        self._pending_decision = None

    def _check_trial_exists(self, event: Event) -> bool:
        """Return whether the trial exists and has not ended, and the sweep is running."""
        trial = self.state.trials.get(event["trial"])
        if (trial is None) != (event.type == "trial.suggested"):
            self._violate(event, "names an unknown trial" if trial is None else "suggests a trial that exists")
            return False
        if trial and trial.status in ENDED and event.type != "trial.retried":
            self._violate(event, f"comes after the trial had {trial.status}")
            return False
        if not self._open and event.type != "trial.retried" and not self._pending_decision:
            self._violate(event, "comes while the sweep is not launched")
        return True

    def _fold(self, event: Event) -> None:
        self.state.apply(event)
        if self._searcher is not None:
            self._searcher.observe(event)
        self._scheduler.observe(event)
        if event.type in ("sweep.launched", "sweep.paused", "sweep.completed"):
            self._open, self._lease = event.type == "sweep.launched", event.lease
            self._started.clear()
            if event.type == "sweep.launched":
                self._note_launch()
        elif event.type == "sweep.extended":
            self._spec = spec_in_force(self.state)
            if self._pending_decision and self._pending_decision[1].rule == budget.RULE and not self._spent_by_report():
                self._pending_decision = None
        elif event.type == "segment.reported":
            judged = self._scheduler.judge(event["trial"], event.progress) if self._derives["scheduler"] else None
            verdict = judged or self._spent_by_report()
            self._pending_decision = (event, verdict) if verdict else None
        elif event.type in ("segment.failed", "trial.finished", "trial.stopped", "trial.set_aside"):
            self._started.pop(event["trial"], None)

    def _note_launch(self) -> None:
        """Take over the versions and the arithmetic that decide from here on."""
        launch = self.state.launches[-1]
        self._same_numerics = same_numerics(launch.numerics, launch.versions or self.state.launches[0].versions)
        for part, version in policy_versions(self._spec).items():
            same = same_version(self._spec, part, launch.policies)
            if not same:
                recorded = launch.policies[part]["version"]
                text = (
                    f"from record {launch.seq} on {part} {version['name']} decided by version {recorded} of its rules"
                )
                self.not_derived.append(f"{text}, not derived again: this program has version {version['version']}")
            self._derives[part] = same

    def _running(self, event: Event) -> bool:
        """Return whether the event belongs to the segment that runs."""
        current = event["trial"] in self._started and event["segment"] == self.state.trials[event["trial"]].segments - 1
        if not current:
            self._violate(event, f"is of segment {event['segment']}, which is not running")
        return current

    def _check_sweep_launched(self, event: Event) -> None:
        if self.state.created.get("warm_start") and not self.state.warm_start_trials:
            self._violate(event, "comes before sweep.warmed")

    def _check_sweep_completed(self, event: Event) -> None:
        open_trials, spent = sorted(self.state.interrupted | self.state.running | self.state.set_aside), self._spent()
        if open_trials:
            self._violate(event, f"comes while trials {open_trials} have not ended")
        if spent and event["reason"] != f"budget.{budget.key_of(spent.why)}":
            self._violate(event, f"gives the reason {event['reason']}, but a budget is spent: {plain(spent.why)}")
        if spent or event["reason"] == "budget.wall_clock":
            return
        if event["reason"].startswith("budget."):
            self._violate(event, f"gives the reason {event['reason']}, a budget that is not spent")
        number, limit = len(self.state.trials), self._spec.budget.trials
        if number != limit and (searcher := self._deriving_searcher) and searcher.has(number):
            self._violate(event, f"comes after {number} trials of {limit}")

    @property
    def _deriving_searcher(self) -> Searcher | None:
        """The searcher, if it can derive the suggestions again."""
        return self._searcher if self._derives["searcher"] else None

    def _spent(self) -> Verdict | None:
        return budget.spent(self._spec, self.state)

    def _spent_by_report(self) -> Verdict | None:
        return budget.spent_by_report(self._spec, self.state)

    def _check_budget_left(self, event: Event) -> None:
        """Check that nothing starts after a budget is spent; time budgets may have been spent since."""
        if spent := self._spent_by_report():
            self._violate(event, f"comes where a budget is spent: {plain(spent.why)}")

    def _check_sweep_warmed(self, event: Event) -> None:
        if event.seq != 1:
            self._violate(event, "is out of place: it follows sweep.created")
        if [source["run"] for source in event["sources"]] != self.state.created.get("warm_start"):
            self._violate(
                event,
                f"has the sources {event['sources']}, but the sweep names {self.state.created.get('warm_start')}",
            )
        if event["metric"] != self._spec.objective.metric:
            self._violate(event, f"ranks by {event['metric']}, and the sweep by {self._spec.objective.metric}")
        outside = [index for index, t in enumerate(event["trials"]) if not self._spec.space.contains(t["params"])]
        if outside:
            self._violate(event, f"holds trials {outside} that are not of this space")

    def _check_sweep_extended(self, event: Event) -> None:
        if self._open and event.lease == self._lease:
            self._violate(event, "comes while the sweep runs")
        expected = trials_to_continue(self._spec, self.state, event["changed"])
        if event["trials"] != expected:
            self._violate(event, f"reopens trials {event['trials']}, but {expected} had ended by an old limit")
        for part, fields in event["changed"].items():
            current = self.state.spec[part]
            if part not in _EXTENDED or not fields.keys() <= _EXTENDED[part]:
                self._violate(event, f"changes {part}: {fields}")
            elif lowered := [key for key in fields.keys() - {"target"} if not self._is_raised(fields, current, key)]:
                self._violate(event, f"lowers {lowered}")

    def _is_raised(self, fields: Mapping[str, Any], current: Mapping[str, Any], key: str) -> bool:
        """Return whether an extension raises a limit; of ``max_time``, which has several forms, the seconds.

        Of ``progress.until`` and the Trainer's limit one may not be said, since the other is the end.
        """
        if current.get(key) is None and key != LIMITS[SECONDS]:
            return bool(fields[key] > (self._spec.horizon or 0))
        if key == LIMITS[SECONDS]:
            return (trainer_limit(fields, SECONDS) or 0) > (trainer_limit(current, SECONDS) or 0)
        return bool(fields[key] > current[key])

    def _check_trial_suggested(self, event: Event) -> None:
        number = len(self.state.trials)
        if event["trial"] != number:
            self._violate(event, f"is out of order: trial {number} is the next")
            return
        first = self._searcher.first(number) if self._searcher else self._spec.repeats.first(number)
        if event.fields.get("repeats", number) != first:
            self._violate(
                event, f"repeats trial {event.fields.get('repeats', number)}, but it must repeat trial {first}"
            )
        if self._spec.budget.trials is not None and number >= self._spec.budget.trials:
            self._violate(event, f"is beyond the budget of {self._spec.budget.trials} trials")
        self._check_budget_left(event)
        if promoted := self._scheduler.promote(last=False):
            self._violate(event, f"is a new trial, but trial {promoted[0]} must be promoted")
        searcher = self._deriving_searcher
        if searcher is None:
            return
        self.suggestions += 1
        expected, by = searcher.suggest(number), searcher.by(number)
        if event["by"] != by:
            self._violate(event, f"has {event['params']} by {event['by']}, but {by} suggests {expected}")
        elif not nearly_equal(expected, event["params"]):
            self._differs(event, "searcher", f"has {event['params']} by {by}, but {by} suggests {expected}")

    def _check_segment_started(self, event: Event) -> None:
        trial, origin = self.state.trials[event["trial"]], event["origin"]
        self._check_budget_left(event)
        if event["segment"] != trial.segments:
            self._violate(event, f"is of segment {event['segment']}, but {trial.segments} is the next")
        if trial.number in self._started:
            self._violate(event, "comes while another segment of the trial runs")
        start = next((saved for saved in trial.restart_checkpoints if saved.path == origin), None)
        if origin is not None and start is None:
            self._violate(event, f"starts from {origin!r}, which is no checkpoint that the trial can start from")
        self._started[trial.number] = start.since if start else 0
        self._reached[trial.number] = start.progress if start else 0
        self._silent.add(trial.number)

    def _check_segment_checkpointed(self, event: Event) -> None:
        if self._check_progress(event) and event.fields.get("interim"):
            self._reached[event["trial"]] = event.progress
        path = PurePosixPath(event["path"])
        if path.is_absolute() or ".." in path.parts:
            self._violate(event, f"names {event['path']!r}, which is outside the run directory")

    def _check_segment_reported(self, event: Event) -> None:
        if self._check_progress(event):
            self._started[event["trial"]] = self._reached[event["trial"]] = event.progress
            self._silent.discard(event["trial"])

    def _check_progress(self, event: Event) -> bool:
        if not self._running(event):
            return False
        number, interim = event["trial"], bool(event.fields.get("interim"))
        unit = self._spec.progress.unit
        has_measures = event.type == "segment.reported" or unit == EPOCHS or interim
        measured = value(event.fields, unit) if has_measures else event.progress
        unknown = interim and measured is None  # a counter that the module has not logged yet
        if event.progress != measured and not (unknown and event.progress == self._reached[number]):
            self._violate(event, f"has progress {event.progress}, but {noun(unit)} {measured}")
        # A report's own checkpoint comes before it, and only the report says how many validations gave none.
        first = number in self._silent and (interim or event.type == "segment.reported")
        by_trainer = first and not self._spec.is_code
        span = validation_span(apply(self._spec, self.state.trials[number].params)[2], unit) if by_trainer else None
        fault = order_fault(
            event.progress,
            after=self._reached[number],
            first=first,
            since=self._started[number],
            span=span,
            unit=unit,
            unreported=event.fields.get("unreported", 0),
            interim=interim,
        )
        if fault:
            self._violate(event, fault)
        return True

    def _check_segment_failed(self, event: Event) -> None:
        self._running(event)

    def _check_trial_finished(self, event: Event) -> None:
        if self._running(event):
            self._check_place(event, self.state.trials[event["trial"]])

    def _check_trial_failed(self, event: Event) -> None:
        trial = self.state.trials[event["trial"]]
        last = trial.failures[-1].segment if trial.failures else None
        if trial.status != "interrupted" or not event["segment"] == last == trial.segments - 1:
            self._violate(event, f"does not follow a failure of segment {event['segment']}")

    def _check_trial_retried(self, event: Event) -> None:
        status = self.state.trials[event["trial"]].status
        if status != "failed":
            self._violate(event, f"comes though the trial has not failed but is {status}")

    def _check_trial_promoted(self, event: Event) -> None:
        if event["rule"] == "request":
            self._check_requested(event)
            return
        if not self._derives["scheduler"]:
            return
        self.decisions += 1
        decision = self._due_decision()
        expected: tuple[Any, ...] | None = None
        if decision:
            number, verdict = decision
            expected = number, verdict.action, verdict.rule, plain(verdict.why), verdict.donor, verdict.params
        donor = tuple(event["donor"]) if "donor" in event.fields else None
        recorded = event["trial"], "promote", event["rule"], event["why"], donor, event.fields.get("params")
        if not nearly_equal(expected, recorded):
            self._differs(event, "scheduler", f"is {recorded}, but the scheduler decides {expected}")

    def _check_requested(self, event: Event) -> None:
        """Check a promotion on request: a trial that was set aside continues unchanged from its checkpoint."""
        trial = self.state.trials[event["trial"]]
        if trial.status != "set_aside":
            self._violate(event, f"comes though the trial was not set aside but is {trial.status}")
        elif event["why"] != {"rung": trial.segment_progress} or event.fields.keys() & {"donor", "params"}:
            there = place(trial.segment_progress, self.state.unit)
            self._violate(event, f"is {dict(event.fields)}, but the trial was set aside at {there}")
        self._check_budget_left(event)

    def _due_decision(self) -> tuple[int, Verdict] | None:
        """Return what the scheduler decides now about a trial that was set aside."""
        idle = self._all_suggested() and not self.state.running and not self.state.interrupted
        return self._scheduler.promote(last=False) or (self._scheduler.promote(last=True) if idle else None)

    def _all_suggested(self) -> bool:
        number = len(self.state.trials)
        searcher = self._deriving_searcher
        return number == self._spec.budget.trials or (searcher is not None and not searcher.has(number))

    def _check_trial_set_aside(self, event: Event) -> None:
        self._check_trial_stopped(event)

    def _check_trial_stopped(self, event: Event) -> None:
        trial = self.state.trials[event["trial"]]
        self._check_place(event, trial)
        if trial.status == "set_aside":
            self._check_dismissed(event, trial)
            return
        pending, self._pending_decision = self._pending_decision, None
        if pending and self._is_not_derived(event):
            return
        if pending and pending[0]["trial"] == trial.number:
            self._check_verdict(event, pending[1])
        elif pending:
            self._pending_decision = pending
            self._report_missing_decision(event)
        elif self._is_external(event):
            self._check_segment(event, trial)
        elif event["rule"] == budget.RULE:
            self._check_segment(event, trial)
            self._check_spent(event)
        else:
            self._differs(event, "scheduler", f"is by {event['rule']}, but the scheduler made no such decision")

    def _check_segment(self, event: Event, trial: Trial) -> None:
        if trial.status == "running" and event["rule"] == budget.RULE:
            self._running(event)

    def _check_dismissed(self, event: Event, trial: Trial) -> None:
        """Check the end of a trial that was set aside when the sweep ended."""
        if self._is_external(event):
            return
        if event["rule"] == budget.RULE:
            self._check_spent(event)
            return
        decision = self._due_decision()
        if decision and decision[0] == trial.number and decision[1].action == "stop":
            self._check_verdict(event, decision[1])
            return
        self._check_verdict(event, self._scheduler.dismiss(trial.number))
        if self.state.running or self.state.interrupted or not (self._all_suggested() or not self._deriving_searcher):
            self._violate(event, "ends a trial that could still be promoted")

    def _check_spent(self, event: Event) -> None:
        spent = self._spent()
        if spent:
            self._check_verdict(event, spent)
        else:
            self._violate(event, f"gives {event['why']}, but no budget is spent")

    def _is_external(self, event: Event) -> bool:
        """Return whether the stop came from outside: a request, the clock, or a class that is not imported."""
        by_clock = event["rule"] == budget.RULE and "wall_clock" in event["why"]
        return by_clock or event["rule"] in ("request", self._foreign_rule) or self._is_not_derived(event)

    def _is_not_derived(self, event: Event) -> bool:
        """Return whether a scheduler decided by a version of its rules that is not the one here."""
        return not self._derives["scheduler"] and event["rule"] != budget.RULE

    def _check_verdict(self, event: Event, verdict: Verdict) -> None:
        self.decisions += 1
        expected = verdict.action, verdict.rule, plain(verdict.why)
        if nearly_equal(expected, (_VERDICTS[event.type], event["rule"], event["why"])):
            return
        problem = f"is by {event['rule']} for {event['why']}, but the scheduler decides {expected}"
        if budget.RULE in (event["rule"], verdict.rule):
            self._violate(event, problem)
        else:
            self._differs(event, "scheduler", problem)

    def _check_place(self, event: Event, trial: Trial) -> None:
        report = trial.reports.get(event.progress)
        if report is not None and event["epoch"] != report.epoch:
            self._violate(event, f"is at epoch {event['epoch']}, but the trial was at epoch {report.epoch} there")
        if event.progress != trial.progress:
            # A segment that restarted from an earlier checkpoint stops at its own place, below the trial's last.
            reached = self._started.get(
                trial.number, self._pending_decision[0].progress if self._pending_decision else None
            )
            if event.progress != reached:
                self._violate(event, f"is at {event.progress}, but the trial has reported {trial.progress}")


def _sentence(event: Event, problem: str) -> str:
    subject = f", trial {event.fields['trial']}" if "trial" in event.fields else ""
    return f"record {event.seq} ({event.type}{subject}) {problem}"
