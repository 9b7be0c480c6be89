"""Control trials: the first trials of a sweep, trained on whatever their values, show what a rung predicts."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator

from orchestrator.policies.rungs import REMEMBERED, WaitingRung, concordance

WITNESSES = 4
"""Controls that must have entered a later rung before a rung is judged."""
PREDICTIVE = 0.75
"""The share of pairs in the same order at both rungs from which on a rung predicts: half of what chance leaves over."""


class ControlTrials:
    """How far the first trials have been trained as controls, and what they say about each rung.

    Controls up to a rung are all trials below a number, so that no value has chosen them: an unbiased sample. From
    rung to rung there are ``1/factor`` as many, so each stretch costs about the same epochs, and evidence about the
    next rung comes first.

    Args:
        rungs: the rungs, the last of which is the end of the training; read, never changed.
        factor: the ratio of controls from rung to rung.
    """

    def __init__(self, rungs: list[WaitingRung], factor: int) -> None:
        self._rungs, self._factor = rungs, factor
        self._begun = 0
        self._below = [0] * len(rungs)  # rung -> trials below this number are its controls
        self._level: dict[int, int] = {}  # trial -> the rung that it is on its way to; beyond the last at its end
        self._shares = [1 / factor] * len(rungs)
        self._agreements: list[float | None] = [None] * len(rungs)
        self._predicts = [True] * len(rungs)

    def begin(self, trial: int) -> None:
        """Take note of a new trial."""
        self._begun = max(self._begun, trial + 1)

    def advance(self, trial: int, rung: int) -> None:
        """Take note that a trial is on its way to a rung; ``len(rungs)`` if it ends."""
        if rung > self._level.get(trial, 0):
            self._level[trial] = rung
            self._extend()

    def enter(self, trial: int, rung: int) -> None:
        """Take note that a trial has entered a rung."""
        self.advance(trial, rung)
        if 0 < rung < len(self._rungs) and trial < self._below[rung]:
            self._judge()

    def candidates(self) -> Iterator[tuple[int, int]]:
        """Yield for each stretch, the last first, the rung where it begins and the trial that is its next control."""
        for rung in range(len(self._rungs) - 1, 0, -1):
            if self._below[rung] < self._limit(rung):
                yield rung - 1, self._below[rung]

    def is_next(self, rung: int) -> bool:
        """Return whether the stretch from this rung has fewer controls than its part of those of the one before."""
        return rung == 0 or self._below[rung + 1] < self._below[rung] // self._factor

    def share(self, rung: int) -> float:
        """Return the share of a rung's trials that is to continue, from ``1/factor`` to 1."""
        return self._shares[rung]

    def agreement(self, rung: int) -> float | None:
        """Return in what share of the controls' pairs the one ahead later was ahead at this rung; None if unknown."""
        return self._agreements[rung]

    def predicts(self, rung: int) -> bool:
        """Return whether a rung was seen to predict, or there is no evidence yet."""
        return self._predicts[rung]

    def _limit(self, rung: int) -> int:
        return self._begun if rung == 1 else self._below[rung - 1]

    def _extend(self) -> None:
        """Count among a rung's controls all trials on their way to it without a gap, and judge the rungs again."""
        changed = False
        for rung in range(1, len(self._rungs)):
            while self._below[rung] < self._limit(rung) and self._level.get(self._below[rung], 0) >= rung:
                self._below[rung] += 1
                changed = True
        if changed:
            self._judge()

    def _judge(self) -> None:
        for rung in range(len(self._rungs) - 1):
            needed, self._predicts[rung], furthest = 1 / self._factor, True, True
            for witnesses in self._witnesses(rung):
                agreement, error = concordance([self._rungs[rung].loss[trial] for trial in witnesses])
                if furthest:
                    self._agreements[rung], furthest = agreement, False
                predicts = agreement + error >= PREDICTIVE
                self._predicts[rung] = self._predicts[rung] and predicts
                needed = max(needed, self._needed(rung, witnesses) if predicts else 1.0)
            self._shares[rung] = needed

    def _witnesses(self, rung: int) -> Iterator[list[int]]:
        """Yield the latest controls at each later rung that enough have entered, the best there first.

        The furthest rung comes first: what counts there is the end, but those at a nearer one are more, and one of them
        may show a slow starter that the few do not.
        """
        for later in range(len(self._rungs) - 1, rung, -1):
            here, there = self._rungs[rung].loss, self._rungs[later].loss
            witnesses: list[int] = []
            for trial in range(self._below[later] - 1, max(-1, self._below[later] - 1 - 2 * REMEMBERED), -1):
                if trial in there and trial in here and len(witnesses) < REMEMBERED:
                    witnesses.append(trial)
            if len(witnesses) >= WITNESSES:
                yield sorted(witnesses, key=lambda trial: (there[trial], trial))

    def _needed(self, rung: int, witnesses: list[int]) -> float:
        """Return the share of a rung's trials that holds the best ``1/factor`` of the controls."""
        entered = self._rungs[rung]
        best = witnesses[: math.ceil(len(witnesses) / self._factor)]
        places = [bisect.bisect_right(entered.order, (entered.loss[trial], math.inf)) for trial in best]
        return max(places) / len(entered.order)
