"""The schedulers that a sweep file may ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from orchestrator.spec.parts import Arguments, ClassPath, Part, bare_name


class FIFOScheduler(Part):
    """Every trial runs to its end."""

    name: Literal["fifo"] = "fifo"


class ASHAScheduler(Part):
    """Asynchronous successive halving: at each rung only the best 1/reduction_factor of the trials go on."""

    name: Literal["asha"] = "asha"
    grace_epochs: int = Field(
        default=1, ge=1, description="Epochs that every trial gets: the first rung.", examples=[1]
    )
    reduction_factor: int = Field(
        default=3, ge=2, description="Ratio from rung to rung, in epochs and in surviving trials.", examples=[3]
    )
    promote: bool = Field(
        default=False,
        description="Whether a trial that is not among the best is set aside, to be promoted from its checkpoint once "
        "it is, rather than stopped.",
        examples=[True],
    )


class FrontierScheduler(Part):
    """Sets trials aside at every rung, and spends half of the epochs on the most promising and half on new ones.

    A rung is acted on only as far as it is seen to predict the end of the training.
    """

    name: Literal["frontier"] = "frontier"
    grace_epochs: int = Field(default=1, ge=1, description="Epochs at the first rung.", examples=[1])
    reduction_factor: int = Field(default=4, ge=2, description="Ratio from rung to rung, in epochs.", examples=[4])


class HyperbandScheduler(Part):
    """Successive halving in brackets that differ in how early they compare; with searcher bohb, BOHB."""

    name: Literal["hyperband"] = "hyperband"
    grace_epochs: int = Field(
        default=1, ge=1, description="Epochs before the first rung, at least, in any bracket.", examples=[1]
    )
    reduction_factor: int = Field(
        default=3, ge=2, description="Ratio from rung to rung, in epochs and in surviving trials.", examples=[3]
    )


class MedianScheduler(Part):
    """Stops a trial whose best is worse than the median of the other trials' means so far."""

    name: Literal["median"] = "median"
    grace_epochs: int = Field(default=1, ge=1, description="Epochs that every trial gets.", examples=[3])
    min_trials: int = Field(
        default=3, ge=1, description="Other trials that must have come as far before one is stopped.", examples=[3]
    )


class PatienceScheduler(Part):
    """Stops a trial that no longer improves, whatever the others do."""

    name: Literal["patience"] = "patience"
    epochs: int = Field(default=5, ge=1, description="Epochs without improvement after which it ends.", examples=[5])
    min_delta: float = Field(
        default=0.0, ge=0, description="How much better than before counts as an improvement.", examples=[0.001]
    )


class PBTScheduler(Part):
    """Population based training: the worst trials take over the best ones' weights, with changed parameters.

    The population is the budget's trials. Parameters that shape the network cannot change on the way: leave them out of
    ``mutate``.
    """

    name: Literal["pbt"] = "pbt"
    interval_epochs: int | None = Field(
        default=None, ge=1, description="Epochs between comparisons; by default a tenth of the training.", examples=[2]
    )
    quantile: float = Field(
        default=0.25, gt=0, le=0.5, description="The share that takes over, and the share that is taken from.",
        examples=[0.25],
    )  # fmt: skip
    resample: float = Field(
        default=0.25, ge=0, le=1, description="How often a parameter is drawn anew rather than changed by a fifth.",
        examples=[0.25],
    )  # fmt: skip
    mutate: list[str] | None = Field(
        default=None, description="The parameters that may change; by default all fractional numbers.",
        examples=[["model.learning_rate"]],
    )  # fmt: skip


class PB2Scheduler(Part):
    """Population based bandits: as pbt, with the numbers chosen by a Gaussian process of what made trials improve."""

    name: Literal["pb2"] = "pb2"
    interval_epochs: int | None = Field(
        default=None, ge=1, description="Epochs between comparisons; by default a tenth of the training.", examples=[2]
    )
    quantile: float = Field(
        default=0.25, gt=0, le=0.5, description="The share that takes over, and the share that is taken from.",
        examples=[0.25],
    )  # fmt: skip
    mutate: list[str] | None = Field(
        default=None, description="The parameters that may change; by default all fractional numbers.",
        examples=[["model.learning_rate"]],
    )  # fmt: skip


class RayTuneScheduler(Part):
    """A scheduler of Ray Tune's, or of your own, by its import path; one that only lets trials go on or stops them."""

    name: Literal["ray"] = "ray"
    class_path: ClassPath = Field(
        description="Import path of a subclass of ray.tune.schedulers.TrialScheduler.",
        examples=["ray.tune.schedulers.MedianStoppingRule"],
    )
    init_args: Arguments = Field(
        default_factory=dict,
        description="Arguments of the class; metric and mode are the objective's.",
        examples=[{"time_attr": "training_iteration"}],
    )


def _bare(value: object) -> object:
    """An import path, by itself or as ``class_path``, needs no name."""
    if isinstance(value, str) and "." in value:
        value = {"class_path": value}
    if isinstance(value, Mapping) and "class_path" in value:
        return {"name": "ray", **value}
    return bare_name(value)


Scheduler = Annotated[
    FIFOScheduler
    | ASHAScheduler
    | FrontierScheduler
    | HyperbandScheduler
    | MedianScheduler
    | PatienceScheduler
    | PBTScheduler
    | PB2Scheduler
    | RayTuneScheduler,
    Field(discriminator="name"),
]
BareScheduler = Annotated[Scheduler, BeforeValidator(_bare)]
