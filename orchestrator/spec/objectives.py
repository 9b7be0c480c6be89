"""Constraints on metrics, and checks of a sweep with several objectives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field, model_validator

from orchestrator.errors import Problem
from orchestrator.spec.parts import Part, sealed
from orchestrator.spec.policy_options import plugin_of

if TYPE_CHECKING:
    from orchestrator.spec.sweep_spec import SweepSpec


def _unsealed(metric: str) -> str:
    if sealed(metric):
        raise ValueError(f"the test set is sealed until a winner is confirmed, so {metric!r} cannot be a constraint")
    return metric


class Constraint(Part):
    """A bound on a metric other than the objective. An epoch that violates it does not count."""

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
            raise ValueError(f"a bound on {self.metric} needs max, min or both")
        if self.max is not None and self.min is not None and self.min > self.max:
            raise ValueError(f"`min <= max` must hold, but got min={self.min:g} and max={self.max:g}")
        return self


FOR_SEVERAL: dict[str, str] = {"searcher": "optuna.samplers.TPESampler", "scheduler": "fifo"}
"""The defaults: a scheduler compares the first objective alone, and would stop trials that are best in another."""


def has_several(objective: object) -> bool:
    """Return whether an ``objective`` that is not validated yet names more than one."""
    return bool(objective.get("also") if isinstance(objective, Mapping) else getattr(objective, "also", None))


def objective_problems(spec: SweepSpec) -> Iterator[Problem]:
    """Yield settings that are incompatible with several objectives."""
    if not spec.objective.also:
        return
    if not plugin_of(spec.searcher).several_objectives:
        yield Problem(f"searcher {spec.searcher.name} supports one objective, but `also` has more",
                      "use nsga2, nsga3, random, sobol, or optuna.samplers.TPESampler", ("searcher",))  # fmt: skip
    if spec.repeats.seeds > 1:
        yield Problem("a Pareto front is of single trials, so configurations cannot be repeated",
                      "leave `repeats` out, or `objective.also`", ("repeats",))  # fmt: skip
