"""What a searcher's suggestions are held to: no configuration twice, and random draws stratified over choices."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.errors import SpecError
from orchestrator.journal import Event
from orchestrator.policies.scheduler import scheduler_class
from orchestrator.policies.searcher import Searcher, random_draw, searcher_class
from orchestrator.seeds import derive_seed
from orchestrator.space import Choice, Space
from orchestrator.space.domain import same_value
from orchestrator.spec import SweepSpec

RULES = 3
"""The version of these rules, which ``sweep.created`` records as ``suggestion_rules``. Version 0.1.0 had none, and in
version 2 a warm start repeated draws of an earlier sweep with the same seed."""
NO_REPEATS = 2
"""The version from which on no configuration is tried twice."""
_EXACT = 1000
"""Spaces of at most so many configurations are searched completely for one that was not tried."""
_DRAWS = 200


def applies(spec: SweepSpec) -> bool:
    """Return whether a new sweep holds its searcher to these rules.

    A population trains its trials side by side and changes their parameters; a race repeats its points by design.
    """
    repeats = searcher_class(spec.searcher.name).repeats_points
    return not (repeats or scheduler_class(spec.scheduler.name).population)


def distinct_configurations(spec: SweepSpec) -> int | None:
    """Return how many configurations a new sweep can try; None without a bound."""
    return spec.space.size if applies(spec) else None


def distinct_trials(spec: SweepSpec) -> int | None:
    """Return how many trials these are, each configuration under as many seeds as ``repeats`` says."""
    size = distinct_configurations(spec)
    return None if size is None else size * spec.repeats.seeds


def size_notice(spec: SweepSpec) -> str:
    """Return how many configurations there are, and whether they end the sweep; empty without a bound."""
    size, trials, budget = distinct_configurations(spec), distinct_trials(spec), spec.budget.trials
    if size is None:
        return ""
    text = f"the space has {size:,} configuration{'s' if size != 1 else ''}"
    if budget is None or trials is None or budget <= trials:
        return text
    return f"{text}: the sweep ends after {trials:,} trials instead of {budget:,} (`repeats` tries each more often)"


class Distinct(Searcher[Any]):
    """Replace a suggestion that was tried before by the nearest one that was not; end when there is none.

    A plain random draw takes the values of choices in turns, in a random order: every value once before any comes
    again. Points that the user lists under ``try_first`` are taken as they are. With a warm start the searcher draws
    from another seed than the earlier sweeps, which often have this one's.
    """

    def __init__(self, inner: Searcher[Any], spec: SweepSpec) -> None:
        self.name, self.learns, self.exhausts = inner.name, inner.learns, inner.exhausts
        self.space, self.seed = spec.space, spec.seed
        self._inner, self._size = inner, spec.space.size
        self._rules = 1
        self._tried: set[str] = set()
        self._all: dict[str, dict[str, Any]] | None = None

    def suggest(self, number: int) -> dict[str, Any] | None:
        """Return the inner searcher's parameters, or others in their place; None once all have been tried."""
        if self._rules < NO_REPEATS:
            return self._inner.suggest(number)
        listed = self._inner.by(number) == "try_first"
        if self._exhausted and not listed:
            return None
        params = self._inner.suggest(number)
        if params is None or listed:
            return params
        if params == random_draw(self.space, self.seed, number):
            params = stratified_draw(self.space, self.seed, number)
        return self._nearest(params, number) if self._key(params) in self._tried else params

    def has(self, number: int) -> bool:
        """Return whether there are parameters for trial ``number``."""
        if self._rules >= NO_REPEATS and self._exhausted and self._inner.by(number) != "try_first":
            return False
        return self._inner.has(number)

    def first(self, number: int) -> int:
        """Return the first trial with the parameters of trial ``number``."""
        return self._inner.first(number)

    def by(self, number: int) -> str:
        """Return whose suggestion it is."""
        return self._inner.by(number)

    def observe(self, event: Event) -> None:
        """Take note of an event, and pass it on."""
        if event.type == "sweep.created":
            self._rules = event.fields.get("suggestion_rules", 1)
        elif event.type == "sweep.warmed" and not self.learns:
            self._tried.update(self._key(trial["params"]) for trial in event["trials"])
        elif event.type == "sweep.warmed" and self._rules >= RULES:
            self.reseed(derive_seed(self.seed, "warm start", len(event["trials"])))
        elif event.type == "trial.suggested":
            self._tried.add(self._key(event["params"]))
        self._inner.observe(event)

    def reseed(self, seed: int) -> None:
        """Draw from another seed from now on."""
        self.seed = seed
        self._inner.reseed(seed)

    @property
    def end(self) -> str:
        """Why nothing more is suggested."""
        if self._rules >= NO_REPEATS and self._exhausted:
            return f"all {self._size:,} configurations of the space were tried" if self._size != 1 else (
                "the space has one configuration, which was tried"
            )  # fmt: skip
        return self._inner.end

    @property
    def _exhausted(self) -> bool:
        return self._size is not None and len(self._tried) >= self._size

    def _key(self, params: Mapping[str, Any]) -> str:
        """Return a text that is equal for equal configurations."""
        return same_value({
            name: self.space[name].canonical(value) if self.space[name].size is not None else value
            for name, value in params.items()
        })  # fmt: skip

    def _nearest(self, params: dict[str, Any], number: int) -> dict[str, Any]:
        """Return the untried configuration that differs least from ``params``, ties by their order."""
        nearest = min(self._untried(number), key=lambda point: _difference(self.space, params, point), default=None)
        return dict(params if nearest is None else nearest)

    def _untried(self, number: int) -> Iterator[dict[str, Any]]:
        """Yield all untried configurations of a small space; some of a large one."""
        if self._size is not None and self._size <= _EXACT:
            if self._all is None:
                self._all = {self._key(point): point for point in self.space.grid()}
            yield from (point for key, point in self._all.items() if key not in self._tried)
            return
        seed = derive_seed(self.seed, "distinct", number)
        drawn = [random_draw(self.space, seed, draw) for draw in range(_DRAWS)]
        untried = [point for point in drawn if self._key(point) not in self._tried]
        if not untried and self._size is not None:
            untried = next(([point] for point in _grid(self.space) if self._key(point) not in self._tried), [])
        yield from untried


def stratified_draw(space: Space, seed: int, number: int) -> dict[str, Any]:
    """Return the random draw of a number, with the values of choices in turns.

    A choice of n values has each of them once in the draws 0 to n - 1, once in n to 2n - 1, and so on, each time in
    another random order.
    """
    rng = random.Random(derive_seed(seed, "suggest", number))
    params: dict[str, Any] = {}
    for name in space.order:
        if space.active(params, name):
            domain = space[name]
            drawn = domain.sample(rng)  # for a choice, too: the other parameters keep their draws
            params[name] = _in_turn(domain, seed, name, number) if isinstance(domain, Choice) else drawn
    return params


def _in_turn(domain: Choice, seed: int, name: str, number: int) -> Any:
    turn, place = divmod(number, domain.size)
    rng = random.Random(derive_seed(seed, "turn", name, turn))
    order = [rng.random() for _ in range(domain.size)]
    return domain.at(sorted(range(domain.size), key=order.__getitem__)[place])


def _difference(space: Space, one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """Return how much two configurations differ: at most 1 for each parameter, and 1 for one that either lacks."""
    total = 0.0
    for name in space.order:
        if (name in one) != (name in other):
            total += 1.0
        elif name in one:
            total += _distance(space[name], one[name], other[name])
    return total


def _distance(domain: Any, one: Any, other: Any) -> float:
    if isinstance(domain, Choice):
        return float(same_value(one) != same_value(other))
    return abs(float(domain.coordinate(one)) - float(domain.coordinate(other)))


def _grid(space: Space) -> Iterator[dict[str, Any]]:
    try:
        yield from space.grid()
    except SpecError:  # a domain has too many values to be listed
        return
