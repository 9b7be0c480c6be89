"""What `sweep extend` changes: limits of the spec, and the trials that continue because of it. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.policies.budget import RULE, key_of, spent
from orchestrator.policies.distinct import NO_REPEATS, distinct_trials
from orchestrator.policies.scheduler import extended_horizon, scheduler_class
from orchestrator.policies.searcher import searcher_class, trial_limit
from orchestrator.progress import EPOCHS, SECONDS, Amount, noun, span, whole
from orchestrator.spec import SweepSpec
from orchestrator.spec.progress_section import LIMITS, trainer_limit
from orchestrator.state import SweepState, Trial, merge_spec, spec_in_force

Changed = dict[str, dict[str, Any]]
"""Fields of the spec's parts with their new values: ``{"budget": {"trials": 30}}``."""


@dataclass(frozen=True)
class More:
    """How much to add: ``trials``, ``epochs`` of each trial, ``wall_clock`` in seconds.

    ``budget`` adds to ``epochs``, ``steps``, ``samples``, ``seconds`` (of all trials), ``gpu_hours`` and ``cost``, and
    replaces ``target``. ``progress`` is what each trial gets in addition, in the sweep's unit; ``epochs`` is the same
    for a sweep in epochs.
    """

    trials: int = 0
    epochs: int = 0
    wall_clock: float = 0.0
    budget: Mapping[str, float] = field(default_factory=dict)
    progress: float = 0


def extension(state: SweepState, more: More) -> dict[str, Any]:
    """Return the fields of the event ``sweep.extended``. Raises UsageError if it would change nothing."""
    before = spec_in_force(state)
    changed = {part: fields for part, fields in _changes(before, more) if fields}
    if changed:
        _check_scheduler(before, changed)
    else:
        hint = 'e.g. --trials 10, --epochs 5, --by "500 steps" or --wall-clock 2h'
        raise UsageError("nothing to extend was specified", hint=hint)
    after = SweepSpec.model_validate(merge_spec(state.spec, changed))
    _check_budget_left(after, state)
    trials = trials_to_continue(before, state, changed)
    if state.status == "completed" and not (trials or state.interrupted or _more_come(after, state)):
        raise UsageError("no trial would continue, and none would be added", hint=_why_none(state, more))
    return {"changed": changed, "trials": trials}


def trials_to_continue(spec: SweepSpec, state: SweepState, changed: Mapping[str, Mapping[str, Any]]) -> list[int]:
    """Return the numbers of the trials that had ended by an old limit and continue; ``spec`` is the old one.

    Those are the trials that finished at the old end, if it has moved, and those that a budget
    stopped while they ran. They continue from a checkpoint that was kept; a trial without one stays as it is.
    """
    longest = spec.horizon if extended_horizon(changed, spec.progress.unit) is not None else None
    trials, unit = (trial for _, trial in sorted(state.trials.items())), spec.progress.unit
    limited = (trial for trial in trials if ended_by_budget(trial) or trained_in_full(trial, longest, unit))
    return [t.number for t in limited if t.restart_checkpoints or (ended_by_budget(t) and not t.reports)]


def ended_by_budget(trial: Trial) -> bool:
    """Return whether a spent budget stopped the trial while it ran, so that more of the budget lets it continue."""
    return trial.status == "stopped" and trial.stopped_by["rule"] == RULE and not trial.was_set_aside


def ended_by_epochs(state: SweepState, trial: Trial) -> bool:
    """Return whether the trial finished at the end that the spec says, and that end can be moved."""
    longest = recorded_horizon(state)
    return (
        trained_in_full(trial, longest, state.unit)
        and not scheduler_class(state.spec["scheduler"]["name"]).divides_epochs
    )


def recorded_horizon(state: SweepState) -> float | None:
    """Return where every trial ends, as a journal's spec has it: `SweepSpec.horizon` without a check of the rest."""
    until = (state.spec.get("progress") or {}).get("until")
    if until is not None:
        return float(until) if isinstance(until, float) else int(until)
    if f"trainer.{LIMITS.get(state.unit)}" in (state.spec.get("space") or {}):
        return None
    return trainer_limit(state.spec.get("trainer") or {}, state.unit)


def trained_in_full(trial: Trial, longest: float | None, unit: str) -> bool:
    """Return whether a trial finished at its end, or as near to it as it reports.

    In seconds each that finished did: Lightning's ``max_time`` counts validations, too, which progress leaves out.
    """
    if longest is None or trial.status != "finished":
        return False
    if unit == SECONDS:
        return True
    places = sorted(trial.reports)
    last_span = places[-1] - places[-2] if len(places) > 1 else 0
    whole_epochs = all(isinstance(place, int) for place in places[-2:]) and last_span <= 1
    return trial.progress >= longest or (not whole_epochs and trial.progress + last_span > longest)


def _changes(spec: SweepSpec, more: More) -> Iterator[tuple[str, dict[str, Any]]]:
    amounts = {"trials": more.trials, "wall_clock": more.wall_clock, **more.budget}
    yield "budget", {key: _raised(spec, key, amount) for key, amount in amounts.items() if amount}
    if more.epochs and more.progress:
        raise UsageError("--epochs and --by are the same: how much each trial gets", hint="use one of them")
    if more.epochs and spec.progress.unit != EPOCHS:
        hint = f"use --by with an amount in {noun(spec.progress.unit)}"
        raise UsageError(f"progress is in {noun(spec.progress.unit)}, not in epochs", hint=hint)
    added = more.epochs or _in_unit(more.progress, spec.progress.unit)
    if added:
        yield from _longer(spec, added)


def _raised(spec: SweepSpec, key: str, amount: float) -> float:
    if key == "target":
        return amount
    limit = getattr(spec.budget, key, None)
    if key == "reserve" or limit is None:
        raise UsageError(f"budget.{key} is not a limit of this sweep", hint=f"its budget is {_limits(spec)}")
    if amount < 0:
        raise UsageError(f"{key}: an addition above 0 is needed, but got {amount:g}", hint=f"the limit is {limit:g}")
    return float(limit + amount) if isinstance(limit, float) else int(limit + amount)


def _limits(spec: SweepSpec) -> str:
    limits = spec.budget.model_dump(exclude_none=True, exclude_defaults=True)
    return ", ".join(f"{key}: {value:g}" for key, value in limits.items()) or "the complete grid"


def _in_unit(added: float, unit: str) -> float:
    """Return an amount as a plain number. Raises UsageError if its text names another unit."""
    if isinstance(added, Amount) and added.unit != unit:
        message = f"progress is in {noun(unit)}, not in {noun(added.unit)}"
        raise UsageError(message, hint=f"give --by in {noun(unit)}")
    return whole(float(added))


def _longer(spec: SweepSpec, added: float) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the parts of the spec that say where trials end, and their new content."""
    unit, longest = spec.progress.unit, spec.horizon
    limit = LIMITS.get(unit, "")
    if f"trainer.{limit}" in spec.space:
        raise UsageError(f"each trial has its own trainer.{limit}: it is a parameter", hint="--trials 10 adds trials")
    if longest is None:
        raise UsageError(f"trials have no {limit or 'end'} that could be raised", hint="--trials 10 adds trials")
    if added < 0:
        message = f"{noun(unit)}: an addition above 0 is needed, but got {added:g}"
        raise UsageError(message, hint=f"trials have {span(longest, unit)}")
    until = whole(longest + added)
    if spec.progress.until is not None or not limit or (unit != SECONDS and not isinstance(until, int)):
        yield "progress", {"until": until}
    if limit and math.ceil(until) > (trainer_limit(spec.trainer, unit) or 0):
        yield "trainer", {limit: {"seconds": until} if unit == SECONDS else math.ceil(until)}


def _check_scheduler(spec: SweepSpec, changed: Changed) -> None:
    """Raise UsageError if the scheduler has divided what would change."""
    name, scheduler = spec.scheduler.name, scheduler_class(spec.scheduler.name)
    if spec.horizon is not None and changed.keys() & {"trainer", "progress"} and scheduler.divides_epochs:
        raise UsageError(
            f"scheduler {name} has divided {span(spec.horizon, spec.progress.unit)} among its rungs",
            hint="launch another sweep that trains for longer, and --warm-start it from this one",
        )
    if "trials" in changed.get("budget", {}) and scheduler.population:
        raise UsageError(
            f"the {spec.budget.trials} trials are the population of scheduler {name}, which has been trained",
            hint="launch another sweep with more trials, and --warm-start it from this one",
        )


def _check_budget_left(spec: SweepSpec, state: SweepState) -> None:
    """Raise UsageError if a budget is spent even so."""
    verdict, limit = spent(spec, state), spec.budget.wall_clock
    if verdict:
        key = key_of(verdict.why)
        amount = "another value" if key == "target" else "more than was spent"
        raise UsageError(f"budget.{key} is spent: {dict(verdict.why)}", hint=f"--budget {key}=…, {amount}")
    if limit is not None and state.active_seconds >= limit:
        raise UsageError(f"{state.active_seconds:.0f} s of {limit:g} s are spent", hint="--wall-clock 2h adds some")


def _more_come(spec: SweepSpec, state: SweepState) -> bool:
    """Return whether more trials can be suggested."""
    limit = trial_limit(spec)
    if state.created.get("suggestion_rules", 1) >= NO_REPEATS:
        limit = min((each for each in (limit, distinct_trials(spec)) if each is not None), default=None)
    return limit is None or len(state.trials) < limit


def _why_none(state: SweepState, more: More) -> str:
    if more.epochs or more.progress:
        return "no trial that finished has kept a checkpoint (checkpoints.keep_top); --trials 10 adds trials"
    spec = spec_in_force(state)
    if searcher_class(spec.searcher.name).ends_by_itself:
        return f"searcher {spec.searcher.name} has suggested all of its trials"
    if spec.space.size is not None and len(state.trials) >= spec.space.size:
        return "every configuration of the space was tried; a sweep with `repeats` tries each under several seeds"
    return "--trials 10 adds trials"
