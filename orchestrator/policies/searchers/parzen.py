"""The Parzen search of earlier versions, for their journals: replaced by `density_ratio`."""

from __future__ import annotations

from typing import Literal

from orchestrator.policies.parzen_search import ParzenOptions, ParzenSearch


class Parzen(ParzenOptions):
    """The search of earlier versions; density_ratio replaces it.

    Example:
        ```python
        searcher = orchestrator.Parzen()
        ```
    """

    name: Literal["parzen"] = "parzen"


class ParzenSearcher(ParzenSearch[Parzen]):
    """Search with the best 15 % of the trials, 40 at most, as the good ones."""

    offered = False
    good_share = 0.15
    most_good = 40
