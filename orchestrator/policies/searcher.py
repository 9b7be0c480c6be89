"""The base class of searchers: which parameters the next trial gets.

A searcher is two classes in one file: its options, which a sweep file or Python writes, and the searcher, which the
registry finds (see `orchestrator.registry`). ``Searcher[Corners]`` ties them: it sets the class attributes ``Options``
and ``name``::

    class Corners(TryFirstOptions):
        '''Draws each number from one end of its domain.'''

        name: Literal["corners"] = "corners"
        share: float = Field(default=0.5, ge=0, le=1, description="How often the upper end.", examples=[0.5])


    class CornersSearcher(Searcher[Corners]):
        '''Draws each trial on its own.'''

        def suggest(self, number: int) -> dict[str, Any] | None:
            rng = random.Random(derive_seed(self.seed, "corners", number))
            return self.space.at([float(rng.random() < self.options.share) * 0.999 for _ in self.space])

In Python, ``Sweep(..., searcher=Corners(share=0.3))``; in a sweep file, ``searcher: {name: corners, share: 0.3}``.
Options derived from TryFirstOptions take ``try_first``, which needs no code here; SearcherOptions are those without.

A searcher must be a pure function of the events that `observe` receives, of its options, the spec, and the trial's
number: no clock, no global random state, no file. Draw from ``random.Random(derive_seed(self.seed, "…", number))``.
`suggest` must not change what a later answer depends on: a resumed sweep sees the events alone.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, cast

from typing_extensions import TypeVar

from orchestrator import registry
from orchestrator.journal import Event
from orchestrator.policies.plugin import PolicyPlugin, recorded_plugin
from orchestrator.seeds import derive_seed
from orchestrator.space import Space
from orchestrator.spec import SearcherOptions, SweepSpec
from orchestrator.state import Objective

OptionsT = TypeVar("OptionsT", bound=SearcherOptions, default=Any)


@dataclass(frozen=True)
class Suggestion:
    """A suggestion that is to be explained.

    Attributes:
        by: what `Searcher.by` returned for it.
        trial: the trial's number.
        seen: how many configurations came before it, those of a warm start included.

    Example:
        ```python
        suggestion = orchestrator.Suggestion(by="tpe", trial=12, seen=12)
        ```
    """

    by: str
    trial: int
    seen: int

    @property
    def trials_before(self) -> str:
        """The trials before it, in words."""
        return f"the {self.trial} trials before it" if self.trial > 1 else "the trial before it"


class Searcher(PolicyPlugin[OptionsT], Generic[OptionsT]):
    """Propose parameters. A subclass must define `suggest`, and may define any other method below.

    Attributes:
        space: the parameters and their domains.
        seed: the sweep's seed.
        objective: what trials are judged by; ``objective.losses(metrics)`` turns signs so that lower is better. If
            configurations are tried under several seeds, a trial is a configuration here, and has no constraints.

    Example:
        ```python
        from typing import Any, Literal

        class Middle(orchestrator.SearcherOptions):
            name: Literal["middle"] = "middle"

        class MiddleSearcher(orchestrator.Searcher[Middle]):
            def suggest(self, number: int) -> dict[str, Any] | None:
                return {"model.learning_rate": 0.01} if number == 0 else None
        ```
    """

    options_base = SearcherOptions
    learns: bool = False
    """Whether it uses results, and so can start from those of earlier sweeps."""
    exhausts: bool = True
    """Whether it suggests nothing more once it has suggested nothing."""
    several_objectives: ClassVar[bool] = True
    """Whether it can be used with ``objective.also``."""
    ends_by_itself: ClassVar[bool] = False
    """Whether it has a last suggestion, so that a sweep needs no budget."""
    repeats_points: ClassVar[bool] = False
    """Whether it suggests a configuration again on purpose. Otherwise one that was tried is replaced by the nearest
    that was not."""
    spec_defaults: ClassVar[Mapping[str, Any]] = {}
    """Sections of the spec that have another default with this searcher."""
    class_base: ClassVar[str] = ""
    """Import path of the class that the options' ``class_path`` must be derived from: its arguments are checked."""

    def __init__(self, options: OptionsT, spec: SweepSpec) -> None:
        self.options, self.space, self.seed = options, spec.space, spec.seed
        self.objective = objective_of(spec)
        if spec.repeats.seeds > 1:  # it is shown whole configurations, which have kept to the constraints
            self.objective = Objective(self.objective.metric, self.objective.mode)

    @classmethod
    def build(cls, options: OptionsT, spec: SweepSpec) -> Searcher[OptionsT]:
        """Return a searcher that has observed nothing yet."""
        return cls(options, spec)

    @classmethod
    def most_trials(cls, options: OptionsT, spec: SweepSpec) -> int | None:
        """Return how many trials it can suggest in all; None without a bound."""
        return None

    @classmethod
    def explain(cls, options: OptionsT, suggestion: Suggestion) -> str:
        """Say in words how a suggestion came about, as the end of a sentence."""
        return f"proposed by {suggestion.by}"

    @abstractmethod
    def suggest(self, number: int) -> dict[str, Any] | None:
        """Return the parameters for trial ``number``, the next one; None if there are no more."""

    def has(self, number: int) -> bool:
        """Return whether there are parameters for trial ``number``, the next one."""
        return True

    def first(self, number: int) -> int:
        """Return the first trial with the parameters of trial ``number``, which exists or is the next."""
        return number

    def by(self, number: int) -> str:
        """Return whose suggestion for trial ``number`` is, as the journal records it."""
        return self.name

    @property
    def end(self) -> str:
        """Why nothing more is suggested, for the reason that a completed sweep gives; empty for no special reason."""
        return ""

    def observe(self, event: Event) -> None:
        """Take note of an event of the journal. The searcher sees every event once, in order."""
        return

    def reseed(self, seed: int) -> None:
        """Draw from another seed from now on: a warm start calls it, since earlier sweeps often have the same one."""
        self.seed = seed


def random_draw(space: Space, seed: int, number: int) -> dict[str, Any]:
    """Return what random search suggests for trial ``number``. Other searchers begin with the same draws."""
    return space.sample(random.Random(derive_seed(seed, "suggest", number)))


def objective_of(spec: SweepSpec) -> Objective:
    """Return the spec's objective, with its constraints and further objectives."""
    return Objective.from_spec(spec.model_dump(include={"objective", "constraints"}))


def searcher_class(name: str) -> type[Searcher[Any]]:
    """Return a registered searcher. Raises UsageError if there is none of that name, or it cannot be used."""
    return cast(type[Searcher[Any]], registry.load("searchers", name))


def foreign_searcher(spec: SweepSpec) -> str:
    """Return the import path of a class that the spec's searcher imports from outside its library; else empty."""
    return searcher_class(spec.searcher.name).foreign_class(spec.searcher)


def trial_limit(spec: SweepSpec) -> int | None:
    """Return how many trials the spec's searcher and budget allow; None without a bound."""
    limits = [spec.budget.trials, searcher_class(spec.searcher.name).most_trials(spec.searcher, spec)]
    return min((limit for limit in limits if limit is not None), default=None)


def recorded_searcher(written: Mapping[str, Any]) -> tuple[type[Searcher[Any]], Any] | None:
    """Return the searcher and its options as a journal's spec has them; None if the plug-in is not usable here."""
    return recorded_plugin("searchers", written)
