"""Searchers that ask an Optuna sampler: what they have in common."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from orchestrator.journal import Event
from orchestrator.policies.searchers.base import Searcher, random_draw
from orchestrator.policies.searchers.history import History, Past, told
from orchestrator.space import Space
from orchestrator.state import Objective


@dataclass
class Asked:
    """A sampler's answer: our parameters, all that it drew in its own terms, and what it noted of them."""

    number: int
    params: dict[str, Any]
    point: dict[str, Any]
    trial_notes: dict[int, dict[str, Any]] = field(default_factory=dict)
    study_notes: dict[str, Any] = field(default_factory=dict)


class Sampled(Searcher):
    """Asks a new sampler for each trial, over the history that the journal tells.

    With ``notes`` a sampler's notes on its own trials are part of its state (the covariances of CMA-ES, the
    generations of NSGA-II). The journal does not hold them; they follow from it: whoever replays a suggestion asks for
    it again, at the same place among the events, and so comes by the same notes. The parameters themselves are the
    journal's in any case.
    """

    notes = False
    learns = True

    def __init__(self, space: Space, seed: int, objective: Objective, startup_trials: int = 0) -> None:
        self._space, self._seed, self._startup = space, seed, startup_trials
        self._goals = 1 + len(objective.also)
        self._history = History(space, objective)
        self._trials: dict[int, Any] = {}  # of Optuna's kind
        self._trial_notes: dict[int, dict[str, Any]] = {}
        self._study_notes: dict[str, Any] = {}
        self._points: dict[int, dict[str, Any]] = {}  # as drawn, inactive parameters included
        self._asked: Asked | None = None
        self._over = False

    @abstractmethod
    def _sampler(self, number: int) -> Any:
        """The sampler for a trial, seeded from its number."""

    def _searched(self, sampler: Any, study: Any, trial: Any) -> Mapping[str, Any]:
        """The distributions that are drawn together. All others are drawn one by one."""
        found: Mapping[str, Any] = sampler.infer_relative_search_space(study, trial)
        return found

    def _values(self, trial: Past) -> tuple[float, ...] | None:
        """The losses that an ended trial is told with; None where it is not told.

        A stopped trial is told with its best loss so far and not as pruned, which these samplers would ignore: under a
        scheduler that stops most trials they would see the survivors alone, and learn nothing of what was bad. The
        value is that of a shorter training, so too high; it was stopped because it was worse than others as short, so
        the order is about right.
        """
        if trial.state == "unfit":
            told = [known.losses for known in self._history.trials.values() if known.merit[0] < 2]
            return tuple(map(max, zip(*told, strict=True))) or None
        return None if trial.state == "failed" else trial.losses

    def suggest(self, number: int) -> dict[str, Any] | None:
        if self._over:
            return None
        if self._asked is None or self._asked.number != number:
            self._asked = self._ask(number)
        return dict(self._asked.params)

    def observe(self, event: Event) -> None:
        for part in told(event):
            self._observe(part)

    def _observe(self, event: Event) -> None:
        if event.type == "trial.suggested":
            self._commit(event)
        trial = self._history.observe(event)
        if trial is not None:
            self._asked = None
            self._shelve(trial)
            if event.type != "trial.suggested" and trial.state != "running" and trial.number >= 0:
                self._ended(trial)

    def _commit(self, event: Event) -> None:
        """Keep what the sampler noted when this was suggested, asking it again where somebody else had."""
        if not self.notes or event["by"] != self.name or self._over:
            return
        asked = self._asked if self._asked and self._asked.number == event["trial"] else self._ask(event["trial"])
        self._points[asked.number] = asked.point
        self._note(asked.trial_notes, asked.study_notes)

    def _note(self, trial_notes: Mapping[int, dict[str, Any]], study_notes: Mapping[str, Any]) -> None:
        self._study_notes |= study_notes
        for number, notes in trial_notes.items():
            self._trial_notes.setdefault(number, {}).update(notes)
            if number in self._trials:
                self._shelve(self._history.trials[number])

    def _ended(self, trial: Past) -> None:
        """A trial has ended and is on the shelf."""
        return

    def _shelve(self, trial: Past) -> None:
        """Make Optuna's trial of ours."""
        from optuna.trial import TrialState

        from orchestrator.policies.searchers.optuna_study import frozen

        state, values = TrialState.RUNNING, None
        if trial.state != "running":
            values = self._values(trial)
            state = TrialState.FAIL if values is None else TrialState.COMPLETE
        notes = self._trial_notes.get(trial.number)
        self._trials[trial.number] = frozen(
            trial.number, self._full(trial), self._history.distributions, state=state, values=values, notes=notes
        )

    def _full(self, trial: Past) -> dict[str, Any]:
        """The trial's point, as the sampler is to see it."""
        return trial.point

    def _seen(self) -> list[Any]:
        """The trials that the sampler is shown."""
        return list(self._trials.values())

    def _drawn_at_random(self, number: int) -> bool:
        """Whether trial ``number`` comes too early for a model."""
        return number < self._startup

    def _ask(self, number: int) -> Asked:
        if self._drawn_at_random(number):
            return Asked(number, random_draw(self._space, self._seed, number), {})
        from optuna.trial import TrialState

        from orchestrator.policies.searchers.optuna_study import Shelf, Study, frozen

        with quiet():
            trial = frozen(number, {}, {}, state=TrialState.RUNNING)
            shelf = Shelf([*self._seen(), trial], trial, self._study_notes, self._goals)
            sampler = self._sampler(number)
            study = Study(shelf, sampler)
            sampler.before_trial(study, trial)
            searched = self._searched(sampler, study, trial)
            together = sampler.sample_relative(study, trial, searched)
            params = self._draw(sampler, study, trial, together)
        return Asked(number, params, {**together, **trial.params}, shelf.trial_notes, shelf.study_notes)

    def _draw(self, sampler: Any, study: Any, trial: Any, together: Mapping[str, Any]) -> dict[str, Any]:
        """Our parameters: those drawn together, and the active others one by one."""
        params: dict[str, Any] = {}
        for name in self._space.order:
            if not self._space.active(params, name):
                continue
            distribution = self._history.distributions.get(name)
            if distribution is None:
                params[name] = self._space[name].decode(0)
                continue
            if name in together:
                drawn = together[name]
            elif distribution.single():
                drawn = self._space[name].encode(self._space[name].at(0))
            else:
                drawn = sampler.sample_independent(study, trial, name, distribution)
            trial.params[name], trial.distributions[name] = drawn, distribution
            params[name] = self._space[name].decode(drawn)
        return params


@contextmanager
def quiet() -> Iterator[None]:
    """Optuna marks some of its options as experimental, or as going away; the tested version has them."""
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.simplefilter("ignore", FutureWarning)
        yield
