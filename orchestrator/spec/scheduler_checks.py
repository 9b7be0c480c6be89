"""Whether a scheduler can do its work in a sweep: what it needs of the trainer, the budget and the space."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from orchestrator.errors import Problem
from orchestrator.space import Choice, Const, Space
from orchestrator.space.ranges import Int
from orchestrator.spec.schedulers import HyperbandScheduler, PB2Scheduler, PBTScheduler

if TYPE_CHECKING:
    from orchestrator.spec.sweep_spec import SweepSpec


def mutable(space: Space) -> list[str]:
    """What population based training may change unless told otherwise: fractional numbers.

    Whole numbers and choices mostly shape the network or the batches, and weights are passed on.
    """
    return [name for name, domain in space.items() if not isinstance(domain, Int | Choice | Const) and domain.size != 1]


def scheduler_problems(spec: SweepSpec) -> Iterator[Problem]:
    """What the spec's scheduler lacks."""
    scheduler, max_epochs = spec.scheduler, spec.trainer.get("max_epochs")
    if isinstance(scheduler, HyperbandScheduler):
        if max_epochs is None:
            yield Problem("scheduler hyperband needs trainer.max_epochs: its rungs are shares of it",
                          "give trainer.max_epochs, or use scheduler asha", ("scheduler",))  # fmt: skip
        elif scheduler.grace_epochs > max_epochs:
            yield Problem(f"grace_epochs is {scheduler.grace_epochs}, beyond trainer.max_epochs = {max_epochs}",
                          "so no trials would be compared", ("scheduler", "grace_epochs"))  # fmt: skip
    elif isinstance(scheduler, PBTScheduler | PB2Scheduler):
        yield from _population_problems(spec, scheduler, max_epochs)


def _population_problems(spec: SweepSpec, scheduler: PBTScheduler | PB2Scheduler, max_epochs: Any) -> Iterator[Problem]:
    name = scheduler.name
    if spec.budget.trials is None:
        yield Problem(f"scheduler {name} needs budget.trials: they are its population",
                      "say how many train side by side, e.g. budget: {trials: 16}", ("budget",))  # fmt: skip
    if max_epochs is None:
        yield Problem(f"scheduler {name} needs trainer.max_epochs", "give trainer.max_epochs", ("scheduler",))
    elif scheduler.interval_epochs and scheduler.interval_epochs >= max_epochs:
        yield Problem(f"interval_epochs is {scheduler.interval_epochs}, not below trainer.max_epochs = {max_epochs}",
                      "so no trials would be compared", ("scheduler", "interval_epochs"))  # fmt: skip
    if spec.repeats.seeds > 1:
        yield Problem(f"scheduler {name} changes parameters on the way, so there is no configuration to repeat",
                      "leave `repeats` out, or use scheduler asha", ("repeats",))  # fmt: skip
    every = spec.trainer.get("check_val_every_n_epoch") or 1
    if isinstance(every, int) and (scheduler.interval_epochs or every) % every:
        yield Problem(f"interval_epochs is {scheduler.interval_epochs}, but trials report every {every} epochs",
                      f"make it a multiple of {every}", ("scheduler", "interval_epochs"))  # fmt: skip
    for index, parameter in enumerate(scheduler.mutate or ()):
        if parameter not in spec.space:
            close = get_close_matches(parameter, list(spec.space), n=1)
            hint = f"did you mean {close[0]}?" if close else f"known here: {', '.join(spec.space) or 'none'}"
            yield Problem(f"mutate: {parameter} is not a parameter of the space", hint, ("scheduler", "mutate", index))
    if not (mutable(spec.space) if scheduler.mutate is None else scheduler.mutate):
        yield Problem(f"scheduler {name} has nothing to change: the space has no fractional number",
                      "name what it may change under `mutate`; the weights are passed on, so not what shapes the "
                      "network", ("scheduler",))  # fmt: skip
