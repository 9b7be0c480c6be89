"""Which checkpoints stay: what a trial goes on from, and the best epochs of the best trials."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

from orchestrator.journal import Event
from orchestrator.state import ENDED, Best, Objective, SweepState, Trial, pareto_front

Held = tuple[int, int]  # a checkpoint by its trial and epoch


_CHANGES = frozenset({"segment.checkpointed", "trial.promoted", "trial.stopped", "trial.finished", "trial.failed"})


@dataclass(frozen=True)
class _Held:
    """What of a trial counts here. Found anew where it has changed: with a thousand at work one has."""

    best: Best | None
    latest: Held | None
    borrowed: Held | None

    @classmethod
    def of(cls, trial: Trial, objective: Objective) -> _Held:
        held, borrowed = trial.latest_checkpoint, trial.donor_checkpoint
        # What it goes on from; after a takeover that may be another's.
        latest = (borrowed or (trial.number, held.epoch)) if held else None
        return cls(objective.best(trial), latest, borrowed)


class Retention:
    """Retention for the whole sweep. A function of the journal's events.

    Kept are, of a trial that runs or may go on, its latest and its best epoch; of the ``keep_top`` best others their
    best epoch, and so of all on the Pareto front of several objectives; of the ``keep_top`` newest failed ones their
    latest, to be tried again from. Above ``quota`` bytes the failed ones go first, then the worst of the best; the
    winner's, and what trials go on from, never go.

    Repeats of a configuration are kept as one: each keeps its best epoch until all of them have ended, since only then
    is it known how good the configuration is, and any of them may be the winner.
    """

    def __init__(self, objective: Objective, keep_top: int, quota: int | None) -> None:
        self._objective, self._top, self._quota = objective, keep_top, quota
        self._holders: set[int] = set()
        self._lent: Set[Held] = frozenset()
        self._known: dict[int, _Held] = {}

    def observe(self, event: Event) -> None:
        if event.type in _CHANGES:
            self._holders.add(event["trial"])
        removed = [number for number, _ in event.fields.get("removed", ())]
        for number in (event.fields.get("trial"), *removed):
            self._known.pop(number, None)

    def superfluous(self, state: SweepState, lent: Set[Held] = frozenset()) -> list[Held]:
        """What can go now, in no time that grows with the number of trials: only those that hold any are looked at.

        ``lent`` is what other trials may yet go on from.
        """
        numbers = {other for number in self._holders for other in state.trials_of_configuration(number)}
        holders = [state.trials[number] for number in sorted(numbers)]
        self._known = {
            trial.number: self._known.get(trial.number) or _Held.of(trial, self._objective) for trial in holders
        }
        self._lent = lent | {held for trial in holders if (held := self._borrows(trial))}
        kept = self._kept(holders, state)
        found = [
            (trial.number, epoch)
            for trial in holders
            for epoch in sorted(trial.checkpoints)
            if (trial.number, epoch) not in kept
        ]
        gone = set(found)
        self._holders = {
            t.number
            for t in holders
            if self._borrows(t) or (any((t.number, e) not in gone for e in t.checkpoints) and not self._rests(t, state))
        }
        return found

    def _borrows(self, trial: Trial) -> Held | None:
        """Another trial's checkpoint that this one goes on from."""
        return None if trial.status in ENDED else self._known[trial.number].borrowed

    def _rests(self, trial: Trial, state: SweepState) -> bool:
        """Whether what it holds now it holds until its configuration's next event: until then nobody need look."""
        if self._quota is not None or any((trial.number, epoch) in self._lent for epoch in trial.checkpoints):
            return False
        return trial.status == "set_aside" or (trial.status in ENDED and self._awaits_others(trial, state))

    def _awaits_others(self, trial: Trial, state: SweepState) -> bool:
        """Whether other seeds of its configuration have yet to end."""
        return state.repeats["seeds"] > 1 and not state.configuration(trial.number).ended

    def _kept(self, holders: list[Trial], state: SweepState) -> set[Held]:
        live = {trial.number for trial in holders if trial.status in ("running", "interrupted", "set_aside")}
        latest = {t.number: held for t in holders if (held := self._known[t.number].latest)}
        # Best first; a trial that runs and holds its best epoch counts among the best.
        best = self._best(holders, state)
        needed = {latest[number] for number in live & latest.keys()} | {held for held in best if held[0] in live}
        needed |= {held for held in best if self._awaits_others(state.trials[held[0]], state)}
        needed |= set(best[:1]) | self._lent
        if state.racing:
            needed |= set(_of_each(best, state))
        failed = [latest[t.number] for t in holders if t.status == "failed" and t.number in latest]
        wanted = dict.fromkeys([*self._front(best, state), *best[: self._top]])
        spare = [held for held in wanted if held not in needed]
        return self._within_quota(holders, needed, spare + failed[-self._top :][::-1])

    def _within_quota(self, holders: list[Trial], needed: set[Held], spare: list[Held]) -> set[Held]:
        """What is needed, and of ``spare`` (most wanted first) as much as fits."""
        if self._quota is None:
            return needed | set(spare)
        size = {(t.number, epoch): file.size for t in holders for epoch, file in t.checkpoints.items()}
        left = self._quota - sum(size.get(held, 0) for held in needed)
        kept = set(needed)
        for held in spare:
            left -= size[held]
            if left < 0:
                break
            kept.add(held)
        return kept

    def _best(self, holders: list[Trial], state: SweepState) -> list[Held]:
        """The best epoch of each that did not fail, where its checkpoint is there: the best trial's first."""
        found = [(best, t) for t in holders if t.status != "failed" and (best := self._known[t.number].best)]
        found.sort(key=lambda pair: (*state.ranking_key(pair[1]), self._objective.loss(pair[0].value), pair[1].number))
        return [(trial.number, best.epoch) for best, trial in found if best.epoch in trial.checkpoints]

    def _front(self, best: list[Held], state: SweepState) -> list[Held]:
        """Of several objectives those on the Pareto front. Who holds none was dominated, and so is still."""
        if not self._objective.also:
            return []
        front = pareto_front(self._objective.points(state.trials[number] for number, _ in best))
        epochs = dict(best)
        return [(number, epochs[number]) for number in front]


def _of_each(best: list[Held], state: SweepState) -> list[Held]:
    """The best of each configuration: in a race any of them may be the winner yet."""
    first = {state.trials[held[0]].configuration: held for held in reversed(best)}
    return list(first.values())
