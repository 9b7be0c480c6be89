"""The tree-structured Parzen estimator (TPE)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from orchestrator.policies.density_search import DensitySearcher
from orchestrator.policies.searcher import Suggestion
from orchestrator.spec import SweepSpec, TryFirstOptions


class TPE(TryFirstOptions):
    """The tree-structured Parzen estimator: draws near what did well so far.

    Example:
        ```python
        searcher = orchestrator.TPE(startup_trials=20)
        ```
    """

    name: Literal["tpe"] = "tpe"
    startup_trials: int = Field(
        default=10, ge=1, description="Trials drawn at random before the model is used.", examples=[10]
    )
    multivariate: bool = Field(
        default=True, description="Whether parameters are modelled together rather than one by one.", examples=[True]
    )


class TPESearcher(DensitySearcher[TPE]):
    """Density search with the best tenth of the trials as the good ones."""

    def __init__(self, options: TPE, spec: SweepSpec) -> None:
        super().__init__(options, spec, startup_trials=options.startup_trials, multivariate=options.multivariate)

    @classmethod
    def explain(cls, options: TPE, suggestion: Suggestion) -> str:
        """Say whether it was one of the random first trials or the model's."""
        if suggestion.seen < options.startup_trials:
            return f"one of the {options.startup_trials} drawn at random before TPE has seen enough"
        return f"proposed by TPE from {suggestion.trials_before}"
