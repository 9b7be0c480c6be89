"""The state of a sweep, computed from its journal's events alone: no clock, no file."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import JournalError, JournalVersionError
from orchestrator.journal import (
    Event,
    SteadyTime,
    event_problem,
    program_version,
    shown,
    spec_problem,
    upgrade_hint,
    writer_version,
)
from orchestrator.progress import EPOCHS, UNITS, value, whole
from orchestrator.space import KINDS
from orchestrator.spec import SweepSpec, spec_of_record
from orchestrator.state.launch import Launch
from orchestrator.state.objective import Objective
from orchestrator.state.ranking import Configuration, pareto_front
from orchestrator.state.trial import (
    ENDED,
    Checkpoint,
    Failure,
    InterimCheckpoint,
    Report,
    Status,
    Takeover,
    Trial,
)

# Events that may stand between a report and the decision on it, if a process died or the disk was full in between.
NON_DECISION_EVENTS = frozenset(
    {
        "sweep.launched",
        "sweep.paused",
        "sweep.extended",
        "trial.retried",
        "checkpoints.removed",
        "storage.waited",
    }
    | {"finals.begun", "winner.confirmed", "test.begun", "winner.tested"}
)
_WITHOUT_HANDLER = frozenset({"storage.waited"})
_MEASURES = ("epoch", "step", "samples", "seconds", "counters")
_BUDGET = "budget"  # the rule by which a spent budget stops trials, which `extend` continues
_BLAMES_NODE = frozenset({"lost", "node", "stalled"})


@dataclass
class FailureStreak:
    """Consecutive trials that ended with the same failure."""

    fingerprint: str = ""
    message: str = ""
    trials: int = 0


def recorded_spec(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the spec of ``sweep.created`` in the present form.

    A journal of format 1 says nothing of progress: its unit is the epoch, and a trial was compared by its best at its
    first report at or beyond a rung.
    """
    return {"progress": {"unit": EPOCHS, "interpolate": False}, **spec} if isinstance(spec, Mapping) else spec


def merge_spec(spec: Mapping[str, Any], changed: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the spec with the fields of some parts replaced."""
    return {**spec, **{part: {**(spec.get(part) or {}), **fields} for part, fields in changed.items()}}


def _is_range(domain: Any) -> bool:
    """Return whether a domain, as a spec holds it, is a range or a distribution of numbers."""
    return isinstance(domain, Mapping) and not _RANGES.isdisjoint(domain)


def _below(domain: Mapping[str, Any]) -> float:
    """Return a number that every value of a range is above."""
    if "log_int" in domain:
        return 0.5  # its logarithms are taken of half an integer less
    return -math.inf if _LOGARITHMIC.isdisjoint(domain) else 0.0


_LOGARITHMIC = frozenset({"log_uniform", "log_int", "log_normal"})
_RANGES = frozenset(KINDS) - {"choice", "const"}
_RESTORE = "nothing was changed; restore an undamaged copy"
MALFORMED = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, AssertionError)
"""What code raises that uses an event's fields, if they are not what a program has written."""


def contradiction(event: Event, error: Exception) -> JournalError:
    """Return the error for an event that a journal cannot hold at that place."""
    trial = event.fields.get("trial")
    whose = f" of trial {trial}" if isinstance(trial, int) else ""
    reason = f"it names {error}, which no record before it does" if isinstance(error, LookupError) else str(error)
    return JournalError(
        f"record {event.seq} of the journal ({event.type}{whose}) contradicts the records before it: {reason}",
        hint=_RESTORE,
    )


def spec_in_force(state: SweepState) -> SweepSpec:
    """Return the spec in force, extensions included. Raises as `orchestrator.spec.spec_of_record`, with its record."""
    return spec_of_record(state.spec, state.spec_seq)


class SweepState:
    """The state that a journal's events lead to. Only `apply` and `mark_interrupted` change it.

    Applying one event is O(1) in the number of trials, except for an event that interrupts all running trials.

    Attributes:
        spec: The spec in force, extensions included; ``spec_seq`` is the record that set it.
        created: The fields of ``sweep.created``.
        updated: The time of the last event in Unix seconds; ``steady_time`` is the same on a clock without jumps.
        active_seconds: The time during which a process was running the sweep, without steps of its clock and without
            the time in which its machine was suspended.
        trial_seconds: The sum of that time over the running trials.
        trained: How much was trained in each unit that reports carry, what was repeated included.
        lowest_loss: The lowest finite loss and its trial.
        warm_start_trials: How many trials of earlier sweeps the searcher started with.
        finals: How many finals were started; ``finals_open`` is False once the search has continued since.
        confirmation: The result of the last finals; None before, and once the search has continued.
        test_evaluations: The evaluations of the test set, in order.
        machine: Engine, threads and hardware of the last launch.
        has_reports: Whether any trial has reported.
        pending_decision: Trial and progress of a report that no decision has followed yet.
        launches: What each launch and resume ran with, in order.
    """

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.spec: dict[str, Any] = {}
        self.spec_seq = 0
        self.objective = Objective("", "min")
        self._ranges: tuple[tuple[str, float], ...] = ()  # parameters that are numbers, and what they are above
        self.created: dict[str, Any] = {}
        self.trials: dict[int, Trial] = {}
        self.status: str = "created"
        self.reason: str = ""
        self.seq = -1
        self.started = 0.0
        self.updated = self.steady_time = 0.0
        self._clock = SteadyTime()
        self.active_seconds = self.trial_seconds = 0.0
        self.trained: dict[str, float] = dict.fromkeys(UNITS, 0)
        self.lowest_loss: tuple[float, int] | None = None
        self.warm_start_trials = 0
        self.slots = 0
        self.failure_streak = FailureStreak()
        self.storage_failures = 0
        self.confirmation: dict[str, Any] | None = None
        self.test_evaluations: list[dict[str, Any]] = []
        self.finals = 0
        self.finals_open = False
        self.machine: dict[str, Any] = {}
        self.pending_decision: tuple[int, float] | None = None
        self.launches: list[Launch] = []
        self._by_status: dict[str, set[int]] = {"running": set(), "interrupted": set(), "set_aside": set()}
        self._counts: Counter[str] = Counter()
        self._failed_on: dict[str, set[int]] = {}
        self._repeats: dict[int, list[int]] = {}  # the trials of each configuration that has more than one
        self.has_reports = False
        self.writer = ""  # the version of the program that launched the sweep last, if it is on record
        self._active_lease: int | None = None  # of the process that is running the sweep
        for event in events:
            self.apply(event)

    @property
    def epochs(self) -> float:
        """How many epochs were trained, repeated ones included."""
        return self.trained[EPOCHS]

    @property
    def unit(self) -> str:
        """The unit of progress."""
        unit: str = (self.spec.get("progress") or {}).get("unit") or EPOCHS
        return unit

    @property
    def interrupted(self) -> Set[int]:
        """Trials that wait for their next segment: interrupted, failed with retries left, promoted or extended."""
        return self._by_status["interrupted"]

    @property
    def set_aside(self) -> Set[int]:
        """Trials that wait for a promotion."""
        return self._by_status["set_aside"]

    @property
    def running(self) -> Set[int]:
        """Trials with a running segment, and new ones whose first segment has not started."""
        return self._by_status["running"]

    def is_suspect_node(self, node: str, trials: int) -> bool:
        """Return whether that many distinct trials were lost on ``node`` since the last report from there."""
        return len(self._failed_on.get(node, ())) >= trials

    def apply(self, event: Event) -> None:
        """Apply the next event.

        Raises:
            JournalVersionError: This program does not know the event's type: a newer version wrote it.
            JournalError: A field of it cannot be what it says, or it contradicts the events before it: it names a trial
                that does not exist, say.
        """
        if problem := event_problem(event):
            raise JournalError(f"record {event.seq} of the journal ({event.type}): {problem}", hint=_RESTORE)
        self._count_time(event)
        self.seq = event.seq
        handler = getattr(self, "_on_" + event.type.replace(".", "_"), None)
        if handler:
            try:
                handler(event)
            except MALFORMED as error:
                raise contradiction(event, error) from error
        elif event.type not in _WITHOUT_HANDLER:
            raise JournalVersionError(
                f"record {event.seq} of the journal is of type {event.type[:60]!r}, which sweep-orchestrator "
                f"{program_version()} does not know",
                hint=f"nothing was changed; {upgrade_hint(self.writer)}",
            )
        if event.type not in NON_DECISION_EVENTS:
            self.pending_decision = (event["trial"], event.progress) if event.type == "segment.reported" else None

    def _count_time(self, event: Event) -> None:
        """Count the time since the previous event if one process wrote both: when a dead process ended is unknown."""
        now = self._clock.of(event)
        if event.lease == self._active_lease:
            passed = max(0.0, now - self.steady_time)
            self.active_seconds += passed
            self.trial_seconds += passed * len(self.running)
        self.updated, self.steady_time = event.time, now

    @property
    def repeats(self) -> dict[str, Any]:
        """The spec's ``repeats``: how many ``seeds`` each configuration has, and ``rank_by``."""
        return self.spec.get("repeats") or {"seeds": 1, "rank_by": "mean"}

    @property
    def repeated(self) -> bool:
        """Whether configurations are tried under several seeds: a fixed number, or in a race until one has won."""
        return self.repeats["seeds"] > 1 or self.racing

    @property
    def racing(self) -> bool:
        """Whether the searcher is ``race``, which trains a few configurations until the best is clear."""
        return bool((self.spec.get("searcher") or {}).get("name") == "race")

    def ranking(self) -> list[Trial]:
        """Return the trials, best first, by their best finite epoch and then their number.

        Trials without a finite value come after these, failed ones last. If configurations are repeated, the order of
        `configurations` comes first.
        """
        objective = self.objective
        rank = {configuration.first: rank for rank, configuration in enumerate(self.configurations())}

        def key(trial: Trial) -> tuple[Any, ...]:
            best = objective.best(trial)
            if trial.status == "failed":
                return (2, trial.number)
            if best is None:
                return (1, trial.number)
            return (0, rank.get(trial.configuration, 0), objective.loss(best.value), trial.number)

        return sorted(self.trials.values(), key=key)

    def configurations(self) -> list[Configuration]:
        """Return the configurations, best first, by mean or lower bound and then number; incomplete ones come last.

        Empty if each configuration has one trial only.
        """
        if not self.repeated:
            return []
        firsts = [trial for number, trial in self.trials.items() if trial.configuration == number]
        return [self.configuration(trial.number) for trial in sorted(firsts, key=self.ranking_key)]

    def ranking_key(self, trial: Trial) -> tuple[bool, float, int]:
        """Return the key by which its configuration is ordered, best first; the same for all if none is repeated."""
        if not self.repeated:
            return False, 0.0, 0
        configuration = self.configuration(trial.number)
        loss = configuration.loss(self.objective, self.repeats["rank_by"])
        return not configuration.complete, loss, configuration.first

    def configuration(self, number: int) -> Configuration:
        """Return the results of trial ``number`` and of the other trials with its parameters."""
        numbers = self.trials_of_configuration(number)
        trials = [self.trials[number] for number in numbers]
        epochs = [self.objective.best(trial) for trial in trials if trial.status != "failed"]
        all_suggested = self.racing or len(trials) == self.repeats["seeds"]
        ended = all_suggested and all(trial.status in ENDED for trial in trials)
        return Configuration(numbers[0], numbers, [best.value for best in epochs if best], ended)

    def trials_of_configuration(self, number: int) -> Sequence[int]:
        """Return the numbers of the trials with trial ``number``'s parameters, in order; its own is included."""
        first = self.trials[number].configuration
        return self._repeats.get(first, [first])

    def winner(self) -> Trial | None:
        """Return the best trial that did not fail and has a finite value; None if there is none."""
        first = next(iter(self.ranking()), None)
        return first if first and first.status != "failed" and self.objective.best(first) else None

    def points(self) -> dict[int, tuple[float, ...]]:
        """Return the trials' losses, lower is better: see `Objective.points`."""
        return self.objective.points(self.trials.values())

    def front(self) -> list[int]:
        """Return the trials on the Pareto front, ordered by the first objective: see `pareto_front`."""
        return pareto_front(self.points())

    def mark_interrupted(self) -> None:
        """Mark the sweep and its running trials as interrupted: the writing process died without recording a pause."""
        self.status = "interrupted"
        self._interrupt()

    def count(self, *statuses: str) -> int:
        """Return the number of trials with any of these statuses."""
        return sum(self._counts[status] for status in statuses)

    @property
    def ended(self) -> int:
        """How many trials have ended: finished, stopped or failed."""
        return self.count("finished", "stopped", "failed")

    def set_spec(self, spec: dict[str, Any]) -> None:
        """Replace the spec in force, and with it the objective."""
        self.spec, self.objective = spec, Objective.from_spec(spec)
        domains = (spec.get("space") or {}).items()
        self._ranges = tuple((name, _below(domain)) for name, domain in domains if _is_range(domain))

    def _on_sweep_created(self, event: Event) -> None:
        if self.created:
            raise ValueError("a journal has one record of this type")
        self.created, self.spec_seq = dict(event.fields), event.seq
        self.writer = writer_version(event)
        self.set_spec(recorded_spec(event["spec"]))
        self.started = event.time

    def _on_sweep_launched(self, event: Event) -> None:
        self.status, self.reason = "running", ""
        self.slots = event["slots"]
        self.writer = writer_version(event) or self.writer
        self.launches.append(self._launch(event))
        self.machine = {key: event.fields.get(key) for key in ("engine", "threads", "hardware")}
        self.failure_streak, self.storage_failures = FailureStreak(), 0
        # A process that died recorded no pause: the trials that it ran are interrupted.
        self._interrupt()
        self._active_lease = event.lease

    def _launch(self, event: Event) -> Launch:
        """Return what the driver runs with; what the first launch did not record, ``sweep.created`` may have."""
        recorded = {"version": self.writer, **event.fields}
        if not self.launches:
            code = {"commit": self.created.get("git")} if self.created.get("git") else {}
            recorded = {"versions": self.created.get("versions") or {}, "code": code, **recorded}
        names = ("version", "code", "versions", "numerics", "policies")
        return Launch(event.seq, **{name: recorded[name] for name in names if recorded.get(name)})

    @property
    def policies(self) -> Mapping[str, Mapping[str, Any]]:
        """The versions of searcher and scheduler that decided last; empty if they are not recorded."""
        return self.launches[-1].policies if self.launches else self.created.get("policies") or {}

    def _on_sweep_paused(self, event: Event) -> None:
        self.status, self.reason = "paused", event["reason"]
        self._interrupt()
        self._active_lease = None

    def _on_sweep_completed(self, event: Event) -> None:
        self.status, self.reason = "completed", event["reason"]
        self._active_lease = None

    def _on_sweep_warmed(self, event: Event) -> None:
        self.warm_start_trials = len(event["trials"])

    def _on_sweep_extended(self, event: Event) -> None:
        self.status, self.reason = "paused", "extended"
        spec = merge_spec(self.spec, event["changed"])
        if problem := spec_problem(spec):
            raise ValueError(f"with its field 'changed' {problem}")
        self.set_spec(spec)
        self.spec_seq = event.seq
        self._reopen()
        for number in event["trials"]:
            trial = self.trials[number]
            trial.ended, trial.stopped_by = 0.0, {}
            self._set(trial, "interrupted")

    def _on_winner_confirmed(self, event: Event) -> None:
        finalists = {row["configuration"] for row in event["table"]}
        for name in (event["first"], event["winner"]["configuration"]):
            if name not in finalists:
                raise ValueError(f"it names configuration {name}, which is not in its table")
        self.confirmation = dict(event.fields)

    def _on_finals_begun(self, event: Event) -> None:
        self.finals, self.finals_open = event["number"], True

    def _reopen(self) -> None:
        """Discard the confirmation: once the search continues, another trial may win."""
        self.finals_open, self.confirmation = False, None

    def _on_test_begun(self, event: Event) -> None:
        self.test_evaluations.append({"look": event["look"], **event["of"], "time": event.time, "metrics": None})

    def _on_winner_tested(self, event: Event) -> None:
        metrics = {name: float(value) for name, value in event["metrics"].items()}
        self.test_evaluations[event["look"] - 1]["metrics"] = metrics

    def _interrupt(self) -> None:
        for number in list(self.running):
            self._set(self.trials[number], "interrupted")

    def _check_params(self, params: Mapping[str, Any]) -> None:
        """Raise ValueError if a parameter whose domain is a range of numbers is none: readers compute with it."""
        for name, above in self._ranges:
            if name in params and not (type(params[name]) in (int, float) and above < params[name] < math.inf):
                kind = "a number above 0" if above >= 0 else "a number"
                raise ValueError(f"its parameter {name!r} must be {kind}, but is {shown(params[name])}")

    def _on_trial_suggested(self, event: Event) -> None:
        self._check_params(event["params"])
        first = event.fields.get("repeats", event["trial"])
        trial = Trial(event["trial"], event["params"], event["by"], first, started=event.time)
        trial.steady_started, trial.began = self.steady_time, self.active_seconds
        if first != trial.number:
            _ = self.trials[first]
            self._repeats.setdefault(first, [first]).append(trial.number)
        self.trials[trial.number] = trial
        self._counts["running"] += 1
        self._by_status["running"].add(trial.number)

    def _on_segment_started(self, event: Event) -> None:
        trial = self.trials[event["trial"]]
        trial.segments, trial.node, trial.was_set_aside = event["segment"] + 1, event["node"], False
        trial.device_kind = event.fields.get("on", trial.device_kind)
        trial.launches[event["segment"]] = len(self.launches) - 1
        trial.segment_starts[event["segment"]] = self.steady_time
        origin = event["origin"]
        if origin is None and event["segment"]:
            trial.restarts.add(event["segment"])
        trial.counted = self._measures_at(trial, origin)
        start = next((saved for saved in trial.restart_checkpoints if saved.path == origin), None)
        trial.segment_progress, trial.segment_reported = (start.progress, start.since) if start else (0, 0)
        self._set(trial, "running")

    def _measures_at(self, trial: Trial, origin: str | None) -> dict[str, float]:
        """Return how far the checkpoint is, by unit, from which a segment starts: the trial's own, or its donor's.

        In a journal of version 0.1.0 a donor's counts as 0, as it did when that version's budgets were decided.
        """
        taken = trial.takeovers[-1:] if self.created.get("format", 1) > 1 else []
        donors = ((self.trials[takeover.donor], takeover.checkpoint) for takeover in taken)
        own = ((trial, saved) for saved in trial.files)
        return next((owner.measures(saved) for owner, saved in (*own, *donors) if saved.path == origin), {})

    def _on_segment_reported(self, event: Event) -> None:
        metrics = {name: float(value) for name, value in event["metrics"].items()}
        measures = {name: event.fields[name] for name in _MEASURES if name in event.fields}
        report = Report(event.progress, metrics, event["segment"], event.time, self.steady_time, **measures)
        trial = self.trials[event["trial"]]
        trial.reports[report.progress] = report
        trial.node = event.fields.get("node", trial.node)
        trial.found = event.fields.get("found", trial.found)
        self._count(trial, measures)
        trial.segment_progress = trial.segment_reported = report.progress
        if report.progress in trial.checkpoints:
            trial.interim = None
        loss = self.objective.loss(report.metrics.get(self.objective.metric, math.nan))
        if math.isfinite(loss) and (self.lowest_loss is None or loss < self.lowest_loss[0]):
            self.lowest_loss = loss, trial.number
        self.has_reports, self.storage_failures = True, 0
        self._failed_on.pop(trial.node, None)

    def _count(self, trial: Trial, measures: Mapping[str, Any]) -> None:
        """Add what was trained since the segment's last report, or since its own checkpoint."""
        for unit in UNITS:
            reached = value(measures, unit)
            if reached is not None:
                more = max(0, reached - trial.counted.get(unit, 0))
                self.trained[unit] = whole(round(self.trained[unit] + more, 9))
                trial.counted[unit] = reached

    def _on_segment_checkpointed(self, event: Event) -> None:
        trial = self.trials[event["trial"]]
        trial.precision = event.fields.get("precision", trial.precision)
        trial.node = event.fields.get("node", trial.node)
        if event.fields.get("interim"):
            self._replace_interim(event, trial)
            return
        checkpoint = Checkpoint(event.progress, event["path"], event["size"], event["sha256"], event["epoch"])
        trial.checkpoints[checkpoint.progress], trial.checkpointed = checkpoint, True

    def _replace_interim(self, event: Event, trial: Trial) -> None:
        """Replace the trial's interim checkpoint, and count what was trained until then."""
        measures = {name: event.fields[name] for name in _MEASURES if name in event.fields}
        trial.interim = InterimCheckpoint(
            event.progress,
            event["path"],
            event["size"],
            event["sha256"],
            event["epoch"],
            segment=event["segment"],
            reported=trial.segment_reported,
            halvings=trial.halvings,
            measures=measures,
        )
        trial.segment_progress = event.progress
        self._count(trial, measures)
        self.storage_failures = 0
        self._failed_on.pop(trial.node, None)

    def _on_checkpoints_removed(self, event: Event) -> None:
        for number, progress in event["removed"]:
            self.trials[number].checkpoints.pop(progress, None)
        for number in event.fields.get("interim", ()):
            self.trials[number].interim = None

    def _on_segment_failed(self, event: Event) -> None:
        trial = self.trials[event["trial"]]
        trial.node = event.fields.get("node", trial.node)
        kind, node = event["kind"], trial.node
        trial.failures.append(
            Failure(
                event["segment"],
                kind,
                " ".join(event["message"].split()),
                event["fingerprint"],
                trial.reached,
                node,
                event.fields.get("place") or "",
                self.active_seconds - trial.began if trial.status == "running" else 0.0,
            )
        )
        trial.halvings += kind == "memory"
        self.storage_failures += kind == "storage"
        if kind in _BLAMES_NODE and node:
            self._failed_on.setdefault(node, set()).add(trial.number)
        self._set(trial, "interrupted")

    def _on_trial_retried(self, event: Event) -> None:
        trial = self.trials[event["trial"]]
        trial.forgiven_failures, trial.halvings, trial.ended = len(trial.failures), 0, 0.0
        self._reopen()
        self._set(trial, "interrupted")

    def _on_trial_set_aside(self, event: Event) -> None:
        self.trials[event["trial"]].was_set_aside = True
        self._set(self.trials[event["trial"]], "set_aside")

    def _on_trial_promoted(self, event: Event) -> None:
        trial = self.trials[event["trial"]]
        trial.promotions.append({"rule": event["rule"], **event["why"]})
        if ("params" in event.fields) != ("donor" in event.fields):
            raise ValueError("of its fields 'donor' and 'params' one is missing")
        if "params" in event.fields:
            self._check_params(event["params"])
            donor, progress = event["donor"]
            checkpoint = self.trials[donor].checkpoints[progress]
            trial.takeovers.append(Takeover(trial.segments, event["params"], checkpoint, donor))
            trial.params = event["params"]
        self._set(trial, "interrupted")

    def _on_trial_finished(self, event: Event) -> None:
        self._end(event, "finished")

    def _on_trial_stopped(self, event: Event) -> None:
        self._end(event, "stopped")
        self.trials[event["trial"]].stopped_by = {
            "epoch": event["epoch"],
            "progress": event.progress,
            "rule": event["rule"],
            **event["why"],
        }

    def _on_trial_failed(self, event: Event) -> None:
        self._end(event, "failed")

    def _end(self, event: Event, status: Status) -> None:
        trial = self.trials[event["trial"]]
        trial.ended, trial.steady_ended = event.time, self.steady_time
        if status == "finished" or event.fields.get("rule", _BUDGET) != _BUDGET:
            trial.interim = None  # nothing lets it continue from there
        self._set(trial, status)
        last = trial.failures[-1] if status == "failed" and trial.failures else None
        if last is None:
            self.failure_streak = FailureStreak()
        elif last.fingerprint == self.failure_streak.fingerprint:
            self.failure_streak.trials += 1
        else:
            self.failure_streak = FailureStreak(last.fingerprint, last.message, 1)

    def busy_seconds(self, trial: Trial) -> float:
        """Return for how long a trial's segments have run, without the time in which it waited."""
        return trial.busy + (self.active_seconds - trial.began if trial.status == "running" else 0.0)

    def _set(self, trial: Trial, status: Status) -> None:
        trial.busy, trial.began = self.busy_seconds(trial), self.active_seconds
        self._counts[trial.status] -= 1
        self._by_status.get(trial.status, set()).discard(trial.number)
        trial.status = status
        self._counts[status] += 1
        if status in self._by_status:
            self._by_status[status].add(trial.number)
