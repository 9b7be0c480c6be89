"""How often configurations train: repeats in the search, and the finals that confirm the best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from orchestrator.errors import UsageError
from orchestrator.spec.parts import Part


class Repeats(Part):
    """Each configuration under several seeds, and how these are ranked together. A bare number of seeds will do."""

    seeds: int = Field(
        default=1, ge=1, le=1000, description="Trials of each configuration, each with a seed of its own.", examples=[3]
    )
    rank_by: Literal["mean", "lower_bound"] = Field(
        default="mean",
        description="What configurations are ranked by: the mean of their trials' best values, or that mean less one "
        "standard error (more, where less is better).",
        examples=["lower_bound"],
    )

    def first(self, trial: int) -> int:
        """Return the number of the first trial of a trial's configuration."""
        return trial - trial % self.seeds


def _seeds_only(value: object) -> object:
    return {"seeds": value} if isinstance(value, int) and not isinstance(value, bool) else value


BareRepeats = Annotated[Repeats, BeforeValidator(_seeds_only)]


def seeds_written(value: Any) -> int:
    """Return the number of seeds in a spec that is not validated yet; 1 if it is invalid."""
    seeds = value.get("seeds", 1) if isinstance(value, Mapping) else getattr(value, "seeds", value)
    return seeds if isinstance(seeds, int) and seeds > 0 else 1


class Finalists(Part):
    """The best configurations train again in full, under fresh seeds, until the winner is clear.

    Example:
        ```python
        finalists = orchestrator.Finalists(top=3, trials=15)
        ```
    """

    top: int = Field(
        default=3, ge=1, le=100, description="How many take part; near-ties with the last come on top.", examples=[5]
    )
    trials: int = Field(default=15, ge=3, description="How many trainings they have together, at most.", examples=[30])
    confidence: float = Field(
        default=0.95, gt=0.5, lt=1, description="Probability of being the best with which one has won.", examples=[0.99]
    )  # fmt: skip


def finalists(written: Mapping[str, Any]) -> Finalists:
    """Return the finalists that a command's options describe. Raises UsageError if a value is out of range."""
    try:
        return Finalists.model_validate(written)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"--{first['loc'][0]} {first['input']}: {first['msg'].lower()}") from None


def _top_only(value: object) -> object:
    return {"top": value} if isinstance(value, int) and not isinstance(value, bool) else value


BareFinalists = Annotated[Finalists, BeforeValidator(_top_only)]
