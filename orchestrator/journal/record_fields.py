"""What the fields of each event may hold: a record with a right checksum may still be forged, or of a broken program.

A field that is not listed is ignored. `docs/journal-format.md` says what each means.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

MAX_DEPTH = 60
"""How deeply values may be nested; what a sweep file holds is nested by some ten."""
_MAX_INTEGER = 2**53  # every JSON reader has it exactly
_LARGEST = 2**1000
_ABSENT = object()
_MAX_TIME = 253_000_000_000.0  # Unix seconds, in the year 9987: a date can be shown in every time zone
_MAX_PROGRESS = 2**40
_NOT_FINITE = frozenset({"nan", "inf", "infinity"})


class Shape(NamedTuple):
    """A test of a value, and what the value must be, for the message."""

    holds: Callable[[Any], bool]
    text: str


def field_problem(type: str, fields: Mapping[str, Any]) -> str:
    """Return what is wrong with the first field of an event that cannot be what it says; empty if all can be.

    O(1) in the length of the journal. An event of an unknown type has no known fields.
    """
    for name, holds, text, required in _CHECKS.get(type, ()):
        value = fields.get(name, _ABSENT)
        if value is _ABSENT:
            if required:
                return f"its field {name!r} is missing"
        elif not holds(value):
            return f"its field {name!r} must be {text}, but is {shown(value)}"
    return ""


def spec_problem(spec: Any, *, complete: bool = False) -> str:
    """Return what is wrong with the form of a recorded spec, as far as every reader needs it; empty if nothing is.

    `SweepSpec` checks the rest where a command needs all of it. With ``complete``, no part that readers use may be
    missing.
    """
    if not isinstance(spec, dict):
        return f"the spec must be a mapping, but is {shown(spec)}"
    for name, (shape, required) in _SPEC.items():
        if name not in spec:
            if complete and required:
                return f"the spec has no {name!r}"
        elif not shape.holds(spec[name]):
            return f"`{name}` of the spec must be {shape.text}, but is {shown(spec[name])}"
    return ""


def is_time(value: Any) -> bool:
    """Return whether a value is a time in Unix seconds that can be shown as a date."""
    return type(value) in (int, float) and 0 <= value < _MAX_TIME


def is_too_deep(value: Any, levels: int = MAX_DEPTH) -> bool:
    """Return whether lists and mappings are nested by more than that many levels."""
    if not isinstance(value, dict | list):
        return False
    items = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(is_too_deep(item, levels - 1) for item in items)


def holds_long_integer(value: Any) -> bool:
    """Return whether a value is, or holds, an integer that no float can take."""
    if isinstance(value, dict | list):
        return any(map(holds_long_integer, value.values() if isinstance(value, dict) else value))
    return type(value) is int and abs(value) >= 2**1023


def shown(value: Any) -> str:
    """Return a value for a message, cut short."""
    text = ascii(value) if not isinstance(value, int) or abs(value) <= _MAX_INTEGER else "an integer of many digits"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _MAX_INTEGER


def _is_number(value: Any) -> bool:
    """Return whether a value is a number, or the text that stands for one that JSON lacks."""
    if type(value) is float:
        return True
    if type(value) is int:
        return -_LARGEST <= value <= _LARGEST
    return type(value) is str and value.lower().lstrip("+-") in _NOT_FINITE


def _is_finite(value: Any) -> bool:
    return _is_number(value) and not isinstance(value, str) and math.isfinite(value)


def _is_text(value: Any) -> bool:
    return type(value) is str


def _is_scalar(value: Any) -> bool:
    return value is None or type(value) in (str, bool) or _is_number(value)


def _is_mapping(value: Any, item: Callable[[Any], bool]) -> bool:
    return type(value) is dict and all(map(item, value.values()))


def _is_list(value: Any, item: Callable[[Any], bool]) -> bool:
    return type(value) is list and all(map(item, value))


def _holds(value: Any, /, **fields: Callable[[Any], bool]) -> bool:
    """Return whether a value is a mapping that has these fields and whose fields are right."""
    return type(value) is dict and all(name in value and holds(value[name]) for name, holds in fields.items())


def _may_hold(value: Any, /, **fields: Callable[[Any], bool]) -> bool:
    """Return whether a value is a mapping whose fields of these names are right where it has them."""
    return type(value) is dict and all(name not in value or holds(value[name]) for name, holds in fields.items())


def _or_none(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or holds(value)


def _is_pair(value: Any) -> bool:
    return _is_list(value, _is_progress) and len(value) == 2 and _is_count(value[0])


def _is_named(value: Any) -> bool:
    return _holds(value, name=_is_text)


def _is_version(value: Any) -> bool:
    return _may_hold(value, name=_is_text, version=_is_count)


def _is_hardware(value: Any) -> bool:
    memory = _or_none(_is_finite)
    return _may_hold(value, gpus=lambda gpus: _is_list(gpus, _is_text), memory=memory) and _is_mapping(
        value, lambda part: _is_scalar(part) or type(part) is list
    )


def _is_code(value: Any) -> bool:
    return _may_hold(value, commit=_or_none(_is_text), diff=_or_none(_is_text), files=_is_texts_by_name)


def _is_texts_by_name(value: Any) -> bool:
    return _is_mapping(value, _is_text)


def _is_goal(value: Any) -> bool:
    return _holds(value, metric=_is_text, mode=lambda mode: mode in ("min", "max"))


def _is_objective(value: Any) -> bool:
    return _is_goal(value) and _is_list(value.get("also") or [], _is_goal)


def _is_bound(value: Any) -> bool:
    limit = _or_none(_is_finite)
    return _holds(value, metric=_is_text) and _may_hold(value, max=limit, min=limit) and value.keys() <= _BOUND


def _is_repeats(value: Any) -> bool:
    return _holds(value, seeds=lambda seeds: _is_count(seeds) and seeds > 0, rank_by=_is_text)


def _is_unit(value: Any) -> bool:
    return _may_hold(value, unit=_or_none(_is_text))


def _is_resources(value: Any) -> bool:
    return _may_hold(
        value,
        cpus=lambda cpus: cpus == "auto" or _is_finite(cpus),
        price=_or_none(_is_finite),
        tpu=_or_none(_is_text),
        workers=_is_count,
    )


def _is_class(value: Any) -> bool:
    return _holds(value, class_path=_is_text) and type(value.get("init_args", {})) is dict


def _is_finalist(value: Any) -> bool:
    end = _or_none(_is_number)
    return _holds(
        value,
        configuration=_is_count,
        searched=_is_number,
        mean=end,
        low=end,
        high=end,
        failed=_is_count,
        probability=_is_finite,
        values=lambda values: _is_list(values, _is_number),
    )


def _is_winner(value: Any) -> bool:
    return _holds(value, configuration=_is_count) and _may_hold(
        value, trial=_is_count, epoch=_is_progress, progress=_is_progress, value=_is_number
    )


def _is_source(value: Any) -> bool:
    return _holds(value, run=_is_text) and _is_mapping(value, _is_scalar)


def _is_earlier_trial(value: Any) -> bool:
    return _may_hold(value, params=lambda params: type(params) is dict, value=_is_number)


def _is_evaluated(value: Any) -> bool:
    return _holds(value, run=_is_text, trial=_is_count, epoch=_is_progress) and _is_mapping(value, _is_scalar)


def _is_progress(value: Any) -> bool:
    kind = type(value)
    return (kind is int or kind is float) and 0 <= value <= _MAX_PROGRESS


def _is_measure(value: Any) -> bool:
    return value is None or _is_progress(value)


_BOUND = frozenset({"metric", "max", "min"})
_COUNT = Shape(_is_count, "a whole number")
_PROGRESS = Shape(_is_progress, "an amount of training")
_MEASURE = Shape(_is_measure, "an amount of training")
_MEASURES = Shape(_or_none(lambda value: _is_mapping(value, _is_progress)), "amounts by name")
_TEXT = Shape(_is_text, "text")
_TEXT_OR_NONE = Shape(_or_none(_is_text), "text or null")
_SECONDS = Shape(lambda value: _is_finite(value) and value >= 0, "a number of seconds")
_SHARE = Shape(lambda value: _is_finite(value) and 0 <= value <= 1, "a number from 0 to 1")
_FINITE_OR_NONE = Shape(_or_none(_is_finite), "a finite number or null")
_FLAG = Shape(lambda value: type(value) is bool, "true or false")
_OBJECT = Shape(lambda value: type(value) is dict, "a mapping")
_HARDWARE = Shape(_or_none(_is_hardware), "the parts of a machine")
_NUMBERS = Shape(lambda value: _is_mapping(value, _is_number), "a mapping of names to numbers")
_TEXTS = Shape(_is_texts_by_name, "a mapping of names to texts")
_TEXT_LIST = Shape(lambda value: _is_list(value, _is_text), "a list of texts")
_COUNTS = Shape(lambda value: _is_list(value, _is_count), "a list of whole numbers")
_PAIR = Shape(_is_pair, "a trial and an epoch")
_PAIRS = Shape(lambda value: _is_list(value, _is_pair), "a list of pairs of a trial and an epoch")
_ANY_LIST = Shape(lambda value: type(value) is list, "a list")
_POLICIES = Shape(lambda value: _is_mapping(value, _is_version), "the names and versions of the policies")
_CODE = Shape(_or_none(_is_code), "a commit and hashes of files")
_CHANGED = Shape(lambda value: _is_mapping(value, lambda part: type(part) is dict), "the changed parts of the spec")
_FINALISTS = Shape(lambda value: _is_list(value, _is_finalist) and value != [], "the finalists with their values")
_WINNER = Shape(_is_winner, "the configuration that won, with its trial")
_SOURCES = Shape(lambda value: _is_list(value, _is_source), "the runs that the trials come from")
_EARLIER = Shape(lambda value: _is_list(value, _is_earlier_trial), "trials with parameters and a value")
_EVALUATED = Shape(_is_evaluated, "the run, trial and epoch that are evaluated")
_LOOK = Shape(lambda value: _is_count(value) and value > 0, "a whole number from 1")
_NAMED = Shape(_is_named, "a mapping with a name")
_CLASS_OR_NONE = Shape(_or_none(_is_class), "a class with its arguments, or null")

_SPEC: dict[str, tuple[Shape, bool]] = {
    "name": (_TEXT, True),
    "objective": (Shape(_is_objective, "a metric with its mode"), True),
    "constraints": (Shape(lambda value: _is_list(value, _is_bound), "a list of bounds on metrics"), False),
    "model": (_CLASS_OR_NONE, True),
    "train": (_TEXT_OR_NONE, False),
    "program": (_TEXT_OR_NONE, False),
    "command": (Shape(_or_none(lambda value: _is_list(value, _is_text)), "a list of texts, or null"), False),
    "args": (_OBJECT, False),
    "data": (_CLASS_OR_NONE, False),
    "trainer": (_OBJECT, True),
    "space": (_OBJECT, True),
    "searcher": (_NAMED, True),
    "scheduler": (_NAMED, True),
    "budget": (Shape(lambda value: _is_mapping(value, _or_none(_is_finite)), "a mapping of limits"), True),
    "progress": (Shape(_or_none(_is_unit), "a unit of progress"), False),
    "repeats": (Shape(_or_none(_is_repeats), "a number of seeds"), False),
    "resources": (Shape(_or_none(_is_resources), "the resources of a trial"), False),
}

_AT = {"trial": (_COUNT, True), "segment": (_COUNT, True)}
_TRAINED = {
    "step": (_MEASURE, False),
    "samples": (_MEASURE, False),
    "seconds": (_MEASURE, False),
    "counters": (_MEASURES, False),
    "unreported": (_COUNT, False),
    "node": (_TEXT, False),
}
_RULE = {
    **_AT,
    "epoch": (_PROGRESS, True),
    "progress": (_PROGRESS, False),
    "rule": (_TEXT, True),
    "why": (_OBJECT, True),
}
_EVENTS: dict[str, dict[str, tuple[Shape, bool]]] = {
    "sweep.created": {
        "spec": (_OBJECT, True),
        "seed": (_COUNT, False),
        "suggestion_rules": (_COUNT, False),
        "versions": (_TEXTS, False),
        "git": (_TEXT_OR_NONE, False),
        "roots": (_TEXT_LIST, False),
        "authors": (_ANY_LIST, False),
        "warm_start": (_TEXT_LIST, False),
        "policies": (_POLICIES, False),
    },
    "sweep.warmed": {"metric": (_TEXT, True), "sources": (_SOURCES, True), "trials": (_EARLIER, True)},
    "sweep.launched": {
        "engine": (_TEXT, False),
        "slots": (_COUNT, True),
        "threads": (_COUNT, False),
        "host": (_TEXT, False),
        "pid": (_COUNT, False),
        "hardware": (_HARDWARE, False),
        "version": (_TEXT, False),
        "policies": (_POLICIES, False),
        "code": (_CODE, False),
        "versions": (_TEXTS, False),
        "numerics": (_TEXTS, False),
    },
    "trial.suggested": {
        "trial": (_COUNT, True),
        "params": (_OBJECT, True),
        "by": (_TEXT, True),
        "repeats": (_COUNT, False),
    },
    "segment.started": {
        **_AT,
        "node": (_TEXT, True),
        "origin": (_TEXT_OR_NONE, True),
        "on": (_TEXT, False),
        "halvings": (_COUNT, False),
    },
    "segment.checkpointed": {
        **_AT,
        "path": (_TEXT, True),
        "size": (_COUNT, True),
        "sha256": (_TEXT, True),
        "epoch": (_PROGRESS, True),
        "precision": (_TEXT, False),
        "progress": (_PROGRESS, False),
        "interim": (_FLAG, False),
        **_TRAINED,
    },
    "segment.reported": {
        **_AT,
        "epoch": (_PROGRESS, True),
        "metrics": (_NUMBERS, True),
        "progress": (_PROGRESS, False),
        **_TRAINED,
        "found": (_OBJECT, False),
    },
    "trial.set_aside": {name: (shape, name == "trial") for name, (shape, _) in _RULE.items()},
    "trial.stopped": _RULE,
    "trial.promoted": {
        "trial": (_COUNT, True),
        "rule": (_TEXT, True),
        "why": (_OBJECT, True),
        "donor": (_PAIR, False),
        "params": (_OBJECT, False),
    },
    "trial.finished": {
        "trial": (_COUNT, True),
        "segment": (_COUNT, False),
        "epoch": (_PROGRESS, False),
        "progress": (_PROGRESS, False),
    },
    "segment.failed": {
        **_AT,
        "kind": (_TEXT, True),
        "message": (_TEXT, True),
        "fingerprint": (_TEXT, True),
        "place": (_TEXT, False),
        "node": (_TEXT, False),
    },
    "trial.failed": {"trial": (_COUNT, True), "segment": (_COUNT, False), "reason": (_TEXT, False)},
    "trial.retried": {"trial": (_COUNT, True)},
    "checkpoints.removed": {"removed": (_PAIRS, True), "interim": (_COUNTS, False)},
    "storage.waited": {"fault": (_TEXT, False), "seconds": (_SECONDS, False)},
    "sweep.paused": {"reason": (_TEXT, True)},
    "sweep.extended": {"changed": (_CHANGED, True), "trials": (_COUNTS, True)},
    "sweep.completed": {"reason": (_TEXT, True)},
    "finals.begun": {"number": (_LOOK, True), "folder": (_TEXT, False)},
    "winner.confirmed": {
        "folder": (_TEXT, False),
        "level": (_SHARE, True),
        "confidence": (_SHARE, True),
        "clear": (_FLAG, True),
        "optimism": (_FINITE_OR_NONE, True),
        "first": (_COUNT, True),
        "winner": (_WINNER, True),
        "table": (_FINALISTS, True),
        "journal": (_COUNT, True),
    },
    "test.begun": {"look": (_LOOK, True), "of": (_EVALUATED, True)},
    "winner.tested": {"look": (_LOOK, True), "metrics": (_NUMBERS, True)},
}
# In the form that `field_problem` runs through for every record.
_CHECKS = {
    type: tuple((name, shape.holds, shape.text, required) for name, (shape, required) in fields.items())
    for type, fields in _EVENTS.items()
}
