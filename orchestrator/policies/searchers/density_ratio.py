"""Search by the ratio of two densities: that of the good trials' parameters over that of the others'."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from orchestrator.policies.parzen_search import ParzenOptions, ParzenSearch


class DensityRatio(ParzenOptions):
    """Of candidates drawn at random takes the one that has most in common with the good trials, by Parzen densities.

    Example:
        ```python
        searcher = orchestrator.DensityRatio()
        ```
    """

    name: Literal["density_ratio"] = "density_ratio"


class DensityRatioSearcher(ParzenSearch[DensityRatio]):
    """Search with the best tenth of the trials, 25 at most, as the good ones: the shares of Optuna's TPE."""

    version = 2
    changes: ClassVar[Mapping[int, str]] = {
        2: "Parameters that are too large for the memory are avoided, once one trial has run out of it",
    }
    avoids_unfit = True
    good_share = 0.1
    most_good = 25
