"""The schedulers that a sweep file may ask for."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from orchestrator.spec.parts import Part, bare_name


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


Scheduler = Annotated[FIFOScheduler | ASHAScheduler | FrontierScheduler, Field(discriminator="name")]
BareScheduler = Annotated[Scheduler, BeforeValidator(bare_name)]
