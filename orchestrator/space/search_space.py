"""The search space: hyperparameter names, their domains, and the conditions between them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import cached_property

from orchestrator.errors import Problem, SpecError
from orchestrator.space.domain import Coordinate, Domain, KeyProblem, Value, refuse, same_value
from orchestrator.space.syntax import from_yaml

SPACE_LIMIT = 300
"""The most parameters of a space."""
CASE_LIMIT = 20_000
"""The most steps in counting a grid: one for each combination of the values on which conditions depend."""
_CASES_HINT = "give the parameters that `when` names fewer values, or use searcher random or tpe"


class Space(Mapping[str, Domain]):
    """An immutable mapping of names to domains, in the order written. Raises SpecError with every problem.

    A parameter whose ``when`` does not hold is inactive: it is absent from the parameters, as are those that depend on
    it.
    """

    def __init__(self, domains: Mapping[str, object] | None = None) -> None:
        parsed, problems = parse(domains or {})
        if problems:
            raise SpecError(problems)
        self._domains = parsed

    def __getitem__(self, name: str) -> Domain:
        return self._domains[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._domains)

    def __len__(self) -> int:
        return len(self._domains)

    def __repr__(self) -> str:
        return f"Space({self.to_yaml()!r})"

    def __hash__(self) -> int:
        return hash(tuple(self._domains.items()))

    @cached_property
    def order(self) -> tuple[str, ...]:
        """The names in the order written, but each after those on which its ``when`` depends."""
        return _sorted(self._domains)

    @cached_property
    def _in_conditions(self) -> frozenset[str]:
        return frozenset(parent for domain in self.values() for parent in domain.when)

    def active(self, params: Mapping[str, Value], name: str) -> bool:
        """Return whether ``name`` exists, given the values of the parameters before it in ``order``."""
        return all(
            parent in params and same_value(params[parent]) in map(same_value, values)
            for parent, values in self[name].when.items()
        )

    def sample(self, rng: random.Random) -> dict[str, Value]:
        """Return one configuration, drawn independently of any other. Inactive parameters are absent."""
        params: dict[str, Value] = {}
        for name in self.order:
            if self.active(params, name):
                params[name] = self[name].sample(rng)
        return params

    def at(self, point: Sequence[float]) -> dict[str, Value]:
        """Return the configuration at a point of the unit cube, which has one coordinate for each name in ``order``.

        It is what `sample` returns if it draws these numbers. Inactive parameters have a coordinate, too.
        """
        params: dict[str, Value] = {}
        for name, place in zip(self.order, point, strict=True):
            if self.active(params, name):
                params[name] = self[name].sample(Coordinate(place))
        return params

    def contains(self, params: Mapping[str, Value]) -> bool:
        """Return whether `sample` could have returned ``params``: all active names and no other, each value valid."""
        expected = {name for name in self.order if self.active(params, name)}
        return expected == set(params) and all(self[name].contains(value) for name, value in params.items())

    def grid(self) -> Iterator[dict[str, Value]]:
        """Yield every configuration once, the last name in ``order`` varying fastest.

        Raises SpecError if a domain has no grid.
        """
        grids = self._grids()

        def extend(params: dict[str, Value], names: tuple[str, ...]) -> Iterator[dict[str, Value]]:
            if not names:
                yield dict(params)
            elif not self.active(params, names[0]):
                yield from extend(params, names[1:])
            else:
                for value in grids[names[0]]:
                    yield from extend(params | {names[0]: value}, names[1:])

        return extend({}, self.order)

    @property
    def grid_size(self) -> int:
        """The number of configurations in `grid`, without iterating over them.

        Raises SpecError if the conditions have more than `CASE_LIMIT` cases.
        """
        self._grids()
        return self._count()

    @cached_property
    def size(self) -> int | None:
        """The number of configurations; None if a domain is continuous, or the conditions have too many cases."""
        if any(domain.size is None for domain in self.values()):
            return None
        try:
            return self._count()
        except SpecError:
            return None

    def _count(self) -> int:
        cases = itertools.count()

        def count(params: dict[str, Value], names: tuple[str, ...]) -> int:
            if not names:
                return 1
            if next(cases) > CASE_LIMIT:
                refuse("the conditions (`when`) have too many cases for a grid", hint=_CASES_HINT)
            if not self.active(params, names[0]):
                return count(params, names[1:])
            domain = self[names[0]]
            if names[0] not in self._in_conditions:
                return (domain.size or 0) * count(params, names[1:])
            values = (domain.at(index) for index in range(domain.size or 0))
            return sum(count(params | {names[0]: value}, names[1:]) for value in values)

        return count({}, self.order)

    def _grids(self) -> dict[str, list[Value]]:
        grids, problems = {}, []
        for name in self.order:
            try:
                grids[name] = self[name].grid()
            except SpecError as error:
                problems += _under(name, error)
        if problems:
            raise SpecError(problems)
        return grids

    def to_yaml(self) -> dict[str, Value]:
        """Return the space as it is written under ``space:`` in a sweep file."""
        return {name: domain.to_yaml() for name, domain in self.items()}


def parse(content: Mapping[str, object]) -> tuple[dict[str, Domain], list[Problem]]:
    """Return the domains of a space and every problem, with paths that start at the parameter's name."""
    domains: dict[str, Domain] = {}
    problems: list[Problem] = []
    if len(content) > SPACE_LIMIT:
        message = f"a space has at most {SPACE_LIMIT} parameters, but got {len(content):,}"
        return domains, [Problem(message, "leave out what will hardly matter, or set it under init_args")]
    for name, text in content.items():
        try:
            domains[name] = from_yaml(text)
        except SpecError as error:
            problems += _under(name, error)
    for name, domain in domains.items():
        problems += _condition_problems(name, domain, domains, names=content)
    if not problems:
        try:
            _sorted(domains)
        except SpecError as error:
            problems += error.problems
    return domains, problems


def _under(name: str, error: SpecError) -> list[Problem]:
    return [replace(p, message=f"{name}: {p.message}", path=(name, *p.path)) for p in error.problems]


def _condition_problems(
    name: str, domain: Domain, domains: Mapping[str, Domain], *, names: Mapping[str, object]
) -> Iterator[Problem]:
    for parent, values in domain.when.items():
        path = (name, "when", str(parent))
        if parent not in names:
            close = get_close_matches(str(parent), list(names), n=1)
            hint = f"did you mean {close[0]}?" if close else "`when` names another parameter of this space"
            yield KeyProblem(f"{name}: `when` names an unknown parameter, {parent!r}", hint, path)
        elif parent in domains:
            for value in values:
                if not domains[parent].contains(value):
                    text = f"{name}: `when` requires {parent} to be {value!r}, which is outside its domain"
                    yield Problem(text, f"{parent} is {domains[parent].to_yaml()!r}", path)


def _sorted(domains: Mapping[str, Domain]) -> tuple[str, ...]:
    """Return each name after those on which it depends, else as written. Raises SpecError for a cycle."""
    placed: dict[str, None] = {}
    waiting = list(domains)
    while waiting:
        next_name = next((name for name in waiting if all(parent in placed for parent in domains[name].when)), None)
        if next_name is None:
            circle = _circle(domains, waiting)
            message = f"`when` runs in a circle: {' -> '.join([*circle, circle[0]])}"
            raise SpecError([KeyProblem(message, "take one of these conditions away", (circle[0], "when"))])
        placed[next_name] = None
        waiting.remove(next_name)
    return tuple(placed)


def _circle(domains: Mapping[str, Domain], waiting: list[str]) -> list[str]:
    path = [waiting[0]]
    while True:
        following = next(parent for parent in domains[path[-1]].when if parent in waiting)
        if following in path:
            return path[path.index(following) :]
        path.append(following)
