"""Check that the points that a spec lists lie in its space."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from orchestrator.errors import Problem
from orchestrator.space import Choice, Const, KeyProblem, Space, Value
from orchestrator.space.domain import same_value


def point_problems(
    space: Space, points: Sequence[Mapping[str, Value]], field: str, *, complete: bool = False
) -> Iterator[Problem]:
    """Yield names that are no parameters, values outside their domains, and inactive parameters.

    Args:
        space: The space in which the points must lie.
        points: Parameters by name.
        field: The searcher's field that holds the points.
        complete: Whether a point must have all active parameters.
    """
    for index, point in enumerate(points):
        for name, value in point.items():
            path = ("searcher", field, index, name)
            if name not in space:
                yield KeyProblem(f"{field}: {name} is not a parameter of the space", _near(name, space), path)
            elif not space[name].contains(value):
                message = f"{field}: {name} = {value!r} is outside its domain"
                yield Problem(message, f"{name} is {space[name].to_yaml()!r}", path)
            else:
                yield from _inactive(space, point, name, path)
        missing = [name for name in space.order if complete and name not in point and space.active(point, name)]
        for name in missing:
            hint = f"{name} is {space[name].to_yaml()!r}"
            yield Problem(f"{field}: a point leaves {name} open", hint, ("searcher", field, index))


def _near(name: str, space: Space) -> str:
    close = get_close_matches(name, list(space), n=1)
    return f"did you mean {close[0]}?" if close else f"known here: {', '.join(space) or 'none'}"


def _inactive(space: Space, point: Mapping[str, Value], name: str, path: tuple[Any, ...]) -> Iterator[Problem]:
    """Yield a parameter whose condition the point does not satisfy, or leaves open."""
    for parent, values in space[name].when.items():
        domain = space[parent]
        settings = {parent: domain.value} if isinstance(domain, Const) else point
        required = " or ".join(repr(value) for value in values)
        if parent not in settings:
            yield KeyProblem(
                f"{path[1]}: {name} exists only where {parent} is {required}, which this point leaves open",
                f"give {parent} as well",
                path,
            )
        elif space[parent].contains(settings[parent]) and same_value(settings[parent]) not in map(same_value, values):
            yield KeyProblem(
                f"{path[1]}: {name} exists only where {parent} is {required}, but here it is {settings[parent]!r}",
                f"leave {name} out of this point",
                path,
            )


def has_numbers(space: Space) -> bool:
    """Return whether any parameter is a number that varies."""
    return any(not isinstance(domain, Choice | Const) and domain.size != 1 for domain in space.values())
