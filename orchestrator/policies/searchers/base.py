"""What every searcher is."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from typing import Any

from orchestrator.journal import Event
from orchestrator.seeds import derive_seed
from orchestrator.space import Space


class Searcher(ABC):
    """Proposes parameters. Sees every event in order; draws only from (sweep seed, trial number).

    ``suggest`` changes nothing that a later answer hangs on: only what was journaled counts, so that a resume, which
    sees the events alone, goes on with the same suggestions.
    """

    name: str
    learns = False
    """Whether it looks at results."""
    exhausts = True
    """Whether it suggests nothing more once it has suggested nothing."""

    @abstractmethod
    def suggest(self, number: int) -> dict[str, Any] | None:
        """Parameters for trial ``number``, the next one, or None when there are no more."""

    def has(self, number: int) -> bool:
        """Whether there are parameters for trial ``number``."""
        return True

    def first(self, number: int) -> int:
        """The number of the first trial with the parameters of trial ``number``, which is a known one or the next."""
        return number

    def by(self, number: int) -> str:
        """Whose suggestion for trial ``number`` is, as the journal names it."""
        return self.name

    def observe(self, event: Event) -> None:
        """Take note of what happened."""
        return


def random_draw(space: Space, seed: int, number: int) -> dict[str, Any]:
    """What random search gives trial ``number``. Others begin with the same draws."""
    return space.sample(random.Random(derive_seed(seed, "suggest", number)))
