"""Whether a sweep can have several objectives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from orchestrator.errors import Problem
from orchestrator.spec.policy_options import plugin_of

if TYPE_CHECKING:
    from orchestrator.spec.sweep_spec import SweepSpec

FOR_SEVERAL: dict[str, str] = {"searcher": "optuna.samplers.TPESampler", "scheduler": "fifo"}
"""The defaults: a scheduler would go by the first objective alone, and end what is best in another."""


def has_several(objective: object) -> bool:
    """Whether what is written under ``objective`` names more than one, before it is known to be valid."""
    return bool(objective.get("also") if isinstance(objective, Mapping) else getattr(objective, "also", None))


def objective_problems(spec: SweepSpec) -> Iterator[Problem]:
    """What does not go with several objectives, or needs them."""
    if not spec.objective.also:
        return
    if not plugin_of(spec.searcher).several_objectives:
        yield Problem(f"searcher {spec.searcher.name} looks at one objective, but there are more under `also`",
                      "use nsga2, nsga3, random, sobol, or optuna.samplers.TPESampler", ("searcher",))  # fmt: skip
    if spec.repeats.seeds > 1:
        yield Problem("a Pareto front is of single trials, so configurations cannot be repeated",
                      "leave `repeats` out, or `objective.also`", ("repeats",))  # fmt: skip
