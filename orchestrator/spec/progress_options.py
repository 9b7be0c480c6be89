"""Amounts of progress in a scheduler's options, as plain numbers of the sweep's unit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from orchestrator.errors import Problem, SpecError
from orchestrator.progress import EPOCHS, Amount, amount, whole
from orchestrator.spec.parts import Checkpoints
from orchestrator.spec.policy_options import SchedulerOptions
from orchestrator.spec.progress_section import Progress, in_unit

if TYPE_CHECKING:
    from orchestrator.spec.sweep_spec import SweepSpec

_RUNGS = 3
"""Rungs that the default of ``grace`` leaves before the end, in units other than epochs."""
_WHOLE = frozenset({"steps", "samples"})


def plain_progress(progress: Progress) -> Progress:
    """Return the section with its amounts as plain numbers of its unit. Raises SpecError for another unit's."""
    spans = {"every": progress.every, "until": progress.until}
    plain = {name: in_unit(said, progress.unit, ("progress", name)) for name, said in spans.items() if said is not None}
    return progress.model_copy(update=plain)


def plain_options(options: SchedulerOptions, spec: SweepSpec) -> SchedulerOptions:
    """Return a scheduler's options with plain numbers for amounts, and a number for a ``grace`` that is not said.

    Raises:
        SpecError: An amount names another unit, or nothing says where the first rung could be.
    """
    fields = {name: getattr(options, name) for name in type(options).model_fields}
    plain: dict[str, float] = {
        name: in_unit(said, spec.progress.unit, ("scheduler", name))
        for name, said in fields.items()
        if isinstance(said, Amount)
    }
    if "grace" in fields and fields["grace"] is None:
        plain["grace"] = _default_grace(options, spec)
    return options.model_copy(update=plain) if plain else options


def _default_grace(options: SchedulerOptions, spec: SweepSpec) -> float:
    """Return the first rung of a scheduler that does not say it.

    One epoch where trials train for more. Else ``horizon / reduction_factor^3``, and at least from one report to the
    next.
    """
    unit, horizon, every = spec.progress.unit, spec.horizon, spec.report_span
    if unit == EPOCHS and (horizon is None or horizon > 1):
        return 1
    if horizon is None and every is None:
        raise SpecError([
            Problem(f"scheduler {options.name} needs a first rung: no end of a trial is known in {unit}",
                    f"give scheduler.grace in {unit}, or progress.until", ("scheduler",))
        ])  # fmt: skip
    share = 0.0 if horizon is None else horizon / getattr(options, "reduction_factor", 3) ** _RUNGS
    if unit in _WHOLE:
        share = math.ceil(share)
    return whole(max(float(f"{share:.6g}"), every or 0.0))


def plain_interval(checkpoints: Checkpoints, unit: str) -> Checkpoints:
    """Return the section with its interval as a plain number of the unit. Raises SpecError for another unit's."""
    if not isinstance(checkpoints.every, Amount):
        return checkpoints
    return checkpoints.model_copy(update={"every": in_unit(checkpoints.every, unit, ("checkpoints", "every"))})


def job_saving(spec: SweepSpec) -> dict[str, float] | None:
    """Return how often a segment saves checkpoints between two reports, as ``Job.save_every`` has it."""
    every = spec.checkpoints.every
    if every is None or every == "auto":
        return None if every is None else {}
    return {"seconds": float(amount(every))} if isinstance(every, str) else {"progress": every}


def job_progress(spec: SweepSpec) -> dict[str, float | str]:
    """Return what a segment must know of progress: its unit, the span of reports, and the end; empty for the usual.

    Usual is a sweep in epochs whose reports and end are the Trainer's.
    """
    progress = spec.progress
    if progress.unit == EPOCHS and progress.every is None and progress.until is None:
        return {}
    spans = {"every": progress.every, "until": spec.horizon}
    return {"unit": progress.unit, **{name: number for name, number in spans.items() if number is not None}}
