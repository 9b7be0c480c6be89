"""How often a configuration is tried."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

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
        """The number of the first trial of a trial's configuration."""
        return trial - trial % self.seeds


def _bare(value: object) -> object:
    return {"seeds": value} if isinstance(value, int) and not isinstance(value, bool) else value


BareRepeats = Annotated[Repeats, BeforeValidator(_bare)]


def seeds_written(value: Any) -> int:
    """The seeds that a spec asks for, before it is known to be valid; 1 where it is not."""
    found = value.get("seeds", 1) if isinstance(value, Mapping) else getattr(value, "seeds", value)
    return found if isinstance(found, int) and found > 0 else 1
