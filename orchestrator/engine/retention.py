"""Which checkpoints stay: what a trial goes on from, and the best epochs of the best trials."""

from __future__ import annotations

from collections.abc import Set

from orchestrator.journal import Event
from orchestrator.state import ENDED, Objective, SweepState, Trial

Held = tuple[int, int]  # a checkpoint by its trial and epoch


class Retention:
    """Retention for the whole sweep. A function of the journal's events.

    Kept are, of a trial that runs or may go on, its latest and its best epoch; of the ``keep_top`` best others their
    best epoch; of the ``keep_top`` newest failed ones their latest, to be tried again from. Above ``quota`` bytes the
    failed ones go first, then the worst of the best; the winner's, and what trials go on from, never go.
    """

    def __init__(self, objective: Objective, keep_top: int, quota: int | None) -> None:
        self._objective, self._top, self._quota = objective, keep_top, quota
        self._holders: set[int] = set()
        self._lent: Set[Held] = frozenset()

    def observe(self, event: Event) -> None:
        if event.type in ("segment.checkpointed", "trial.promoted", "trial.stopped"):
            self._holders.add(event["trial"])

    def superfluous(self, state: SweepState, lent: Set[Held] = frozenset()) -> list[Held]:
        """What can go now, in no time that grows with the number of trials: only those that hold any are looked at.

        ``lent`` is what other trials may yet go on from.
        """
        holders = [state.trials[number] for number in sorted(self._holders)]
        self._lent = lent | {held for trial in holders if (held := self._borrows(trial))}
        kept = self._kept(holders)
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
            if self._borrows(t) or (any((t.number, e) not in gone for e in t.checkpoints) and not self._rests(t))
        }
        return found

    def _borrows(self, trial: Trial) -> Held | None:
        """Another trial's checkpoint that this one goes on from."""
        return None if trial.status in ENDED else trial.borrowed

    def _rests(self, trial: Trial) -> bool:
        """Whether what it holds now it holds until its next event: then it need not be looked at before that."""
        lends = any((trial.number, epoch) in self._lent for epoch in trial.checkpoints)
        return trial.status == "set_aside" and self._quota is None and not lends

    def _kept(self, holders: list[Trial]) -> set[Held]:
        live = {trial.number for trial in holders if trial.status in ("running", "interrupted", "set_aside")}
        latest = {t.number: _latest(t) for t in holders if t.latest_checkpoint}
        # Best first; a trial that runs and holds its best epoch counts among the best.
        best = self._best(holders)
        needed = {latest[number] for number in live & latest.keys()} | {held for held in best if held[0] in live}
        needed |= set(best[:1]) | self._lent
        failed = [latest[t.number] for t in holders if t.status == "failed" and t.number in latest]
        spare = [held for held in best[: self._top] if held not in needed]
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

    def _best(self, holders: list[Trial]) -> list[Held]:
        """The best epoch of each that did not fail, where its checkpoint is there: the best trial's first."""
        found = [(best, t) for t in holders if t.status != "failed" and (best := self._objective.best(t))]
        found.sort(key=lambda pair: (self._objective.loss(pair[0].value), pair[1].number))
        return [(trial.number, best.epoch) for best, trial in found if best.epoch in trial.checkpoints]


def _latest(trial: Trial) -> Held:
    """What it goes on from; after a takeover that may be another's."""
    latest = trial.latest_checkpoint
    assert latest
    return trial.borrowed or (trial.number, latest.epoch)
