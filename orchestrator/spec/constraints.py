"""What a trial must keep to, to win."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from orchestrator.spec.parts import Part, sealed


def _unsealed(metric: str) -> str:
    if sealed(metric):
        raise ValueError(f"the test set is sealed until a winner is confirmed, so {metric!r} cannot be a constraint")
    return metric


class Constraint(Part):
    """A bound on a metric, beside the objective. An epoch that breaks it does not count."""

    metric: Annotated[str, AfterValidator(_unsealed)] = Field(
        min_length=1, description="Name of a metric that the module logs in validation.", examples=["val_loss"]
    )
    max: float | None = Field(default=None, allow_inf_nan=False, description="The most that it may be.", examples=[0.7])
    min: float | None = Field(
        default=None, allow_inf_nan=False, description="The least that it may be.", examples=[0.1]
    )

    @model_validator(mode="after")
    def _bounds(self) -> Constraint:
        if self.max is None and self.min is None:
            raise ValueError(f"a bound on {self.metric} is wanted: max, min or both")
        if self.max is not None and self.min is not None and self.min > self.max:
            raise ValueError(f"`min <= max` must hold, but got min={self.min:g} and max={self.max:g}")
        return self
