"""How the best of a search are confirmed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError

from orchestrator.errors import UsageError
from orchestrator.spec.parts import Part


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
