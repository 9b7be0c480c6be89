"""Search by a Parzen model of one parameter at a time, which chooses among random candidates. For two plug-ins."""

from __future__ import annotations

import bisect
import math
import random
from typing import Any, ClassVar, TypeVar

from pydantic import Field

from orchestrator.journal import Event
from orchestrator.policies.feasibility import Feasibility
from orchestrator.policies.searcher import Searcher, Suggestion, random_draw
from orchestrator.policies.trial_history import History, PastTrial, trial_events
from orchestrator.seeds import derive_seed
from orchestrator.spec import SweepSpec, TryFirstOptions

Array = Any
"""numpy.ndarray; its own annotations differ between the versions of NumPy that are supported."""
CANDIDATES = 64
EXPLORE = 0.25
"""The share of trials that are drawn at random throughout."""
PROBES = 0.01
"""The share of trials that may be of any parameters, however many such trials failed."""
_RANKING = frozenset(
    {"trial.suggested", "segment.reported", "trial.finished", "trial.stopped", "trial.failed", "trial.retried"}
)


class ParzenOptions(TryFirstOptions):
    """Options of every search by the Parzen model."""

    startup_trials: int = Field(
        default=10,
        ge=1,
        description="Trials with a value before the model is used; until then at random.",
        examples=[10],
    )


OptionsT = TypeVar("OptionsT", bound=ParzenOptions)


class ParzenSearch(Searcher[OptionsT]):
    """Suggest the candidate that has most in common with the good trials and least with the others.

    A Parzen estimator in the manner of TPE (Bergstra et al. 2011, its densities factored too). Each parameter's values
    are counted in cells of equal probability under its domain, and the counts smoothed by a Gaussian and by one
    trial spread evenly; a choice has a cell for each of its values and no smoothing across them. The ratio of the good
    trials' density to that of the others, multiplied over the parameters, ranks the candidates. Unlike in TPE they are
    draws from the space: the model leaves out what is bad rather than closing in on what was good.

    A parameter's densities are those among the trials that have it, and one that a candidate lacks adds nothing: in a
    tree of conditions that is the ratio of the joint densities.

    A trial is judged by its best loss so far, however far it came: a scheduler trains the promising ones longer, so
    they are ahead. A trial without a loss yet counts among the others (constant liar), so that workers keep apart; so
    does one that its parameters ended. A trial that failed for another reason does not count.

    With ``avoids_unfit`` parameters that are too large for the memory are avoided once a trial has run out of it, by
    `Feasibility`; but never for ever: one trial in a hundred may be of any parameters. What diverges is not avoided
    otherwise than what is bad: it ends at its first report, and the best are often near to it.

    A suggestion costs the same however long the sweep is: the model is in counts, and only the ``most_good`` best
    trials are read.
    """

    learns = True
    several_objectives = False
    good_share: ClassVar[float]
    most_good: ClassVar[int]
    """Trials that count as good: this share of all, and so many at most."""
    avoids_unfit: ClassVar[bool] = False
    """Whether parameters that are too large for the memory are avoided."""

    def __init__(self, options: OptionsT, spec: SweepSpec) -> None:
        from orchestrator.policies.parzen_model import Model

        super().__init__(options, spec)
        self._history = History(self.space, self.objective)
        self._model = Model(self.space)
        self._losses: dict[int, float] = {}
        self._order: list[tuple[float, int]] = []
        self._unreported: set[int] = set()  # running trials without a loss
        self._feasibility = Feasibility(self.space)

    @classmethod
    def explain(cls, options: OptionsT, suggestion: Suggestion) -> str:
        """Say whether it was drawn at random or chosen by the model."""
        if suggestion.by == "random":
            return "drawn at random"
        return f"of random candidates the one most like the good ones of {suggestion.trials_before}"

    def suggest(self, number: int) -> dict[str, Any] | None:
        """Return a random draw, or the best of the candidates."""
        drawn = self.by(number) == "random"
        if drawn and not self._avoids(number):
            return random_draw(self.space, self.seed, number)
        candidates = self._candidates(number)
        return self.space.at(candidates[self._chosen(number, candidates, drawn=drawn)].tolist())

    def by(self, number: int) -> str:
        """Return ``random`` for a trial that is drawn without the model."""
        valued = len(self._order) - len(self._unreported)
        early = valued < self.options.startup_trials or not self._good() or not self._model.axes
        exploring = random.Random(derive_seed(self.seed, "explore", number)).random() < EXPLORE
        return "random" if early or exploring else self.name

    def observe(self, event: Event) -> None:
        """Take note of an event."""
        for part in trial_events(event):
            self._observe(part)

    def _observe(self, event: Event) -> None:
        self._history.observe(event)
        if event.type == "trial.suggested":
            drawn = event.fields.get("drawn", ())  # of an earlier sweep's trial, what it had not
            params = {k: v for k, v in event["params"].items() if k not in drawn}
            self._model.add(event["trial"], params)
            self._feasibility.add(event["trial"], params)
        if event.type in _RANKING:
            trial = self._history.trials[event["trial"]]
            self._rank(trial)
            self._feasibility.note(trial.number, _too_large(trial, event))

    def _rank(self, trial: PastTrial) -> None:
        """Put a trial in its place among all."""
        number, before = trial.number, self._losses.pop(trial.number, None)
        if before is not None:
            del self._order[bisect.bisect_left(self._order, (before, number))]
        if trial.state != "failed":
            self._losses[number] = math.inf if trial.state == "unfit" else trial.loss
            bisect.insort(self._order, (self._losses[number], number))
        if (before is None) != (number not in self._losses):
            self._model.count(number, 1 if before is None else -1)
        if trial.state == "running" and trial.loss == math.inf:
            self._unreported.add(number)
        else:
            self._unreported.discard(number)

    def _good(self) -> list[int]:
        finite = bisect.bisect_left(self._order, (math.inf, -1))
        size = min(self.most_good, max(3, math.ceil(self.good_share * len(self._order))), finite)
        return [number for _, number in self._order[:size]]

    def _avoids(self, number: int) -> bool:
        """Return whether trial ``number`` avoids what does not fit in the memory."""
        probing = random.Random(derive_seed(self.seed, "probe", number)).random() < PROBES
        return self.avoids_unfit and self._feasibility.learned and not probing

    def _chosen(self, number: int, candidates: Array, *, drawn: bool = False) -> int:
        """Return the place of the best candidate, or of the first if ``drawn``, of those that are not too risky."""
        import numpy as np

        scores = -np.arange(len(candidates), dtype=float) if drawn else self._scores(candidates)
        if self._avoids(number):
            scores = np.where(self._feasibility.taken(candidates), scores, -np.inf)
        return int(np.argmax(scores))

    def _scores(self, candidates: Array) -> Array:
        """Return the logarithm of good over other density for each candidate, shape (n,)."""
        return self._model.scores(self._good(), candidates)

    def _candidates(self, number: int) -> Array:
        """Return points of the unit cube, shape (n, parameters of the space)."""
        import numpy as np

        rng = random.Random(derive_seed(self.seed, "parzen", number))
        return np.array([rng.random() for _ in range(CANDIDATES * len(self.space))]).reshape(CANDIDATES, -1)


def _too_large(trial: PastTrial, event: Event) -> bool | None:
    """Return whether a trial was too large for the memory, by the event that is about it; None if not known."""
    if trial.state == "unfit":
        return event.type == "trial.failed"
    return None if trial.loss == math.inf else False
