"""Any Optuna sampler, by import path."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from orchestrator.policies.optuna_sampler import SamplerSearcher, is_optunas
from orchestrator.policies.search_wrappers import build_searcher
from orchestrator.spec import SweepSpec, TryFirstOptions
from orchestrator.spec.parts import ClassPath, plain_mapping


def _arguments(value: object) -> dict[str, Any]:
    arguments = plain_mapping(value)
    if "seed" in arguments:
        raise ValueError(f"the sweep's own `seed` is passed to the sampler, but got seed={arguments['seed']!r} as well")
    return arguments


class OptunaSampler(TryFirstOptions):
    """Any sampler of Optuna's by its import path, built with the sweep's seed.

    Example:
        ```python
        searcher = orchestrator.OptunaSampler(class_path="optuna.samplers.QMCSampler")
        ```
    """

    name: Literal["sampler"] = "sampler"
    class_path: ClassPath = Field(
        description="Import path of a subclass of optuna.samplers.BaseSampler.",
        examples=["optuna.samplers.NSGAIISampler"],
    )
    init_args: Annotated[dict[str, Any], BeforeValidator(_arguments)] = Field(
        default_factory=dict,
        description="Arguments of the class, all but `seed`. One that is itself a class takes the same form.",
        examples=[{"population_size": 20}],
    )


class OptunaSamplerSearcher(SamplerSearcher[OptunaSampler]):
    """Ask the sampler that the options name."""

    class_base = "optuna.samplers.BaseSampler"

    def __init__(self, options: OptunaSampler, spec: SweepSpec) -> None:
        super().__init__(options, spec, options.class_path, options.init_args)
        self.name = self.label(options)

    @classmethod
    def preflight(cls, options: OptunaSampler, spec: SweepSpec) -> None:
        """Ask for a trial beyond the points to try first: only the class knows which arguments it refuses."""
        build_searcher(spec).suggest(len(options.try_first))

    @classmethod
    def foreign_class(cls, options: OptunaSampler) -> str:
        """Return the class path unless the class and all in its arguments are Optuna's."""
        return "" if is_optunas(options.model_dump()) else options.class_path

    @classmethod
    def label(cls, options: OptunaSampler) -> str:
        """Return the name of Optuna's class."""
        return options.class_path.rsplit(".", 1)[-1]
