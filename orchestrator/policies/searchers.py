"""Searchers: which parameters the next trial gets."""

from __future__ import annotations

import math
import random
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.journal import Event
from orchestrator.seeds import derive_seed
from orchestrator.space import Space
from orchestrator.spec import SweepSpec
from orchestrator.state import Objective


class Searcher(ABC):
    """Proposes parameters. Sees every event in order; draws only from (sweep seed, trial number)."""

    name: str

    @abstractmethod
    def suggest(self, number: int) -> dict[str, Any] | None:
        """Parameters for trial ``number``, or None when there are no more."""

    def has(self, number: int) -> bool:
        """Whether there are parameters for trial ``number``."""
        return True

    def observe(self, event: Event) -> None:
        """Take note of what happened."""
        return


class Random(Searcher):
    """Each trial drawn anew. Trial n is the same whatever happened before it."""

    name = "random"

    def __init__(self, space: Space, seed: int) -> None:
        self._space, self._seed = space, seed

    def suggest(self, number: int) -> dict[str, Any] | None:
        return self._space.sample(random.Random(derive_seed(self._seed, "suggest", number)))


class Grid(Searcher):
    """Every combination, once, in the order of the file (the last parameter turns fastest)."""

    name = "grid"

    def __init__(self, space: Space) -> None:
        self._points: Iterator[dict[str, Any]] = iter(space.grid())
        self._seen: list[dict[str, Any]] = []

    def suggest(self, number: int) -> dict[str, Any] | None:
        while len(self._seen) <= number:
            point = next(self._points, None)
            if point is None:
                return None
            self._seen.append(point)
        return self._seen[number]

    def has(self, number: int) -> bool:
        return self.suggest(number) is not None


class TPE(Searcher):
    """Optuna's multivariate tree-structured Parzen estimator (Bergstra et al. 2011; Watanabe 2023).

    A new sampler is made for each suggestion, seeded from the trial's number: nothing but the history of events
    decides. Trials still running count against their neighbourhood (constant liar); early-stopped ones are told as
    pruned, with the epochs they reached.
    """

    name = "tpe"

    def __init__(self, space: Space, seed: int, objective: Objective, startup_trials: int, multivariate: bool) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space, self._seed, self._objective = space, seed, objective
        self._startup, self._multivariate = startup_trials, multivariate
        self._domains = {name: space[name] for name in space.order}
        self._distributions = {name: domain.optuna_distribution() for name, domain in self._domains.items()}
        self._conditional = any(domain.when for domain in self._domains.values())
        self._study = optuna.create_study(direction="minimize", sampler=optuna.samplers.RandomSampler(seed=0))
        self._trials: dict[int, optuna.Trial] = {}
        self._best: dict[int, float] = {}
        self._told: set[tuple[int, int]] = set()

    def suggest(self, number: int) -> dict[str, Any] | None:
        if number < self._startup:  # drawn as random search draws, so that the two begin alike
            return self._space.sample(random.Random(derive_seed(self._seed, "suggest", number)))
        self._study.sampler = self._sampler(number)
        asked = self._study.ask()
        params: dict[str, Any] = {}
        for name, domain in self._domains.items():
            if self._space.active(params, name):
                distribution = self._distributions[name]
                params[name] = domain.decode(_draw(asked, name, distribution) if distribution else 0)
        _forget_inactive(asked)
        self._trials[number] = asked
        return params

    def _sampler(self, number: int) -> Any:
        import optuna

        with warnings.catch_warnings():
            # `group` (conditional parameters modelled apart) is marked experimental; the pinned version has it.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.samplers.TPESampler(
                seed=derive_seed(self._seed, "tpe", number),
                n_startup_trials=0,
                multivariate=self._multivariate,
                group=self._multivariate and self._conditional,
                constant_liar=True,
            )

    def observe(self, event: Event) -> None:
        if event.type == "trial.suggested" and event["trial"] not in self._trials:
            self._add(event["trial"], event["params"])
        elif event.type == "segment.reported":
            self._report(event["trial"], event["epoch"], event["metrics"])
        elif event.type in ("trial.finished", "trial.stopped", "trial.failed"):
            self._tell(event["trial"], event.type)

    def _add(self, number: int, params: Mapping[str, Any]) -> None:
        """Enter a trial that was suggested earlier (a resume), or drawn at random."""
        import optuna

        known = {name: value for name, value in params.items() if self._distributions.get(name) is not None}
        self._study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState.RUNNING,
                params={name: self._domains[name].encode(value) for name, value in known.items()},
                distributions={name: self._distributions[name] for name in known},
            )
        )
        self._trials[number] = optuna.trial.Trial(self._study, self._study.get_trials(deepcopy=False)[-1]._trial_id)

    def _report(self, number: int, epoch: int, metrics: Mapping[str, Any]) -> None:
        value = float(metrics.get(self._objective.metric, math.nan))
        if not math.isfinite(value) or (number, epoch) in self._told:
            return
        self._told.add((number, epoch))
        loss = min(self._objective.loss(value), self._best.get(number, math.inf))
        self._best[number] = loss
        self._trials[number].report(loss, epoch)

    def _tell(self, number: int, outcome: str) -> None:
        import optuna

        states = optuna.trial.TrialState
        best = self._best.get(number)
        if outcome == "trial.failed" or best is None:
            self._study.tell(self._trials[number], state=states.FAIL)
        elif outcome == "trial.stopped":
            self._study.tell(self._trials[number], state=states.PRUNED)
        else:
            self._study.tell(self._trials[number], best)


def _forget_inactive(trial: Any) -> None:
    """Let the sampler see a running trial by its parameters alone.

    It also notes what it drew for parameters that turned out inactive, and would count a running trial by those. The
    journal does not have them, so that after a resume the suggestions would be others.
    """
    for key in list(trial.storage.get_trial_system_attrs(trial._trial_id)):
        if key.startswith("tpe:relative_params"):
            trial.storage.set_trial_system_attr(trial._trial_id, key, "")


def _draw(trial: Any, name: str, distribution: Any) -> Any:
    """Optuna's value for one parameter, by the public call for its kind of distribution."""
    import optuna

    if isinstance(distribution, optuna.distributions.CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    if isinstance(distribution, optuna.distributions.IntDistribution):
        return trial.suggest_int(
            name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
        )
    return trial.suggest_float(name, distribution.low, distribution.high, step=distribution.step, log=distribution.log)


def build_searcher(spec: SweepSpec) -> Searcher:
    """The spec's searcher, with nothing observed yet."""
    if spec.searcher.name == "grid":
        return Grid(spec.space)
    if spec.searcher.name == "tpe":
        objective = Objective(spec.objective.metric, spec.objective.mode)
        options = spec.searcher.model_dump(exclude={"name"})
        return TPE(spec.space, spec.seed, objective, **options)
    return Random(spec.space, spec.seed)
