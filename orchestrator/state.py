"""What the journal says, folded: trials, reports, checkpoints, failures, the ranking. Pure: no clock, no file."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from statistics import mean, variance
from typing import Any, Literal

from orchestrator.journal import Event

Status = Literal["running", "interrupted", "set_aside", "finished", "stopped", "failed"]
ENDED = frozenset({"finished", "stopped", "failed"})

# What may stand between a report and the verdict on it, where a process died or the disk was full in between.
PASSIVE = frozenset(
    {"sweep.launched", "sweep.paused", "sweep.extended", "trial.retried", "checkpoints.removed", "storage.waited"}
    | {"finals.begun", "winner.confirmed", "test.begun", "winner.tested"}
)
_BLAMES_NODE = frozenset({"lost", "node", "stalled"})


@dataclass(frozen=True, slots=True)
class Report:
    """One epoch's metrics. ``epoch`` counts finished epochs, from 1; ``time`` is Unix seconds, for people."""

    epoch: int
    metrics: dict[str, float]
    segment: int
    time: float


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A published checkpoint: ``path`` relative to the run directory, ``size`` in bytes."""

    epoch: int
    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a segment ended badly. ``epoch`` counts the trial's finished epochs until then."""

    segment: int
    kind: str
    message: str
    fingerprint: str
    epoch: int
    node: str


@dataclass(frozen=True, slots=True)
class Takeover:
    """From ``segment`` on a trial goes on from another's checkpoint, with ``params``."""

    segment: int
    params: dict[str, Any]
    checkpoint: Checkpoint
    donor: int


@dataclass(frozen=True)
class Best:
    """A trial's best finite epoch."""

    epoch: int
    value: float


@dataclass(slots=True)
class Trial:
    """One configuration under one seed. ``params`` are what it has now, ``suggested`` what it had first.

    ``configuration`` is the number of the first trial that had these parameters: its own, unless it repeats another.
    ``reached`` counts the epochs that its present segment has behind it, those before its checkpoint included.
    ``on`` is the kind of device that it runs on, where its sweep has several.
    ``waited`` says that it was set aside and has not gone on since.
    """

    number: int
    params: dict[str, Any]
    by: str
    configuration: int
    status: Status = "running"
    segments: int = 0
    node: str = ""
    on: str = ""
    started: float = 0.0
    ended: float = 0.0
    reports: dict[int, Report] = field(default_factory=dict)
    checkpoints: dict[int, Checkpoint] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    stopped_by: dict[str, Any] = field(default_factory=dict)
    promotions: list[dict[str, Any]] = field(default_factory=list)
    takeovers: list[Takeover] = field(default_factory=list)
    suggested: dict[str, Any] = field(init=False)
    halvings: int = 0
    forgiven: int = 0
    reached: int = 0
    waited: bool = False

    def __post_init__(self) -> None:
        self.suggested = self.params

    def params_at(self, epoch: int) -> dict[str, Any]:
        """What the parameters were when that epoch was reported."""
        segment = self.reports[epoch].segment
        return next((t.params for t in reversed(self.takeovers) if t.segment <= segment), self.suggested)

    @property
    def epoch(self) -> int:
        """Finished epochs that were reported."""
        return max(self.reports, default=0)

    def value(self, epoch: int, metric: str) -> float:
        """The metric at that epoch; NaN where the epoch did not report it."""
        report = self.reports.get(epoch)
        return report.metrics.get(metric, math.nan) if report else math.nan

    @property
    def origins(self) -> list[Checkpoint]:
        """What a next segment may start from: its own checkpoints, latest first, the donor's before those it replaced.

        An epoch whose report never came is done again: going on behind it would leave a hole in the reports.
        """
        own = [self.checkpoints[epoch] for epoch in sorted(self.checkpoints, reverse=True) if epoch in self.reports]
        if not self.takeovers:
            return own
        newer = [held for held in own if self.has_its_params(held)]
        return [*newer, self.takeovers[-1].checkpoint, *(held for held in own if held not in newer)]

    def has_its_params(self, checkpoint: Checkpoint) -> bool:
        """Whether one of its own checkpoints was trained with the parameters that it has now."""
        return not self.takeovers or (
            checkpoint is self.checkpoints.get(checkpoint.epoch)
            and self.reports[checkpoint.epoch].segment >= self.takeovers[-1].segment
        )

    @property
    def borrowed(self) -> tuple[int, int] | None:
        """Trial and epoch of the checkpoint of another that it would go on from; None where it has one of its own."""
        if not self.takeovers or any(map(self.has_its_params, self.origins)):
            return None
        return self.takeovers[-1].donor, self.takeovers[-1].checkpoint.epoch

    @property
    def latest_checkpoint(self) -> Checkpoint | None:
        """Where a next segment starts from."""
        return next(iter(self.origins), None)

    def failed_to_load(self, newest: Checkpoint) -> int:
        """How often a checkpoint failed to load since the newest was saved; a donor's counts from the takeover."""
        own = newest is self.checkpoints.get(newest.epoch)
        since = self.reports[newest.epoch].segment + 1 if own else self.takeovers[-1].segment
        recent = self.failures[self.forgiven :]
        return sum(failure.kind == "checkpoint" and failure.segment >= since for failure in recent)

    def failures_in_a_row(self, kind: str) -> int:
        """How often it failed in that way since it last finished an epoch or was given another chance."""
        recent = self.failures[self.forgiven :]
        return sum(failure.kind == kind and failure.epoch == self.epoch for failure in recent)


@dataclass(frozen=True)
class Constraint:
    """A bound on a metric."""

    metric: str
    max: float | None = None
    min: float | None = None

    def holds(self, metrics: Mapping[str, Any]) -> bool:
        """Whether these metrics keep to it; one that is missing or no number does not."""
        value = float(metrics.get(self.metric, math.nan))
        return (self.max is None or value <= self.max) and (self.min is None or value >= self.min)

    def __str__(self) -> str:
        bounds = [f"{sign} {bound:g}" for sign, bound in (("<=", self.max), (">=", self.min)) if bound is not None]
        return f"{self.metric} {' and '.join(bounds)}"


@dataclass(frozen=True)
class Goal:
    """A metric, and which way is better."""

    metric: str
    mode: Literal["min", "max"]

    def loss(self, value: float) -> float:
        """The value with its sign turned so that lower is better."""
        return -value if self.mode == "max" else value


@dataclass(frozen=True)
class Objective(Goal):
    """The metric that trials are judged by, what an epoch must keep to, to count, and further objectives."""

    constraints: tuple[Constraint, ...] = ()
    also: tuple[Goal, ...] = ()

    @classmethod
    def of(cls, spec: Mapping[str, Any]) -> Objective:
        """That of a spec as the journal holds it."""
        first, also = spec["objective"], spec["objective"].get("also", ())
        constraints = tuple(Constraint(**bound) for bound in spec.get("constraints", ()))
        return cls(first["metric"], first["mode"], constraints, tuple(Goal(**goal) for goal in also))

    @property
    def metrics(self) -> list[str]:
        """All metrics that it needs, its own first."""
        others = [*(goal.metric for goal in self.also), *(constraint.metric for constraint in self.constraints)]
        return list(dict.fromkeys([self.metric, *others]))

    def losses(self, metrics: Mapping[str, Any]) -> tuple[float, ...]:
        """An epoch's losses, lower is better, one for each objective; NaN as in `value`."""
        others = (goal.loss(float(metrics.get(goal.metric, math.nan))) for goal in self.also)
        return self.loss(self.value(metrics)), *others

    def value(self, metrics: Mapping[str, Any]) -> float:
        """The objective among an epoch's metrics; NaN where it is missing or a constraint is broken."""
        if self.constraints and not all(constraint.holds(metrics) for constraint in self.constraints):
            return math.nan
        return float(metrics.get(self.metric, math.nan))

    def best(self, trial: Trial, upto: int | None = None) -> Best | None:
        """The best finite epoch that keeps to the constraints, the earliest of equals; None where there is none.

        With ``upto``, of those up to that one.
        """
        found, lowest, metric, bound = 0, math.inf, self.metric, bool(self.constraints)
        for epoch, report in trial.reports.items():
            value = self.value(report.metrics) if bound else report.metrics.get(metric, math.nan)
            loss = self.loss(value)
            better = loss < lowest or (loss == lowest and epoch < found)
            if better and loss > -math.inf and (upto is None or epoch <= upto):
                found, lowest = epoch, loss
        return Best(found, trial.reports[found].metrics[metric]) if found else None

    def points(self, trials: Iterable[Trial]) -> dict[int, tuple[float, ...]]:
        """Of each trial that did not fail and has all of them, the losses at its best epoch, one for each objective."""
        found = {}
        for trial in trials:
            best = self.best(trial) if trial.status != "failed" else None
            losses = self.losses(trial.reports[best.epoch].metrics) if best else (math.nan,)
            if all(map(math.isfinite, losses)):
                found[trial.number] = losses
        return found


@dataclass(frozen=True)
class Configuration:
    """The trials of one configuration, each under its own seed, together.

    ``values`` are the best finite values of those that have one and did not fail. One that was stopped early counts
    with what it had reached. ``ended`` says whether all that were to run have.
    """

    first: int
    trials: Sequence[int]
    values: Sequence[float]
    ended: bool

    @property
    def whole(self) -> bool:
        """Whether all its trials have come to a value."""
        return self.ended and len(self.values) == len(self.trials)

    @property
    def mean(self) -> float | None:
        """Of the values; None where there are none."""
        return mean(self.values) if self.values else None

    @property
    def std(self) -> float | None:
        """The standard deviation of the values (n - 1); None for fewer than two, or where it is no finite number."""
        found = math.sqrt(self._variance)
        return found if len(self.values) > 1 and found < math.inf else None

    def loss(self, objective: Objective, rank_by: str) -> float:
        """What it is ranked by, lower is better: the mean, for ``lower_bound`` a standard error worse.

        That is rounded to twelve digits: of two seeds it is the worse one's value, and equal ones are to tie.
        """
        if self.mean is None:
            return math.inf
        if rank_by == "mean":
            return objective.loss(self.mean)
        return float(f"{objective.loss(self.mean) + math.sqrt(self._variance / len(self.values)):.12g}")

    @property
    def _variance(self) -> float:
        try:
            return variance(self.values) if len(self.values) > 1 else 0.0
        except OverflowError:
            return math.inf


def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether no loss of the one is above the other's, and some is below."""
    return tuple(one) != tuple(other) and all(a <= b for a, b in zip(one, other, strict=True))


def pareto_front(points: Mapping[int, tuple[float, ...]]) -> list[int]:
    """The trials that no other dominates, in the order of their losses. Of equal ones all are there."""
    found: list[tuple[tuple[float, ...], int]] = []
    for losses, number in sorted((losses, number) for number, losses in points.items()):
        if not any(dominates(other, losses) for other, _ in found):  # which is ahead in order if at all
            found.append((losses, number))
    return [number for _, number in found]


@dataclass
class Alike:
    """Trials that ended one after another by the same failure, with none that ended otherwise in between."""

    fingerprint: str = ""
    message: str = ""
    trials: int = 0


def merged(spec: Mapping[str, Any], changed: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The spec with the fields of some parts changed."""
    return {**spec, **{part: {**(spec.get(part) or {}), **fields} for part, fields in changed.items()}}


class SweepState:
    """The fold of a journal. ``apply`` takes the events in order; everything else reads.

    One event costs the same however many trials there are. ``spec`` is the one in force, extensions included.
    ``epochs`` counts those that were trained, a second time too; ``active_seconds`` is the time that a process was at
    work, ``trial_seconds`` the sum over the trials that ran in it; ``lowest`` the least finite loss and its trial.
    ``finals`` counts those that were begun; ``finals_open`` says whether the search has not gone on since.
    ``confirmation`` is what the last came to, None before; ``looks`` are the looks at the test set, in order;
    ``machine`` is what the last launch said of engine, threads and hardware.
    """

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.spec: dict[str, Any] = {}
        self.objective = Objective("", "min")
        self.created: dict[str, Any] = {}
        self.trials: dict[int, Trial] = {}
        self.status: str = "created"
        self.reason: str = ""
        self.seq = -1
        self.started = 0.0
        self.updated = 0.0
        self.active_seconds = self.trial_seconds = 0.0
        self.epochs = 0
        self.lowest: tuple[float, int] | None = None
        self.warmed = 0
        self.slots = 0
        self.alike = Alike()
        self.storage_failures = 0
        self.confirmation: dict[str, Any] | None = None
        self.looks: list[dict[str, Any]] = []
        self.finals = 0
        self.finals_open = False
        self.machine: dict[str, Any] = {}
        self.owed: tuple[int, int] | None = None
        self._of: dict[str, set[int]] = {"running": set(), "interrupted": set(), "set_aside": set()}
        self._counts: Counter[str] = Counter()
        self._failed_on: dict[str, set[int]] = {}
        self._repeats: dict[int, list[int]] = {}  # of each configuration that is tried more than once, its trials
        self._reported = False
        self._at_work: int | None = None  # the lease of the process that has launched the sweep
        for event in events:
            self.apply(event)

    @property
    def waiting(self) -> Set[int]:
        """Trials that were interrupted, or promoted, and are to go on."""
        return self._of["interrupted"]

    @property
    def set_aside(self) -> Set[int]:
        """Trials that wait for a promotion."""
        return self._of["set_aside"]

    @property
    def running(self) -> Set[int]:
        return self._of["running"]

    @property
    def got_somewhere(self) -> bool:
        """Whether any trial has ever finished an epoch."""
        return self._reported

    def suspect(self, node: str, trials: int) -> bool:
        """Whether so many distinct trials were lost on that node, one after another, with no epoch finished there."""
        return len(self._failed_on.get(node, ())) >= trials

    def apply(self, event: Event) -> None:
        """Fold one event in. Unknown types are passed over: a newer writer may say more."""
        self._pass_time(event)
        self.seq = event.seq
        handler = getattr(self, "_on_" + event.type.replace(".", "_"), None)
        if handler:
            handler(event)
        if event.type not in PASSIVE:
            self.owed = (event["trial"], event["epoch"]) if event.type == "segment.reported" else None

    def _pass_time(self, event: Event) -> None:
        """Time counts between two events of one process at work: nobody knows how long a dead one had lived."""
        if event.lease == self._at_work:
            passed = max(0.0, event.time - self.updated)
            self.active_seconds += passed
            self.trial_seconds += passed * len(self.running)
        self.updated = event.time

    @property
    def repeats(self) -> dict[str, Any]:
        """Under how many ``seeds`` each configuration is tried, and what they are ranked by, as in the spec."""
        return self.spec.get("repeats") or {"seeds": 1, "rank_by": "mean"}

    @property
    def repeated(self) -> bool:
        """Whether configurations are tried under several seeds: so many each, or in a race as many as it takes."""
        return self.repeats["seeds"] > 1 or self.racing

    @property
    def racing(self) -> bool:
        return bool((self.spec.get("searcher") or {}).get("name") == "race")

    def ranking(self) -> list[Trial]:
        """Trials, best first, by best finite epoch and then number; those with none, then failed ones, last.

        Where configurations are repeated, by configuration first: see `configurations`.
        """
        objective = self.objective
        place = {found.first: place for place, found in enumerate(self.configurations())}

        def key(trial: Trial) -> tuple[Any, ...]:
            best = objective.best(trial)
            if trial.status == "failed":
                return (2, trial.number)
            if best is None:
                return (1, trial.number)
            return (0, place.get(trial.configuration, 0), objective.loss(best.value), trial.number)

        return sorted(self.trials.values(), key=key)

    def configurations(self) -> list[Configuration]:
        """Best first, by mean or lower bound and then number, those that are whole before the others.

        Empty where each configuration is one trial.
        """
        if not self.repeated:
            return []
        firsts = [trial for number, trial in self.trials.items() if trial.configuration == number]
        return [self.configuration(trial.number) for trial in sorted(firsts, key=self.place)]

    def place(self, trial: Trial) -> tuple[bool, float, int]:
        """What its configuration is ordered by, best first; the same for all where each is one trial."""
        if not self.repeated:
            return False, 0.0, 0
        found = self.configuration(trial.number)
        return not found.whole, found.loss(self.objective, self.repeats["rank_by"]), found.first

    def configuration(self, number: int) -> Configuration:
        """What has become of trial ``number`` and of those with its parameters."""
        numbers = self.seeds_of(number)
        trials = [self.trials[number] for number in numbers]
        best = [self.objective.best(trial) for trial in trials if trial.status != "failed"]
        ended = self.racing or len(trials) == self.repeats["seeds"]
        ended = ended and all(trial.status in ENDED for trial in trials)
        return Configuration(numbers[0], numbers, [found.value for found in best if found], ended)

    def seeds_of(self, number: int) -> Sequence[int]:
        """The trials that have trial ``number``'s parameters, itself among them, in order."""
        first = self.trials[number].configuration
        return self._repeats.get(first, [first])

    def winner(self) -> Trial | None:
        """The best trial that did not fail and has a finite value; None where there is none."""
        first = next(iter(self.ranking()), None)
        return first if first and first.status != "failed" and self.objective.best(first) else None

    def points(self) -> dict[int, tuple[float, ...]]:
        """Where trials stand, lower is better: see `Objective.points`."""
        return self.objective.points(self.trials.values())

    def front(self) -> list[int]:
        """The trials on the Pareto front, in the order of the first objective: see `pareto_front`."""
        return pareto_front(self.points())

    def cut_off(self) -> None:
        """The process that wrote the journal is gone and wrote no pause: what it ran is interrupted."""
        self.status = "interrupted"
        self._interrupt()

    def count(self, *statuses: str) -> int:
        return sum(self._counts[status] for status in statuses)

    def put_in_force(self, spec: dict[str, Any]) -> None:
        """From here on ``spec`` holds, and its objective with it."""
        self.spec, self.objective = spec, Objective.of(spec)

    def _on_sweep_created(self, event: Event) -> None:
        self.created = dict(event.fields)
        self.put_in_force(event["spec"])
        self.started = event.time

    def _on_sweep_launched(self, event: Event) -> None:
        self.status, self.reason = "running", ""
        self.slots = event["slots"]
        self.machine = {key: event.fields.get(key) for key in ("engine", "threads", "hardware")}
        self.alike, self.storage_failures = Alike(), 0
        # A process that died wrote no pause: whatever it ran is interrupted now.
        self._interrupt()
        self._at_work = event.lease

    def _on_sweep_paused(self, event: Event) -> None:
        self.status, self.reason = "paused", event["reason"]
        self._interrupt()
        self._at_work = None

    def _on_sweep_completed(self, event: Event) -> None:
        self.status, self.reason = "completed", event["reason"]
        self._at_work = None

    def _on_sweep_warmed(self, event: Event) -> None:
        self.warmed = len(event["trials"])

    def _on_sweep_extended(self, event: Event) -> None:
        self.status, self.reason = "paused", "extended"
        self.put_in_force(merged(self.spec, event["changed"]))
        self._reopen()
        for number in event["trials"]:
            trial = self.trials[number]
            trial.ended, trial.stopped_by = 0.0, {}
            self._set(trial, "interrupted")

    def _on_winner_confirmed(self, event: Event) -> None:
        self.confirmation = dict(event.fields)

    def _on_finals_begun(self, event: Event) -> None:
        self.finals, self.finals_open = event["number"], True

    def _reopen(self) -> None:
        """The search goes on: what was confirmed was the winner of what there was."""
        self.finals_open, self.confirmation = False, None

    def _on_test_begun(self, event: Event) -> None:
        self.looks.append({"look": event["look"], **event["of"], "time": event.time, "metrics": None})

    def _on_winner_tested(self, event: Event) -> None:
        metrics = {name: float(value) for name, value in event["metrics"].items()}
        self.looks[event["look"] - 1]["metrics"] = metrics

    def _interrupt(self) -> None:
        for number in list(self.running):
            self._set(self.trials[number], "interrupted")

    def _on_trial_suggested(self, event: Event) -> None:
        first = event.fields.get("repeats", event["trial"])
        trial = Trial(event["trial"], event["params"], event["by"], first, started=event.time)
        if first != trial.number:
            self._repeats.setdefault(first, [first]).append(trial.number)
        self.trials[trial.number] = trial
        self._counts["running"] += 1
        self._of["running"].add(trial.number)

    def _on_segment_started(self, event: Event) -> None:
        trial = self.trials[event["trial"]]
        trial.segments, trial.node, trial.waited = event["segment"] + 1, event["node"], False
        trial.on = event.fields.get("on", trial.on)
        origin = event["origin"]
        trial.reached = next((held.epoch for held in trial.checkpoints.values() if held.path == origin), 0)
        self._set(trial, "running")

    def _on_segment_reported(self, event: Event) -> None:
        metrics = {name: float(value) for name, value in event["metrics"].items()}
        report = Report(event["epoch"], metrics, event["segment"], event.time)
        trial = self.trials[event["trial"]]
        trial.reports[report.epoch] = report
        trial.node = event.fields.get("node", trial.node)
        self.epochs += max(0, report.epoch - trial.reached)
        trial.reached = report.epoch
        loss = self.objective.loss(report.metrics.get(self.objective.metric, math.nan))
        if math.isfinite(loss) and (self.lowest is None or loss < self.lowest[0]):
            self.lowest = loss, trial.number
        self._reported, self.storage_failures = True, 0
        self._failed_on.pop(trial.node, None)

    def _on_segment_checkpointed(self, event: Event) -> None:
        checkpoint = Checkpoint(event["epoch"], event["path"], event["size"], event["sha256"])
        self.trials[event["trial"]].checkpoints[checkpoint.epoch] = checkpoint

    def _on_checkpoints_removed(self, event: Event) -> None:
        for number, epoch in event["removed"]:
            self.trials[number].checkpoints.pop(epoch, None)

    def _on_segment_failed(self, event: Event) -> None:
        trial = self.trials[event["trial"]]
        kind, node = event["kind"], trial.node
        trial.failures.append(
            Failure(event["segment"], kind, event["message"], event["fingerprint"], trial.epoch, node)
        )
        trial.halvings += kind == "memory"
        self.storage_failures += kind == "storage"
        if kind in _BLAMES_NODE:
            self._failed_on.setdefault(node, set()).add(trial.number)
        self._set(trial, "interrupted")

    def _on_trial_retried(self, event: Event) -> None:
        trial = self.trials[event["trial"]]
        trial.forgiven, trial.halvings, trial.ended = len(trial.failures), 0, 0.0
        self._reopen()
        self._set(trial, "interrupted")

    def _on_trial_set_aside(self, event: Event) -> None:
        self.trials[event["trial"]].waited = True
        self._set(self.trials[event["trial"]], "set_aside")

    def _on_trial_promoted(self, event: Event) -> None:
        trial = self.trials[event["trial"]]
        trial.promotions.append({"rule": event["rule"], **event["why"]})
        if "params" in event.fields:
            donor, epoch = event["donor"]
            taken = Takeover(trial.segments, event["params"], self.trials[donor].checkpoints[epoch], donor)
            trial.takeovers.append(taken)
            trial.params = taken.params
        self._set(trial, "interrupted")

    def _on_trial_finished(self, event: Event) -> None:
        self._end(event, "finished")

    def _on_trial_stopped(self, event: Event) -> None:
        self._end(event, "stopped")
        self.trials[event["trial"]].stopped_by = {"epoch": event["epoch"], "rule": event["rule"], **event["why"]}

    def _on_trial_failed(self, event: Event) -> None:
        self._end(event, "failed")

    def _end(self, event: Event, status: Status) -> None:
        trial = self.trials[event["trial"]]
        trial.ended = event.time
        self._set(trial, status)
        last = trial.failures[-1] if status == "failed" and trial.failures else None
        if last is None:
            self.alike = Alike()
        elif last.fingerprint == self.alike.fingerprint:
            self.alike.trials += 1
        else:
            self.alike = Alike(last.fingerprint, last.message, 1)

    def _set(self, trial: Trial, status: Status) -> None:
        self._counts[trial.status] -= 1
        self._of.get(trial.status, set()).discard(trial.number)
        trial.status = status
        self._counts[status] += 1
        if status in self._of:
            self._of[status].add(trial.number)
