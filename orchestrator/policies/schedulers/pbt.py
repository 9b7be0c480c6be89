"""Population based training (PBT)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from orchestrator.policies.population import PopulationOptions, PopulationScheduler
from orchestrator.spec import SweepSpec


class PBT(PopulationOptions):
    """Population based training: the worst trials take over the best ones' weights, with changed parameters.

    The population is the budget's trials. Parameters that shape the network cannot change on the way: leave them out of
    ``mutate``.

    Example:
        ```python
        scheduler = orchestrator.PBT(interval=2, mutate=["model.learning_rate"])
        ```
    """

    name: Literal["pbt"] = "pbt"
    resample: float = Field(
        default=0.25, ge=0, le=1, description="How often a parameter is drawn again rather than changed by a fifth.",
        examples=[0.25],
    )  # fmt: skip


class PBTScheduler(PopulationScheduler[PBT]):
    """Change parameters at random, as the paper does."""

    exact = True

    def __init__(self, options: PBT, spec: SweepSpec) -> None:
        super().__init__(options, spec, resample=options.resample)
