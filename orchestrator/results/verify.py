"""Whether a run is what it says it is: every record in its place, every decision re-derived, every checkpoint whole."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from orchestrator.durable_files import check_file
from orchestrator.errors import CheckpointError, SpecError, UsageError
from orchestrator.journal import Event, plain, read
from orchestrator.policies import (
    FIFO,
    Searcher,
    Verdict,
    budget,
    build_scheduler,
    build_searcher,
    foreign,
    foreign_scheduler,
)
from orchestrator.policies.extend_limits import brought_back
from orchestrator.policies.finals import confirmation
from orchestrator.results.run_state import has_begun
from orchestrator.results.winner import finals_of
from orchestrator.rundir import RunDirectory
from orchestrator.spec import SweepSpec
from orchestrator.state import ENDED, NON_DECISION_EVENTS, Objective, SweepState, Trial

# What an extension may change.
_EXTENDED = {"trainer": {"max_epochs"}, "budget": {"trials", "epochs", "wall_clock", "gpu_hours", "cost", "target"}}
_VERDICTS = {"trial.stopped": "stop", "trial.set_aside": "set_aside"}


@dataclass
class Findings:
    """What was looked at, and ``violations``: one sentence each, none for a run that is whole.

    ``decisions`` counts verdicts that were re-derived, ``bytes`` those of the checkpoints that were read; ``notes`` say
    what was not looked at.
    """

    records: int = 0
    suggestions: int = 0
    decisions: int = 0
    checkpoints: int = 0
    bytes: int = 0
    violations: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check(run: RunDirectory) -> Findings:
    """Read the journal and every checkpoint it holds to be there. For a run that nobody writes at the time.

    Raises JournalError where the journal is damaged.
    """
    findings, replay = Findings(), None
    for event in read(run.journal):
        if replay is None:
            try:
                replay = Replay(SweepSpec.model_validate(event["spec"]))
            except (KeyError, ValueError, SpecError) as error:
                findings.violations.append(f"record 0 ({event.type}) holds no spec that can be read: {error}")
                return findings
        replay.take(event)
    if replay is None:
        findings.violations.append("the journal holds no record")
        return findings
    findings.records, findings.suggestions, findings.decisions = replay.records, replay.suggestions, replay.decisions
    findings.violations += replay.violations
    for what, path, library in (
        ("suggestions", replay.foreign, "Optuna"),
        ("decisions", replay.foreign_scheduler, "Ray"),
    ):
        if path:
            text = f"{what} were not derived anew: {path} is no part of {library}"
            findings.notes.append(f"{text}, and no run directory's class is imported to read it")
    _check_files(run, replay.state, findings)
    _check_confirmation(run, replay.state, findings)
    return findings


def replay(spec: SweepSpec, events: Iterable[Event]) -> list[str]:
    """What is wrong with the events of a sweep, each sentence naming the record's ``seq``. Pure."""
    replay = Replay(spec)
    for event in events:
        replay.take(event)
    return replay.violations


def _check_files(run: RunDirectory, state: SweepState, findings: Findings) -> None:
    for trial in state.trials.values():
        for held in trial.checkpoints.values():
            try:
                check_file(run.fetch(held.path), held.size, held.sha256)
            except (CheckpointError, UsageError, OSError) as error:
                findings.violations.append(f"trial {trial.number}, epoch {held.epoch}: {str(error).splitlines()[0]}")
            else:
                findings.bytes += held.size
            findings.checkpoints += 1


def _check_confirmation(run: RunDirectory, state: SweepState, findings: Findings) -> None:
    """What the journal says of the finals is what the finals' own says."""
    if state.confirmation is None:
        return
    finals = finals_of(run, state)
    if not has_begun(finals):
        findings.notes.append(f"what the finals came to was not derived anew: {finals.root} is gone")
        return
    events = (event for event in read(finals.journal) if event.seq <= state.confirmation["journal"])
    found = {**confirmation(state, SweepState(events)), "folder": finals.name}
    findings.decisions += 1
    if not _alike(found, state.confirmation):
        findings.violations.append(f"winner.confirmed says {state.confirmation}, where the finals say {found}")


def _alike(found: Any, told: Any) -> bool:
    """The same, but for the last digits of numbers: libraries of another version may round otherwise."""
    if isinstance(found, Mapping) and isinstance(told, Mapping):
        return found.keys() == told.keys() and all(_alike(found[key], told[key]) for key in found)
    if isinstance(found, list) and isinstance(told, list):
        return len(found) == len(told) and all(map(_alike, found, told))
    if isinstance(found, float) and isinstance(told, float):
        return math.isclose(found, told, rel_tol=1e-6, abs_tol=1e-9)
    return bool(found == told)


class Replay:
    """The journal read once more, with a fresh searcher and scheduler beside it that must come to the same."""

    def __init__(self, spec: SweepSpec) -> None:
        self.records = self.suggestions = self.decisions = 0
        self.violations: list[str] = []
        self.state = SweepState()
        self._spec = spec
        self.foreign_scheduler = foreign_scheduler(spec)
        self.foreign = foreign(spec)  # nothing read back from a run directory is executed
        self._searcher: Searcher | None = None if self.foreign else build_searcher(spec)
        self._scheduler = build_scheduler(spec)
        self._scheduler_not_asked = ""
        if self.foreign_scheduler:
            objective = Objective(spec.objective.metric, spec.objective.mode)
            self._scheduler, self._scheduler_not_asked = FIFO(objective), self._scheduler.name
        self._owed: tuple[Event, Verdict] | None = None
        self._started: dict[int, int] = {}  # running trial -> the last epoch that its segment has seen
        self._open, self._lease = False, 0

    def take(self, event: Event) -> None:
        """The next event."""
        self.records += 1
        try:
            self._check(event)
            self._fold(event)
        except (LookupError, TypeError, ValueError, AttributeError, SpecError) as error:
            self._say(event, f"cannot be read: {type(error).__name__}: {error}")

    def _say(self, event: Event, what: str) -> None:
        about = f", trial {event.fields['trial']}" if "trial" in event.fields else ""
        self.violations.append(f"record {event.seq} ({event.type}{about}) {what}")

    def _check(self, event: Event) -> None:
        if (event.type == "sweep.created") != (event.seq == 0):
            self._say(event, "is not in its place: a journal begins with sweep.created, and has one")
        if self._owed and event.type not in NON_DECISION_EVENTS and event.type not in _VERDICTS:
            self._unpaid(event)
        if "trial" in event.fields and not self._may_be_told(event):
            return
        rule = getattr(self, "_check_" + event.type.replace(".", "_"), None)
        if rule:
            rule(event)

    def _unpaid(self, event: Event) -> None:
        assert self._owed
        report, verdict = self._owed
        what = verdict.action.replace("set_aside", "set aside").replace("stop", "stopped")
        due = f"trial {report['trial']} was to be {what} by {verdict.rule} after record {report.seq}"
        self._say(event, f"comes where {due}")
        self._owed = None

    def _may_be_told(self, event: Event) -> bool:
        """Whether the trial is there and has not ended, and a driver is at work."""
        trial = self.state.trials.get(event["trial"])
        if (trial is None) != (event.type == "trial.suggested"):
            self._say(event, "speaks of an unknown trial" if trial is None else "is there a second time")
            return False
        if trial and trial.status in ENDED and event.type != "trial.retried":
            self._say(event, f"comes after the trial had {trial.status}")
            return False
        if not self._open and event.type != "trial.retried" and not self._owed:
            self._say(event, "comes while the sweep is not launched")
        return True

    def _fold(self, event: Event) -> None:
        self.state.apply(event)
        if self._searcher is not None:
            self._searcher.observe(event)
        self._scheduler.observe(event)
        if event.type in ("sweep.launched", "sweep.paused", "sweep.completed"):
            self._open, self._lease = event.type == "sweep.launched", event.lease
            self._started.clear()
        elif event.type == "sweep.extended":
            self._spec = SweepSpec.model_validate(self.state.spec)
            if self._owed and self._owed[1].rule == budget.RULE and not self._spent_by_report():
                self._owed = None
        elif event.type == "segment.reported":
            verdict = self._scheduler.judge(event["trial"], event["epoch"]) or self._spent_by_report()
            self._owed = (event, verdict) if verdict else None
        elif event.type in ("segment.failed", "trial.finished", "trial.stopped", "trial.set_aside"):
            self._started.pop(event["trial"], None)

    def _running(self, event: Event) -> bool:
        """Whether the event is of the segment that runs."""
        runs = event["trial"] in self._started and event["segment"] == self.state.trials[event["trial"]].segments - 1
        if not runs:
            self._say(event, f"is of segment {event['segment']}, which is not running")
        return runs

    def _check_sweep_launched(self, event: Event) -> None:
        if self.state.created.get("warm_start") and not self.state.warm_start_trials:
            self._say(event, "comes before the sweep was warmed")

    def _check_sweep_completed(self, event: Event) -> None:
        left, spent = sorted(self.state.interrupted | self.state.running | self.state.set_aside), self._spent()
        if left:
            self._say(event, f"comes while trials {left} have not ended")
        if spent and event["reason"] != f"budget.{budget.key_of(spent.why)}":
            self._say(event, f"is for {event['reason']}, where a budget is spent: {plain(spent.why)}")
        if spent or event["reason"] == "budget.wall_clock":
            return
        if event["reason"].startswith("budget."):
            self._say(event, f"is for {event['reason']}, which is not spent")
        number, wanted = len(self.state.trials), self._spec.budget.trials
        if number != wanted and self._searcher is not None and self._searcher.has(number):
            self._say(event, f"comes after {number} trials of {wanted}")

    def _spent(self) -> Verdict | None:
        return budget.spent(self._spec, self.state)

    def _spent_by_report(self) -> Verdict | None:
        return budget.spent_by_report(self._spec, self.state)

    def _check_goes_on(self, event: Event) -> None:
        """Nothing is begun once a budget is spent. Those that time spends may have been spent since."""
        if spent := self._spent_by_report():
            self._say(event, f"comes where a budget is spent: {plain(spent.why)}")

    def _check_sweep_warmed(self, event: Event) -> None:
        if event.seq != 1:
            self._say(event, "is not in its place, which is after sweep.created")
        if [source["run"] for source in event["sources"]] != self.state.created.get("warm_start"):
            self._say(event, f"is from {event['sources']}, where {self.state.created.get('warm_start')} were asked for")
        if event["metric"] != self._spec.objective.metric:
            self._say(event, f"is by {event['metric']}, and the sweep by {self._spec.objective.metric}")
        outside = [index for index, t in enumerate(event["trials"]) if not self._spec.space.contains(t["params"])]
        if outside:
            self._say(event, f"holds trials {outside} that are not of this space")

    def _check_sweep_extended(self, event: Event) -> None:
        if self._open and event.lease == self._lease:
            self._say(event, "comes while the sweep is at work")
        expected = brought_back(self._spec, self.state, event["changed"])
        if event["trials"] != expected:
            self._say(event, f"brings back trials {event['trials']}, where {expected} had ended by an old limit")
        for part, fields in event["changed"].items():
            known = self.state.spec[part]
            if part not in _EXTENDED or not fields.keys() <= _EXTENDED[part]:
                self._say(event, f"changes {part}: {fields}")
            elif less := [key for key in fields.keys() - {"target"} if not fields[key] > known[key]]:
                self._say(event, f"makes less of {less}")

    def _check_trial_suggested(self, event: Event) -> None:
        number = len(self.state.trials)
        if event["trial"] != number:
            self._say(event, f"is not in order: trial {number} is the next")
            return
        first = self._searcher.first(number) if self._searcher else self._spec.repeats.first(number)
        if event.fields.get("repeats", number) != first:
            self._say(
                event, f"repeats trial {event.fields.get('repeats', number)}, where it is to repeat trial {first}"
            )
        if self._spec.budget.trials is not None and number >= self._spec.budget.trials:
            self._say(event, f"is beyond the budget of {self._spec.budget.trials} trials")
        self._check_goes_on(event)
        if promoted := self._scheduler.promote(last=False):
            self._say(event, f"is a new trial, where trial {promoted[0]} was to be promoted")
        if self._searcher is None:
            return
        self.suggestions += 1
        expected, by = self._searcher.suggest(number), self._searcher.by(number)
        if event["params"] != expected or event["by"] != by:
            found = f"{event['params']} by {event['by']}"
            self._say(event, f"has {found}, where {by} suggests {expected}")

    def _check_segment_started(self, event: Event) -> None:
        trial, origin = self.state.trials[event["trial"]], event["origin"]
        self._check_goes_on(event)
        if event["segment"] != trial.segments:
            self._say(event, f"is of segment {event['segment']}, where {trial.segments} is the next")
        if trial.number in self._started:
            self._say(event, "comes while another segment of the trial runs")
        epochs = {held.path: held.epoch for held in trial.restart_checkpoints}
        if origin is not None and origin not in epochs:
            self._say(event, f"goes on from {origin!r}, which is no checkpoint of an epoch that the trial reported")
        self._started[trial.number] = epochs.get(origin, 0)

    def _check_segment_checkpointed(self, event: Event) -> None:
        self._check_epoch(event)
        path = PurePosixPath(event["path"])
        if path.is_absolute() or ".." in path.parts:
            self._say(event, f"names {event['path']!r}, which is outside the run directory")

    def _check_segment_reported(self, event: Event) -> None:
        if self._check_epoch(event):
            self._started[event["trial"]] = event["epoch"]

    def _check_epoch(self, event: Event) -> bool:
        if not self._running(event):
            return False
        if event["epoch"] <= self._started[event["trial"]]:
            self._say(event, f"is of epoch {event['epoch']}, after epoch {self._started[event['trial']]}")
        return True

    def _check_segment_failed(self, event: Event) -> None:
        self._running(event)

    def _check_trial_finished(self, event: Event) -> None:
        if self._running(event):
            self._check_at(event, self.state.trials[event["trial"]])

    def _check_trial_failed(self, event: Event) -> None:
        trial = self.state.trials[event["trial"]]
        last = trial.failures[-1].segment if trial.failures else None
        if trial.status != "interrupted" or not event["segment"] == last == trial.segments - 1:
            self._say(event, f"does not follow a failure of segment {event['segment']}")

    def _check_trial_retried(self, event: Event) -> None:
        status = self.state.trials[event["trial"]].status
        if status != "failed":
            self._say(event, f"comes though the trial has not failed but is {status}")

    def _check_trial_promoted(self, event: Event) -> None:
        if event["rule"] == "request":
            self._check_asked(event)
            return
        self.decisions += 1
        due = self._due()
        expected = due and (due[0], due[1].action, due[1].rule, plain(due[1].why), due[1].donor, due[1].params)
        donor = tuple(event["donor"]) if "donor" in event.fields else None
        found = event["trial"], "promote", event["rule"], event["why"], donor, event.fields.get("params")
        if found != expected:
            self._say(event, f"is {found}, where the scheduler says {expected}")

    def _check_asked(self, event: Event) -> None:
        """Somebody outside has let a trial go on that was set aside: as it was, from where it was."""
        trial = self.state.trials[event["trial"]]
        if trial.status != "set_aside":
            self._say(event, f"comes though the trial was not set aside but is {trial.status}")
        elif event["why"] != {"rung": trial.segment_epoch} or event.fields.keys() & {"donor", "params"}:
            self._say(
                event, f"is {dict(event.fields)}, where the trial was set aside after epoch {trial.segment_epoch}"
            )
        self._check_goes_on(event)

    def _due(self) -> tuple[int, Verdict] | None:
        """What the scheduler does now with a trial that was set aside."""
        alone = self._all_suggested() and not self.state.running and not self.state.interrupted
        return self._scheduler.promote(last=False) or (self._scheduler.promote(last=True) if alone else None)

    def _all_suggested(self) -> bool:
        number = len(self.state.trials)
        return number == self._spec.budget.trials or (self._searcher is not None and not self._searcher.has(number))

    def _check_trial_set_aside(self, event: Event) -> None:
        self._check_trial_stopped(event)

    def _check_trial_stopped(self, event: Event) -> None:
        trial = self.state.trials[event["trial"]]
        self._check_at(event, trial)
        if trial.status == "set_aside":
            self._check_dismissed(event, trial)
            return
        due, self._owed = self._owed, None
        if due and due[0]["trial"] == trial.number:
            self._check_verdict(event, due[1])
        elif due:
            self._owed = due
            self._unpaid(event)
        elif self._is_outside(event):
            self._check_segment(event, trial)
        elif event["rule"] == budget.RULE:
            self._check_segment(event, trial)
            self._check_spent(event)
        else:
            self._say(event, f"is by {event['rule']}, but the scheduler says no such thing")

    def _check_segment(self, event: Event, trial: Trial) -> None:
        if trial.status == "running" and event["rule"] == budget.RULE:
            self._running(event)

    def _check_dismissed(self, event: Event, trial: Trial) -> None:
        """At the end of the sweep nobody waits any more."""
        if self._is_outside(event):
            return
        if event["rule"] == budget.RULE:
            self._check_spent(event)
            return
        due = self._due()
        if due and due[0] == trial.number and due[1].action == "stop":
            self._check_verdict(event, due[1])
            return
        self._check_verdict(event, self._scheduler.dismiss(trial.number))
        if self.state.running or self.state.interrupted or not self._all_suggested():
            self._say(event, "ends a trial that might have been promoted yet")

    def _check_spent(self, event: Event) -> None:
        spent = self._spent()
        if spent:
            self._check_verdict(event, spent)
        else:
            self._say(event, f"is for {event['why']}, but no budget is spent")

    def _is_outside(self, event: Event) -> bool:
        """Whether somebody outside has stopped the trial: a person, a clock, a class that is not imported here."""
        by_clock = event["rule"] == budget.RULE and "wall_clock" in event["why"]
        return by_clock or event["rule"] in ("request", self._scheduler_not_asked)

    def _check_verdict(self, event: Event, verdict: Verdict) -> None:
        self.decisions += 1
        expected = verdict.action, verdict.rule, plain(verdict.why)
        if (_VERDICTS[event.type], event["rule"], event["why"]) != expected:
            self._say(event, f"is by {event['rule']} for {event['why']}, where the scheduler says {expected}")

    def _check_at(self, event: Event, trial: Trial) -> None:
        if event["epoch"] != trial.epoch:
            # A segment that started again further back is stopped where it is, not where the trial once was.
            reached = self._started.get(trial.number, self._owed[0]["epoch"] if self._owed else None)
            if event["epoch"] != reached:
                self._say(event, f"is at epoch {event['epoch']}, but the trial has reported {trial.epoch}")
