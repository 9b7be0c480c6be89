"""BOHB: a Parzen model of the trials that came furthest, for Hyperband."""

from __future__ import annotations

import bisect
import random
from collections.abc import Mapping
from typing import Any, Literal

from orchestrator.journal import Event
from orchestrator.policies.density_search import DensitySearcher, Shares, thinned
from orchestrator.policies.searcher import Suggestion, random_draw
from orchestrator.seeds import derive_seed
from orchestrator.spec import SweepSpec, TryFirstOptions

RANDOM_SHARE = 1 / 3
GOOD_SHARE = 0.15
MOST_GOOD = 25
MOST_OTHERS = 100


class BOHB(TryFirstOptions):
    """BOHB's model, of the trials that came furthest: for scheduler hyperband.

    Example:
        ```python
        searcher, scheduler = orchestrator.BOHB(), orchestrator.Hyperband()
        ```
    """

    name: Literal["bohb"] = "bohb"


class BOHBSearcher(DensitySearcher[BOHB]):
    """The model of BOHB (Falkner et al. 2018, arXiv:1807.01774), with the paper's constants, on TPE's estimators.

    The model is made of the trials at the largest rung to which at least ``parameters + 2`` have come, by their loss
    there: the best 0.15 of them (at least ``parameters + 1``) against the others. A third of the suggestions, and all
    before there is such a rung, are drawn at random. As with TPE, the history is bounded.
    """

    def __init__(self, options: BOHB, spec: SweepSpec) -> None:
        super().__init__(options, spec, startup_trials=0, multivariate=True)
        self._interpolates = spec.progress.interpolate
        self._least = len(self._history.distributions) + 1
        self._rungs: dict[float, list[tuple[float, int]]] = {}  # progress -> its trials, best first
        self._entered: set[tuple[float, int]] = set()

    @classmethod
    def explain(cls, options: BOHB, suggestion: Suggestion) -> str:
        """Say that the model proposed it, or chance."""
        return f"proposed by BOHB from {suggestion.trials_before}, or drawn at random, as a third are"

    def suggest(self, number: int) -> dict[str, Any] | None:
        """Return a random draw, or what the model suggests."""
        explores = random.Random(derive_seed(self.seed, "bohb", number)).random() < RANDOM_SHARE
        if explores or self._model_rung() is None:
            return random_draw(self.space, self.seed, number)
        return super().suggest(number)

    def _observe(self, event: Event) -> None:
        super()._observe(event)
        if event.type in ("trial.set_aside", "trial.stopped", "trial.finished"):
            self._enter(event["trial"], event.fields.get("why") or {})

    def _enter(self, trial: int, why: Mapping[str, Any]) -> None:
        """Add a trial to the rung that it has reached; trials need not report at the same places."""
        past = self._history.trials[trial]
        rung = why.get("rung", past.progress) if self._interpolates else past.progress
        if past.progress and (rung, trial) not in self._entered:
            self._entered.add((rung, trial))
            bisect.insort(self._rungs.setdefault(rung, []), (past.loss, trial))

    def _model_rung(self) -> float | None:
        return max((progress for progress, trials in self._rungs.items() if len(trials) > self._least), default=None)

    def _split(self) -> tuple[Shares, Shares]:
        progress = self._model_rung()
        assert progress is not None
        order = [trial for _, trial in self._rungs[progress]]
        count = min(max(self._least, int(GOOD_SHARE * len(order))), MOST_GOOD, len(order) - 1)
        good, others = order[:count], thinned(sorted(order[count:]), MOST_OTHERS)
        return sorted((trial, 1) for trial in good), others
