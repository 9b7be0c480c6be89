"""``progress:`` of a sweep file: the unit that rungs, budgets, curves and tables are measured in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import timedelta
from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainValidator, WithJsonSchema

from orchestrator import codec
from orchestrator.errors import Problem, SpecError
from orchestrator.progress import COUNTER, EPOCHS, SECONDS, UNITS, Amount, span, whole
from orchestrator.spec.parts import Part, positive_amount, shown

LIMITS = {EPOCHS: "max_epochs", "steps": "max_steps", SECONDS: "max_time"}
"""The Trainer's argument that ends a training in a unit."""
CODE_FIELDS = ("train", "program", "command")
"""Fields of a sweep file that name a function or a script: its Trainer, if it has one, is not the sweep's."""
_DAY = 86400


def _span(value: object) -> float | None:
    """Return an amount above zero; text may name its unit."""
    if value is None or isinstance(value, Amount):
        return value
    number = positive_amount(value, "a number, or text such as 500 steps or 10m")
    return number if isinstance(number, Amount) else whole(number)


def _unit(value: object) -> str:
    if isinstance(value, str) and (value in UNITS or (value.startswith(COUNTER) and len(value) > len(COUNTER))):
        return value
    close = get_close_matches(str(value), UNITS, n=1)
    hint = f"; did you mean {close[0]}?" if close else f"; a counter that the module logs is {COUNTER}NAME"
    raise ValueError(f"expected {', '.join(UNITS)} or {COUNTER}NAME, but got {shown(value)}{hint}")


_SPAN_SCHEMA = WithJsonSchema(
    {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string"}, {"type": "null"}]}
)
Span = Annotated[int | float | None, PlainValidator(_span), _SPAN_SCHEMA]
"""An amount of progress: a number in the sweep's unit, or text that names its unit."""


class Progress(Part):
    """What progress is measured in. A bare unit will do.

    Example:
        ```python
        progress = orchestrator.Progress(unit="samples", every="1M samples", until="50M samples")
        ```
    """

    unit: Annotated[str, PlainValidator(_unit), WithJsonSchema({"type": "string"})] = Field(
        default=EPOCHS,
        description="epochs, steps (of the optimizer), samples, seconds (of training), or metric:NAME, a counter that "
        "the module logs. By default what the Trainer's limit is in: max_epochs, max_steps or max_time.",
        examples=["steps"],
    )
    every: Span = Field(
        default=None, description="From one report to the next; by default the Trainer's validations.", examples=[500]
    )
    until: Span = Field(
        default=None, description="The end of a trial; by default the Trainer's limit.", examples=["20k steps"]
    )
    interpolate: bool = Field(
        default=True,
        description="Whether a trial that does not report at a rung is compared by its loss interpolated there; "
        "otherwise by its best at its first report beyond it.",
        examples=[False],
    )


def _bare(value: object) -> object:
    return {"unit": value} if isinstance(value, str) else value


BareProgress = Annotated[Progress, BeforeValidator(_bare)]


def with_unit(sections: Mapping[str, Any]) -> dict[str, Any]:
    """Return a spec's sections with the unit of ``progress``, and with its end as the Trainer's limit.

    Raises:
        SpecError: ``progress.until`` and the Trainer's limit are the same thing, and differ.
    """
    written, trainer = sections.get("progress"), sections.get("trainer")
    if isinstance(written, Progress):
        written = written.model_dump()
    progress = {"unit": written} if isinstance(written, str) else written
    if not isinstance(progress or {}, Mapping) or not isinstance(trainer or {}, Mapping):
        return dict(sections)  # the fields' own validators report it
    progress, trainer = dict(progress or {}), dict(trainer or {})
    until = _tried(progress.get("until"))
    if progress.get("unit") is None:
        progress["unit"] = until.unit if isinstance(until, Amount) else default_unit(trainer)
    if until is not None:
        until = in_unit(until, progress["unit"], ("progress", "until"))
        if not any(sections.get(name) for name in CODE_FIELDS):
            _end(progress, trainer, until)
    return {**sections, "progress": progress, "trainer": trainer}


def _tried(value: object) -> float | None:
    """Return an amount that may be malformed, which its field reports; None then."""
    try:
        return _span(value)
    except ValueError:
        return None


def _end(progress: dict[str, Any], trainer: dict[str, Any], until: float) -> None:
    """Make ``until`` the Trainer's limit where that can say it; otherwise let training itself end there."""
    unit = progress["unit"]
    limit = LIMITS.get(unit)
    if limit is None:
        if not any(trainer.get(name) is not None for name in LIMITS.values()):
            trainer["max_epochs"] = -1
        return
    said = trainer_limit(trainer, unit)
    if said is not None and said not in (until, math.ceil(until)):
        raise SpecError([
            Problem(f"progress.until is {span(until, unit)}, and trainer.{limit} says {span(said, unit)}",
                    "leave one of them out: they are the same end", ("progress", "until"))
        ])  # fmt: skip
    if unit == SECONDS:
        trainer[limit] = {"seconds": until}
    elif isinstance(until, int):
        trainer[limit] = until
    else:  # Lightning counts whole ones
        trainer[limit] = math.ceil(until)
        return
    progress["until"] = None


def in_unit(number: float, unit: str, path: tuple[str | int, ...]) -> float:
    """Return an amount as a plain number of the sweep's unit. Raises SpecError if its text names another unit."""
    if isinstance(number, Amount) and number.unit != unit:
        message = f"{'.'.join(map(str, path))} is {span(float(number), number.unit)}, and progress is in {unit}"
        raise SpecError([Problem(message, f"give it in {unit}, or set progress: {{unit: {number.unit}}}", path)])
    return whole(float(number))


def default_unit(trainer: Mapping[str, Any]) -> str:
    """Return the unit of the Trainer's limit: epochs before steps before time."""
    said = (unit for unit in (EPOCHS, "steps", SECONDS) if trainer.get(LIMITS[unit]) not in (None, -1))
    return next(said, EPOCHS)


def end_of(unit: str) -> str:
    """Return what in a sweep file says where a trial ends in a unit: ``trainer.max_epochs`` or ``progress.until``."""
    return f"trainer.{LIMITS[unit]}" if unit in LIMITS else "progress.until"


def trainer_limit(trainer: Mapping[str, Any], unit: str) -> float | None:
    """Return the end of a training that the Trainer's arguments say in a unit; None if they do not."""
    limit = codec.readable(trainer.get(LIMITS.get(unit, "")))
    if unit == SECONDS:
        return None if limit is None else _seconds(limit)
    return limit if isinstance(limit, int) and not isinstance(limit, bool) and limit > 0 else None


def with_end(spec: Mapping[str, Any], unit: str, until: float) -> dict[str, Any]:
    """Return a spec's content in which trials end there, whatever ends them in the original."""
    trainer = {name: value for name, value in spec["trainer"].items() if name not in LIMITS.values()}
    progress = {**(spec.get("progress") or {}), "unit": unit, "until": until}
    return {**spec, "trainer": trainer, "progress": progress}


def _seconds(limit: object) -> float | None:
    """Return the seconds of ``max_time``: ``DD:HH:MM:SS``, a mapping of a timedelta's arguments, or a timedelta."""
    try:
        if isinstance(limit, str):
            days, hours, minutes, seconds = map(int, limit.split(":"))
            return days * _DAY + hours * 3600 + minutes * 60 + seconds
        if isinstance(limit, Mapping):
            limit = timedelta(**limit)
        return whole(limit.total_seconds()) if isinstance(limit, timedelta) else None
    except (TypeError, ValueError):
        return None  # the Trainer's own check reports it


def report_span(trainer: Mapping[str, Any], progress: Progress) -> float | None:
    """Return the most progress between two reports; None if it is not known before the training.

    ``val_check_interval`` counts batches: those of ``accumulate_grad_batches`` make a step.
    """
    if progress.every is not None:
        return progress.every
    interval, every_epochs = trainer.get("val_check_interval"), trainer.get("check_val_every_n_epoch", 1)
    if progress.unit == EPOCHS and isinstance(every_epochs, int):
        return float(interval) if isinstance(interval, float) and interval < 1 else every_epochs
    if progress.unit == "steps" and isinstance(interval, int) and every_epochs is None:
        batches = trainer.get("accumulate_grad_batches") or 1
        return whole(interval / batches) if isinstance(batches, int) else None
    return None
