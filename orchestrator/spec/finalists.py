"""How the best of a search are confirmed, and what a race needs of the rest of the spec."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError

from orchestrator.errors import Problem, UsageError
from orchestrator.spec.initial_points import point_problems
from orchestrator.spec.parts import Part
from orchestrator.spec.searchers import RaceSearcher

if TYPE_CHECKING:
    from orchestrator.spec.sweep_spec import SweepSpec


class Finalists(Part):
    """The best configurations train again in full, under fresh seeds, until the winner is clear."""

    top: int = Field(
        default=3, ge=1, le=100, description="How many take part; near-ties with the last come on top.", examples=[5]
    )
    trials: int = Field(default=15, ge=3, description="How many trainings they have together, at most.", examples=[30])
    confidence: float = Field(
        default=0.95, gt=0.5, lt=1, description="Probability of being the best with which one has won.", examples=[0.99]
    )  # fmt: skip


def finalists(written: Mapping[str, Any]) -> Finalists:
    """The finalists as options of a command ask for them. Raises UsageError where one is out of range."""
    try:
        return Finalists.model_validate(written)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"--{first['loc'][0]} {first['input']}: {first['msg'].lower()}") from None


def _bare(value: object) -> object:
    return {"top": value} if isinstance(value, int) and not isinstance(value, bool) else value


BareFinalists = Annotated[Finalists, BeforeValidator(_bare)]


def for_a_race(given: dict[str, Any], searcher: object) -> dict[str, Any]:
    """What is written, with the one scheduler that lets each training of a race come to its end."""
    return {"scheduler": "fifo", **given} if searcher == "race" else given


def race_problems(spec: SweepSpec) -> Iterator[Problem]:
    """What does not go with a race, and points that are not whole."""
    searcher = spec.searcher
    if not isinstance(searcher, RaceSearcher):
        return
    if spec.repeats.seeds > 1:
        yield Problem("a race says itself how often each point trains", "leave `repeats` out", ("repeats",))
    if spec.scheduler.name != "fifo":
        yield Problem("a race compares trainings that have come to their end", "use scheduler fifo", ("scheduler",))
    if spec.objective.also:
        yield Problem("a race is for one objective", "leave `objective.also` out", ("objective", "also"))
    yield from point_problems(spec.space, searcher.points, "points", whole=True)
    yield from point_problems(spec.space, [spare.point for spare in searcher.spares], "spares", whole=True)
