"""Which checkpoints stay: those that a command may still ask for, such as retry, extend, promote, confirm or export."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

from orchestrator.journal import Event
from orchestrator.policies.extend_limits import ended_by_budget, ended_by_epochs
from orchestrator.state import ENDED, Best, Objective, SweepState, Trial, pareto_front

Held = tuple[int, float | None]
"""A checkpoint, by its trial and progress; without progress, the trial's newest between two reports."""

_CHANGES = frozenset({"segment.checkpointed", "trial.promoted", "trial.stopped", "trial.finished", "trial.failed"})


@dataclass(frozen=True)
class _TrialCheckpoints:
    """A trial's checkpoints that matter here. Cached, since a sweep may run a thousand trials at once."""

    best: Best | None
    latest: Held | None  # of a report, which the trial can resume from; after an exploit that may be another trial's
    borrowed: Held | None
    interim: Held | None

    @classmethod
    def of(cls, trial: Trial, objective: Objective) -> _TrialCheckpoints:
        origins = [checkpoint for checkpoint in trial.restart_checkpoints if checkpoint is not trial.interim]
        borrowed = trial.donor_checkpoint
        latest = (borrowed or (trial.number, origins[0].progress)) if origins else None
        return cls(objective.best(trial), latest, borrowed, (trial.number, None) if trial.interim else None)

    @property
    def to_continue(self) -> list[Held]:
        """What the trial can resume from: the second if the first cannot be read."""
        return [checkpoint for checkpoint in (self.interim, self.latest) if checkpoint]


class Retention:
    """Retention over the whole sweep, a function of the journal's events: what a command may still ask for is kept.

    Kept are the best and the latest checkpoint of a report, and the newest beyond that report,

    - of a trial that runs, waits or was set aside: it resumes, may be promoted, and may win;
    - of a failed trial: ``retry`` resumes it, and it may win then;
    - of a trial that a budget stopped while it ran: ``extend`` lets it continue;
    - of the ``keep_top`` best trials that ended otherwise: ``export``, and ``extend`` by epochs.

    A trial that was stopped by the scheduler keeps its best alone, as nothing lets it continue. All on the Pareto front
    of several objectives count among the best.

    Above ``quota`` bytes the failed trials' checkpoints go first, then the worst of the best. These always stay: the
    best of the trials that ended (others may still fail), the best of those that would win if they were retried, and
    what trials resume from.

    Repeats of a configuration stay together: each keeps its best epoch until all of them have ended with a value or
    without one for good, since the configuration's rank is known only then and any of them may win.
    """

    def __init__(self, objective: Objective, keep_top: int, quota: int | None) -> None:
        self._objective, self._top, self._quota = objective, keep_top, quota
        self._holders: set[int] = set()
        self._lent: Set[Held] = frozenset()
        self._cache: dict[int, _TrialCheckpoints] = {}

    def observe(self, event: Event) -> None:
        """Note which trial's checkpoints an event changes."""
        if event.type in _CHANGES:
            self._holders.add(event["trial"])
        removed = [number for number, _ in event.fields.get("removed", ())]
        for number in (event.fields.get("trial"), *removed, *_interims(event)):
            self._cache.pop(number, None)

    def deletable(self, state: SweepState, lent: Set[Held] = frozenset()) -> list[Held]:
        """Return the checkpoints that can be deleted now. ``lent`` are those that other trials may resume from.

        Takes O(1) time in the number of trials: only those that hold a checkpoint are examined.
        """
        numbers = {repeat for number in self._holders for repeat in state.trials_of_configuration(number)}
        holders = [state.trials[number] for number in sorted(numbers)]
        self._cache = {
            trial.number: self._cache.get(trial.number) or _TrialCheckpoints.of(trial, self._objective)
            for trial in holders
        }
        self._lent = lent | {checkpoint for trial in holders if (checkpoint := self._borrowed(trial))}
        keep = self._checkpoints_to_keep(holders, state)
        removed = [
            (trial.number, progress)
            for trial in holders
            for progress in _held(trial)
            if (trial.number, progress) not in keep
        ]
        removed_set = set(removed)
        self._holders = {
            t.number
            for t in holders
            if self._borrowed(t)
            or (any((t.number, e) not in removed_set for e in _held(t)) and not self._is_settled(t, state))
        }
        return removed

    def _borrowed(self, trial: Trial) -> Held | None:
        """Return another trial's checkpoint that this trial resumes from, or would resume from if it were retried."""
        return None if trial.status in ENDED and trial.status != "failed" else self._cache[trial.number].borrowed

    def _is_settled(self, trial: Trial, state: SweepState) -> bool:
        """Return whether the trial keeps its checkpoints until its configuration's next event."""
        if self._quota is not None or any((trial.number, progress) in self._lent for progress in trial.checkpoints):
            return False
        waits = trial.status in ("set_aside", "failed") or ended_by_budget(trial)
        return waits or (trial.status in ENDED and self._awaits_repeats(trial, state))

    def _awaits_repeats(self, trial: Trial, state: SweepState) -> bool:
        """Return whether another seed of its configuration may still get a value: it runs, or can be run again."""
        if state.repeats["seeds"] == 1:
            return False
        repeats = (state.trials[number] for number in state.trials_of_configuration(trial.number))
        may_continue = (repeat.status == "failed" or ended_by_budget(repeat) for repeat in repeats)
        return not state.configuration(trial.number).ended or any(may_continue)

    def _checkpoints_to_keep(self, holders: list[Trial], state: SweepState) -> set[Held]:
        continuing = {t.number for t in holders if t.status not in ENDED or ended_by_budget(t)}
        latest = {t.number: self._cache[t.number].to_continue for t in holders}
        ranked = self._best(holders, state)
        best: dict[int, list[Held]] = {number: [(number, progress)] for number, progress in ranked}
        failed = [t.number for t in reversed(holders) if t.status == "failed"]
        ended = [c for c in ranked if state.trials[c[0]].status in ENDED and c[0] not in failed]
        needed = {held for number in continuing for held in latest[number] + best.get(number, [])} | self._lent
        needed |= set(ended[:1]) | {c for c in ended if self._awaits_repeats(state.trials[c[0]], state)}
        ahead = ranked[: ranked.index(ended[0]) if ended else None]  # these would win if they were retried
        needed |= set([c for c in ahead if c[0] in failed][: 1 if self._quota is not None else None])
        if state.racing:
            needed |= set(_best_per_configuration(ended, state))
        top = list(dict.fromkeys([*self._front(ended, state), *ended[: self._top]]))
        longer = [number for number, _ in top if ended_by_epochs(state, state.trials[number])]
        extended = [held for number in longer for held in latest[number]]
        retried = [held for number in failed for held in latest[number] + best.get(number, [])]
        optional = dict.fromkeys([*top, *extended, *retried])
        return self._within_quota(holders, needed, [checkpoint for checkpoint in optional if checkpoint not in needed])

    def _within_quota(self, holders: list[Trial], needed: set[Held], optional: list[Held]) -> set[Held]:
        """Return ``needed``, and as much of ``optional`` (most valuable first) as fits."""
        if self._quota is None:
            return needed | set(optional)
        size: dict[Held, int] = {(t.number, at): file.size for t in holders for at, file in t.checkpoints.items()}
        size |= {(t.number, None): t.interim.size for t in holders if t.interim}
        room = self._quota - sum(size.get(checkpoint, 0) for checkpoint in needed)
        keep = set(needed)
        for checkpoint in optional:
            room -= size.get(checkpoint, 0)
            if room < 0:
                break
            keep.add(checkpoint)
        return keep

    def _best(self, holders: list[Trial], state: SweepState) -> list[Held]:
        """Return the best epoch of each trial that has its checkpoint, best trial first, failed ones included."""
        ranked = [(best, t) for t in holders if (best := self._cache[t.number].best)]
        ranked.sort(key=lambda pair: (*state.ranking_key(pair[1]), self._objective.loss(pair[0].value), pair[1].number))
        return [(trial.number, best.progress) for best, trial in ranked if best.progress in trial.checkpoints]

    def _front(self, best: list[Held], state: SweepState) -> list[Held]:
        """Return those on the Pareto front of several objectives.

        A trial without a checkpoint was dominated when it lost it, and still is.
        """
        if not self._objective.also:
            return []
        front = pareto_front(self._objective.points(state.trials[number] for number, _ in best))
        epochs = dict(best)
        return [(number, epochs[number]) for number in front]


def _interims(event: Event) -> list[int]:
    """Return the trials whose checkpoint between two reports an event removes."""
    return list(event["interim"]) if event.type == "checkpoints.removed" and "interim" in event.fields else []


def _held(trial: Trial) -> list[float | None]:
    """Return the progress of each of a trial's checkpoints; None stands for the one between two reports."""
    return [*sorted(trial.checkpoints), *([None] if trial.interim else [])]


def _best_per_configuration(best: list[Held], state: SweepState) -> list[Held]:
    """Return the best of each configuration: in a race any of them may still win."""
    first = {state.trials[checkpoint[0]].configuration: checkpoint for checkpoint in reversed(best)}
    return list(first.values())
