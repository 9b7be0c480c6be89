"""Which checkpoints stay: those that a trial resumes from, and the best epochs of the best trials."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

from orchestrator.journal import Event
from orchestrator.state import ENDED, Best, Objective, SweepState, Trial, pareto_front

Held = tuple[int, int]
"""A checkpoint, by its trial and epoch."""

_CHANGES = frozenset({"segment.checkpointed", "trial.promoted", "trial.stopped", "trial.finished", "trial.failed"})


@dataclass(frozen=True)
class _TrialCheckpoints:
    """A trial's checkpoints that matter here. Cached, since a sweep may run a thousand trials at once."""

    best: Best | None
    latest: Held | None  # what the trial resumes from; after an exploit that may be another trial's
    borrowed: Held | None

    @classmethod
    def of(cls, trial: Trial, objective: Objective) -> _TrialCheckpoints:
        checkpoint, borrowed = trial.latest_checkpoint, trial.donor_checkpoint
        latest = (borrowed or (trial.number, checkpoint.epoch)) if checkpoint else None
        return cls(objective.best(trial), latest, borrowed)


class Retention:
    """Retention over the whole sweep, a function of the journal's events.

    Kept are

    - of a trial that runs or may resume: its latest and its best epoch;
    - of the ``keep_top`` best other trials, and of all on the Pareto front of several objectives: the best epoch;
    - of the ``keep_top`` newest failed trials: the latest epoch, for a retry.

    Above ``quota`` bytes the failed trials' checkpoints go first, then the worst of the best. The winner's, and those
    that trials resume from, always stay.

    Repeats of a configuration stay together: each keeps its best epoch until all of them have ended, since the
    configuration's rank is known only then and any of them may win.
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
        for number in (event.fields.get("trial"), *removed):
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
            (trial.number, epoch)
            for trial in holders
            for epoch in sorted(trial.checkpoints)
            if (trial.number, epoch) not in keep
        ]
        removed_set = set(removed)
        self._holders = {
            t.number
            for t in holders
            if self._borrowed(t)
            or (any((t.number, e) not in removed_set for e in t.checkpoints) and not self._is_settled(t, state))
        }
        return removed

    def _borrowed(self, trial: Trial) -> Held | None:
        """Return another trial's checkpoint that this trial resumes from."""
        return None if trial.status in ENDED else self._cache[trial.number].borrowed

    def _is_settled(self, trial: Trial, state: SweepState) -> bool:
        """Return whether the trial keeps its checkpoints until its configuration's next event."""
        if self._quota is not None or any((trial.number, epoch) in self._lent for epoch in trial.checkpoints):
            return False
        return trial.status == "set_aside" or (trial.status in ENDED and self._awaits_repeats(trial, state))

    def _awaits_repeats(self, trial: Trial, state: SweepState) -> bool:
        """Return whether other seeds of its configuration have yet to end."""
        return state.repeats["seeds"] > 1 and not state.configuration(trial.number).ended

    def _checkpoints_to_keep(self, holders: list[Trial], state: SweepState) -> set[Held]:
        resumable = {trial.number for trial in holders if trial.status in ("running", "interrupted", "set_aside")}
        latest = {t.number: checkpoint for t in holders if (checkpoint := self._cache[t.number].latest)}
        best = self._best(holders, state)  # a running trial that holds its best epoch counts
        needed = {latest[number] for number in resumable & latest.keys()} | {c for c in best if c[0] in resumable}
        needed |= {checkpoint for checkpoint in best if self._awaits_repeats(state.trials[checkpoint[0]], state)}
        needed |= set(best[:1]) | self._lent
        if state.racing:
            needed |= set(_best_per_configuration(best, state))
        failed = [latest[t.number] for t in holders if t.status == "failed" and t.number in latest]
        ranked = dict.fromkeys([*self._front(best, state), *best[: self._top]])
        optional = [checkpoint for checkpoint in ranked if checkpoint not in needed]
        return self._within_quota(holders, needed, optional + failed[-self._top :][::-1])

    def _within_quota(self, holders: list[Trial], needed: set[Held], optional: list[Held]) -> set[Held]:
        """Return ``needed``, and as much of ``optional`` (most valuable first) as fits."""
        if self._quota is None:
            return needed | set(optional)
        size = {(t.number, epoch): file.size for t in holders for epoch, file in t.checkpoints.items()}
        room = self._quota - sum(size.get(checkpoint, 0) for checkpoint in needed)
        keep = set(needed)
        for checkpoint in optional:
            room -= size[checkpoint]
            if room < 0:
                break
            keep.add(checkpoint)
        return keep

    def _best(self, holders: list[Trial], state: SweepState) -> list[Held]:
        """Return the best epoch of each trial that did not fail and has its checkpoint, best trial first."""
        ranked = [(best, t) for t in holders if t.status != "failed" and (best := self._cache[t.number].best)]
        ranked.sort(key=lambda pair: (*state.ranking_key(pair[1]), self._objective.loss(pair[0].value), pair[1].number))
        return [(trial.number, best.epoch) for best, trial in ranked if best.epoch in trial.checkpoints]

    def _front(self, best: list[Held], state: SweepState) -> list[Held]:
        """Return those on the Pareto front of several objectives.

        A trial without a checkpoint was dominated when it lost it, and still is.
        """
        if not self._objective.also:
            return []
        front = pareto_front(self._objective.points(state.trials[number] for number, _ in best))
        epochs = dict(best)
        return [(number, epochs[number]) for number in front]


def _best_per_configuration(best: list[Held], state: SweepState) -> list[Held]:
    """Return the best of each configuration: in a race any of them may still win."""
    first = {state.trials[checkpoint[0]].configuration: checkpoint for checkpoint in reversed(best)}
    return list(first.values())
