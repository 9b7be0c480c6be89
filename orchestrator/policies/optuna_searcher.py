"""The base of searchers that ask an Optuna sampler."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from orchestrator.journal import Event
from orchestrator.policies.searcher import Searcher, random_draw
from orchestrator.policies.trial_history import History, PastTrial, trial_events
from orchestrator.spec import SearcherOptions, SweepSpec

OptionsT = TypeVar("OptionsT", bound=SearcherOptions)


@dataclass
class Answer:
    """A sampler's answer for trial ``number``.

    ``params`` are the spec's parameters, ``point`` all that was drawn as values of Optuna's distributions, and the
    notes what the sampler wrote to the study's trials and to the study.
    """

    number: int
    params: dict[str, Any]
    point: dict[str, Any]
    trial_notes: dict[int, dict[str, Any]] = field(default_factory=dict)
    study_notes: dict[str, Any] = field(default_factory=dict)


class OptunaSearcher(Searcher[OptionsT]):
    """Ask a new sampler for each trial, over the history that the journal's events give.

    With ``notes`` a sampler's notes on its own trials are part of its state (the covariances of CMA-ES, the
    generations of NSGA-II). The journal does not hold them, since they follow from it: a replay asks for each
    suggestion again, at the same place among the events, and so gets the same notes. The parameters are the journal's
    in any case.
    """

    notes = False
    learns = True

    def __init__(self, options: OptionsT, spec: SweepSpec, *, startup_trials: int = 0) -> None:
        super().__init__(options, spec)
        self._startup = startup_trials
        self._goals = 1 + len(self.objective.also)
        self._history = History(self.space, self.objective)
        self._trials: dict[int, Any] = {}  # as Optuna has them
        self._trial_notes: dict[int, dict[str, Any]] = {}
        self._study_notes: dict[str, Any] = {}
        self._points: dict[int, dict[str, Any]] = {}  # as drawn, inactive parameters included
        self._answer: Answer | None = None
        self._exhausted = False

    @abstractmethod
    def _sampler(self, number: int) -> Any:
        """Return the sampler for a trial, seeded from its number."""

    def _searched(self, sampler: Any, study: Any, trial: Any) -> Mapping[str, Any]:
        """Return the distributions that are drawn together. All others are drawn one by one."""
        distributions: Mapping[str, Any] = sampler.infer_relative_search_space(study, trial)
        return distributions

    def _values(self, trial: PastTrial) -> tuple[float, ...] | None:
        """Return the losses that the sampler sees for an ended trial; None if it does not see the trial.

        A stopped trial has its best loss so far and is not pruned, which these samplers would ignore: under a scheduler
        that stops most trials they would see the survivors alone, and learn nothing about bad parameters. The value is
        that of a shorter training, so too high; it was stopped because it was worse than others as short, so the order
        is about right.
        """
        if trial.state == "unfit":
            losses = [ended.losses for ended in self._history.trials.values() if ended.merit[0] < 2]
            return tuple(map(max, zip(*losses, strict=True))) or None
        return None if trial.state == "failed" else trial.losses

    def suggest(self, number: int) -> dict[str, Any] | None:
        """Return what the sampler draws; None once it has stopped the study."""
        if self._exhausted:
            return None
        if self._answer is None or self._answer.number != number:
            self._answer = self._ask(number)
        return dict(self._answer.params)

    def observe(self, event: Event) -> None:
        """Take note of an event, and show the sampler what it is about."""
        for part in trial_events(event):
            self._observe(part)

    def _observe(self, event: Event) -> None:
        if event.type == "trial.suggested":
            self._commit(event)
        trial = self._history.observe(event)
        if trial is not None:
            self._answer = None
            self._convert(trial)
            if event.type != "trial.suggested" and trial.state != "running" and trial.number >= 0:
                self._ended(trial)

    def _commit(self, event: Event) -> None:
        """Keep what the sampler noted when this was suggested; ask it again if another process had."""
        if not self.notes or event["by"] != self.name or self._exhausted:
            return
        answer = self._answer
        if answer is None or answer.number != event["trial"]:
            answer = self._ask(event["trial"])
        self._points[answer.number] = answer.point
        self._note(answer.trial_notes, answer.study_notes)

    def _note(self, trial_notes: Mapping[int, dict[str, Any]], study_notes: Mapping[str, Any]) -> None:
        self._study_notes |= study_notes
        for number, notes in trial_notes.items():
            self._trial_notes.setdefault(number, {}).update(notes)
            if number in self._trials:
                self._convert(self._history.trials[number])

    def _ended(self, trial: PastTrial) -> None:
        """Take note that a trial has ended and is converted."""
        return

    def _convert(self, trial: PastTrial) -> None:
        """Keep a trial as Optuna has it."""
        from optuna.trial import TrialState

        from orchestrator.policies.optuna_study import frozen

        state, values = TrialState.RUNNING, None
        if trial.state != "running":
            values = self._values(trial)
            state = TrialState.FAIL if values is None else TrialState.COMPLETE
        notes = self._trial_notes.get(trial.number)
        self._trials[trial.number] = frozen(
            trial.number, self._full(trial), self._history.distributions, state=state, values=values, notes=notes
        )

    def _full(self, trial: PastTrial) -> dict[str, Any]:
        """Return the trial's point, as the sampler is to see it."""
        return trial.point

    def _visible_trials(self) -> list[Any]:
        """Return the trials that the sampler sees."""
        return list(self._trials.values())

    def _drawn_at_random(self, number: int) -> bool:
        """Return whether trial ``number`` comes too early for a model."""
        return number < self._startup

    def _ask(self, number: int) -> Answer:
        if self._drawn_at_random(number):
            return Answer(number, random_draw(self.space, self.seed, number), {})
        from optuna.trial import TrialState

        from orchestrator.policies.optuna_study import EventStorage, Study, frozen

        with quiet():
            trial = frozen(number, {}, {}, state=TrialState.RUNNING)
            storage = EventStorage([*self._visible_trials(), trial], trial, self._study_notes, self._goals)
            sampler = self._sampler(number)
            study = Study(storage, sampler)
            sampler.before_trial(study, trial)
            searched = self._searched(sampler, study, trial)
            joint = sampler.sample_relative(study, trial, searched)
            params = self._draw(sampler, study, trial, joint)
        return Answer(number, params, {**joint, **trial.params}, storage.trial_notes, storage.study_notes)

    def _draw(self, sampler: Any, study: Any, trial: Any, joint: Mapping[str, Any]) -> dict[str, Any]:
        """Return the spec's parameters: those drawn jointly, and the other active ones one by one."""
        params: dict[str, Any] = {}
        for name in self.space.order:
            if not self.space.active(params, name):
                continue
            distribution = self._history.distributions.get(name)
            if distribution is None:
                params[name] = self.space[name].decode(0)
                continue
            if name in joint:
                drawn = joint[name]
            elif distribution.single():
                drawn = self.space[name].encode(self.space[name].at(0))
            else:
                drawn = sampler.sample_independent(study, trial, name, distribution)
            trial.params[name], trial.distributions[name] = drawn, distribution
            params[name] = self.space[name].decode(drawn)
        return params


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Optuna's warnings about experimental and deprecated options; the tested version has them."""
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.simplefilter("ignore", FutureWarning)
        yield
