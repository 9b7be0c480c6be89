"""Wrappers of the spec's searcher: points to try first, and several seeds of each configuration.

Between the two, `Distinct` keeps configurations from being tried twice.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.journal import Event
from orchestrator.policies.distinct import Distinct, applies
from orchestrator.policies.searcher import Searcher, objective_of, searcher_class
from orchestrator.seeds import derive_seed
from orchestrator.space import Space
from orchestrator.spec import Repeats, SweepSpec
from orchestrator.state import Configuration, Objective

_ENDS = frozenset({"trial.finished", "trial.stopped", "trial.failed"})


def build_searcher(spec: SweepSpec) -> Searcher[Any]:
    """Return the spec's searcher, with nothing observed yet.

    A class that the spec names by import path is imported when it first suggests: see `foreign_searcher` for a spec
    that is read back from a run directory.
    """
    searcher = searcher_class(spec.searcher.name).build(spec.searcher, spec)
    points = getattr(spec.searcher, "try_first", [])
    searcher = TryFirst(points, searcher, spec.space, spec.seed) if points else searcher
    searcher = Distinct(searcher, spec) if applies(spec) else searcher
    return Repeated(searcher, spec.repeats, objective_of(spec)) if spec.repeats.seeds > 1 else searcher


class _Wrapper(Searcher[Any]):
    """A searcher around another one."""

    def __init__(self, inner: Searcher[Any]) -> None:
        self.name, self.learns, self.exhausts = inner.name, inner.learns, inner.exhausts
        self._inner = inner

    def reseed(self, seed: int) -> None:
        """Let the inner searcher draw from another seed from now on."""
        self._inner.reseed(seed)

    @property
    def end(self) -> str:
        """Why nothing more is suggested."""
        return self._inner.end


class TryFirst(_Wrapper):
    """Suggest the points that the spec lists first; what they leave open is as in trial n's random draw.

    From then on the inner searcher suggests; it has seen these trials as any others.
    """

    def __init__(self, points: Sequence[Mapping[str, Any]], inner: Searcher[Any], space: Space, seed: int) -> None:
        super().__init__(inner)
        self._points, self.space, self.seed = points, space, seed

    def suggest(self, number: int) -> dict[str, Any] | None:
        """Return the parameters for trial ``number``."""
        if number >= len(self._points):
            return self._inner.suggest(number)
        rng, point = random.Random(derive_seed(self.seed, "suggest", number)), self._points[number]
        params: dict[str, Any] = {}
        for name in self.space.order:
            if self.space.active(params, name):
                drawn = self.space[name].sample(rng)  # for a parameter of the point, too: the others keep their draws
                params[name] = self.space[name].canonical(point[name]) if name in point else drawn
        return params

    def has(self, number: int) -> bool:
        """Return whether there are parameters for trial ``number``."""
        return number < len(self._points) or self._inner.has(number)

    def by(self, number: int) -> str:
        """Return whose suggestion it is."""
        return "try_first" if number < len(self._points) else self._inner.by(number)

    def observe(self, event: Event) -> None:
        """Pass the event on, as the inner searcher is to see it."""
        self._inner.observe(event)


@dataclass
class _Tried:
    """A configuration: its parameters, and each of its trials' best value, last progress and end.

    ``reported`` says that the inner searcher has observed its end.
    """

    params: Mapping[str, Any]
    best: dict[int, float] = field(default_factory=dict)
    progress: dict[int, float] = field(default_factory=dict)
    ends: dict[int, Event] = field(default_factory=dict)
    reported: bool = False


class Repeated(_Wrapper):
    """Ask the inner searcher once for each configuration, whose trials have consecutive numbers.

    The inner searcher numbers configurations as it would number trials. It observes one when all its trials have ended:
    one report, of what the configuration is ranked by at the mean of the progress reached, and one end. A configuration
    has finished if all of its trials have, and failed if none has a value and one failed of something else than its
    parameters.
    """

    def __init__(self, inner: Searcher[Any], repeats: Repeats, objective: Objective) -> None:
        super().__init__(inner)
        self._repeats, self.objective = repeats, objective
        self._tried: dict[int, _Tried] = {}

    def suggest(self, number: int) -> dict[str, Any] | None:
        """Return the parameters for trial ``number``."""
        index = number // self._repeats.seeds
        tried = self._tried.get(index)
        return dict(tried.params) if tried else self._inner.suggest(index)

    def has(self, number: int) -> bool:
        """Return whether there are parameters for trial ``number``."""
        index = number // self._repeats.seeds
        return index in self._tried or self._inner.has(index)

    def first(self, number: int) -> int:
        """Return the first trial of the configuration."""
        return self._repeats.first(number)

    def by(self, number: int) -> str:
        """Return whose suggestion it is."""
        return self._inner.by(number // self._repeats.seeds)

    def observe(self, event: Event) -> None:
        """Pass the event on, as the inner searcher is to see it."""
        if event.type == "sweep.extended":
            for number in event["trials"]:
                self.observe(replace(event, type="trial.retried", fields={"trial": number}))
            event = replace(event, fields={**event.fields, "trials": []})
        if "trial" not in event.fields:
            self._inner.observe(event)
            return
        index = event["trial"] // self._repeats.seeds
        if event.type == "trial.suggested":
            if index not in self._tried:
                self._tried[index] = _Tried(event["params"])
                self._pass_on(event, index)
            return
        tried = self._tried[index]
        if event.type == "segment.reported":
            self._report(tried, event)
        elif event.type == "trial.retried":
            tried.ends.pop(event["trial"], None)
            if tried.reported:
                tried.reported = False
                self._pass_on(event, index)
        elif event.type in _ENDS:
            tried.ends[event["trial"]] = event
            if len(tried.ends) == self._repeats.seeds:
                tried.reported = True
                self._ended(tried, index)

    def _report(self, tried: _Tried, event: Event) -> None:
        trial, value = event["trial"], self.objective.value(event["metrics"])
        if math.isfinite(value):
            best = tried.best.get(trial)
            if best is None or self.objective.loss(value) < self.objective.loss(best):
                tried.best[trial] = value
            tried.progress[trial] = max(event.progress, tried.progress.get(trial, 0))

    def _ended(self, tried: _Tried, index: int) -> None:
        ends = [tried.ends[trial] for trial in sorted(tried.ends)]
        counted = [end["trial"] for end in ends if end.type != "trial.failed" and end["trial"] in tried.best]
        if not counted:
            self._pass_on(next((end for end in ends if _failed_otherwise(end)), ends[0]), index)
            return
        values = [tried.best[trial] for trial in counted]
        loss = Configuration(index, counted, values, True).loss(self.objective, self._repeats.rank_by)
        metrics = {self.objective.metric: self.objective.loss(loss)}  # turning the sign twice gives the value
        progress = _mean([tried.progress[trial] for trial in counted], len(ends))
        self._pass_on(replace(ends[0], type="segment.reported"), index, segment=0, progress=progress, metrics=metrics)
        finished = all(end.type == "trial.finished" for end in ends)
        last = replace(ends[0], type="trial.finished" if finished else "trial.stopped")
        self._pass_on(last, index, rule="", why={}, progress=progress)

    def _pass_on(self, event: Event, index: int, **fields: Any) -> None:
        self._inner.observe(replace(event, fields={**event.fields, "trial": index, **fields}))


def _failed_otherwise(end: Event) -> bool:
    return end.type == "trial.failed" and not str(end.fields.get("reason", "")).startswith("infeasible")


def _mean(progress: list[float], trials: int) -> float:
    """Return the mean over so many trials, rounded down to an int of at least 1 if all are whole."""
    if all(isinstance(reached, int) for reached in progress):
        return max(1, int(sum(progress)) // trials)
    return sum(progress) / trials
