"""Check the Trainer's arguments for how long to train and how often to validate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator import codec
from orchestrator.errors import Problem
from orchestrator.progress import SECONDS
from orchestrator.spec.progress_section import LIMITS, trainer_limit

_COUNTS = {
    "max_epochs": "a trial is judged after at least one epoch",
    "max_steps": "a trial is judged after at least one step",
}
_ACROSS = "check_val_every_n_epoch"


def length_problems(trainer: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield a problem for each argument by which a Trainer trains nothing, or refuses to start."""
    plain = {name: codec.readable(value) for name, value in trainer.items() if name not in ("callbacks", "logger")}
    for name, hint in _COUNTS.items():
        value = plain.get(name)
        if type(value) is int and value < 1 and value != -1:
            yield Problem(f"`{name} >= 1` must hold, but got {value}", hint, ("trainer", name))
    batches = plain.get("limit_train_batches")
    if type(batches) in (int, float) and batches == 0:
        message = f"`limit_train_batches > 0` must hold, but got {batches}"
        yield Problem(message, "a trial is judged after at least one batch", ("trainer", "limit_train_batches"))
    seconds = trainer_limit(plain, SECONDS)
    if seconds is not None and seconds <= 0:
        limit = LIMITS[SECONDS]
        message = f"`{limit}` must be above zero, but got {plain[limit]!r}"
        yield Problem(message, f"e.g. {limit}: 00:01:30:00", ("trainer", limit))
    interval = plain.get("val_check_interval")
    if plain.get(_ACROSS, 1) is None and type(interval) is float:
        message = f"`val_check_interval` must be a number of batches or a time, but got {interval}: `{_ACROSS}` is null"
        yield Problem(message, "e.g. val_check_interval: 500", ("trainer", "val_check_interval"))
