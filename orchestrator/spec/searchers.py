"""The searchers that a sweep file may ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from orchestrator.spec.parts import ClassPath, Part, bare_name, plain_mapping, shown


def _sampler_arguments(value: object) -> dict[str, Any]:
    arguments = plain_mapping(value)
    if "seed" in arguments:
        raise ValueError(f"the sweep's own `seed` is passed to the sampler, but got seed={arguments['seed']!r} as well")
    return arguments


def _points(value: object) -> list[dict[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, list | tuple):
        raise ValueError(f"a list of mappings from parameters to values is wanted, but got {shown(value)}")
    return [plain_mapping(point) for point in value]


class Suggesting(Part):
    """What all searchers but the grid share."""

    try_first: Annotated[list[dict[str, Any]], BeforeValidator(_points)] = Field(
        default_factory=list,
        description="Parameters of the first trials, whole or in part; what a point leaves out is drawn at random.",
        examples=[[{"model.learning_rate": 0.001}]],
    )


class RandomSearcher(Suggesting):
    """Draws every trial independently of all others."""

    name: Literal["random"] = "random"


class GridSearcher(Part):
    """Tries every combination once, in a fixed order. Continuous domains need a step."""

    name: Literal["grid"] = "grid"


class SobolSearcher(Suggesting):
    """A scrambled Sobol sequence: random trials that keep out of each other's way. Does not look at results."""

    name: Literal["sobol"] = "sobol"


class ParzenSearcher(Suggesting):
    """Of candidates drawn at random takes the one that has most in common with the good trials, by Parzen densities."""

    name: Literal["parzen"] = "parzen"
    startup_trials: int = Field(
        default=10,
        ge=1,
        description="Trials with a value before the model is used; until then at random.",
        examples=[10],
    )


class TPESearcher(Suggesting):
    """The tree-structured Parzen estimator: draws near what did well so far."""

    name: Literal["tpe"] = "tpe"
    startup_trials: int = Field(
        default=10, ge=1, description="Trials drawn at random before the model is used.", examples=[10]
    )
    multivariate: bool = Field(
        default=True, description="Whether parameters are modelled together rather than one by one.", examples=[True]
    )


class BOHBSearcher(Suggesting):
    """BOHB's model, of the trials that came furthest: for scheduler hyperband."""

    name: Literal["bohb"] = "bohb"


class GPSearcher(Suggesting):
    """Optuna's Gaussian process with expected improvement: for some hundred expensive trials at most."""

    name: Literal["gp"] = "gp"
    startup_trials: int = Field(
        default=10, ge=2, description="Trials that end before the model is used; until then at random.", examples=[10]
    )


class CMAESSearcher(Suggesting):
    """Optuna's CMA-ES: moves a normal distribution towards what did well. For many trials of numeric parameters."""

    name: Literal["cmaes"] = "cmaes"
    population: int | None = Field(
        default=None, ge=4, description="Trials of a generation; 4 + 3 ln(parameters) by default.", examples=[12]
    )


class NSGASearcher(Suggesting):
    """Optuna's NSGA-II or NSGA-III: breeds trials of several objectives, the latter of four or more."""

    name: Literal["nsga2", "nsga3"] = "nsga2"
    population: int = Field(default=8, ge=2, description="Trials of a generation.", examples=[20])


class SamplerSearcher(Suggesting):
    """Any sampler of Optuna's by its import path, made with the sweep's seed."""

    name: Literal["sampler"] = "sampler"
    class_path: ClassPath = Field(
        description="Import path of a subclass of optuna.samplers.BaseSampler.",
        examples=["optuna.samplers.NSGAIISampler"],
    )
    init_args: Annotated[dict[str, Any], BeforeValidator(_sampler_arguments)] = Field(
        default_factory=dict,
        description="Arguments of the class, all but `seed`. One that is itself a class takes the same form.",
        examples=[{"population_size": 20}],
    )


class Spare(Part):
    """A point beside those of a race, and how far it was behind the last of them."""

    point: Annotated[dict[str, Any], BeforeValidator(plain_mapping)] = Field(
        description="Whole parameters.", examples=[{"model.learning_rate": 0.002}]
    )
    behind: float = Field(
        ge=0, allow_inf_nan=False, description="By how much the objective was worse.", examples=[0.01]
    )


class RaceSearcher(Part):
    """Trains given points again and again, each time under a fresh seed, until it is clear which is the best."""

    name: Literal["race"] = "race"
    points: Annotated[list[dict[str, Any]], BeforeValidator(_points)] = Field(
        min_length=1, description="Whole parameters of each.", examples=[[{"model.learning_rate": 0.001}]]
    )
    spares: list[Spare] = Field(
        default_factory=list,
        description="Points that join if they were less far behind than the seeds spread: near-ties.",
    )
    confidence: float = Field(
        default=0.95, gt=0.5, lt=1, description="Probability of being the best with which a point has won.",
        examples=[0.99],
    )  # fmt: skip


def _bare_searcher(value: object) -> object:
    """As for schedulers; and an import path, by itself or as ``class_path``, needs no name."""
    if isinstance(value, str) and "." in value:
        value = {"class_path": value}
    if isinstance(value, Mapping) and "class_path" in value:
        return {"name": "sampler", **value}
    return bare_name(value)


Searcher = Annotated[
    RandomSearcher
    | GridSearcher
    | SobolSearcher
    | ParzenSearcher
    | TPESearcher
    | BOHBSearcher
    | GPSearcher
    | CMAESSearcher
    | NSGASearcher
    | RaceSearcher
    | SamplerSearcher,
    Field(discriminator="name"),
]
BareSearcher = Annotated[Searcher, BeforeValidator(_bare_searcher)]
