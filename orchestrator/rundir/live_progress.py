"""How far a trial is between two reports: the content of a small file beside the run, which is no part of the journal.

`orchestrator.training.live_writer` writes it every other second, and readers show it. Whatever else is in the file's
place is ignored, since a run directory may come from somebody else.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

PHASES = ("training", "validation")
LIMIT = 8192
"""The most bytes of such a file that are read."""
_COUNTS = frozenset({"trial", "segment", "batch"})
_MAPPINGS = frozenset({"place", "start"})
_PLACE = {"epoch", "step", "samples", "seconds"}
_REQUIRED = frozenset({"at", "elapsed"})


@dataclass(frozen=True)
class LiveProgress:
    """One segment at one moment. A number is None if it is not known.

    Attributes:
        trial: the trial's number.
        segment: the number of the segment in its trial.
        at: Unix seconds, by the training host's clock.
        phase: one of `PHASES`.
        batch: the batches done, of the epoch or of the validation.
        batches: the batches of the epoch, or of the validation.
        place: ``epoch`` (a fraction within one), ``step``, ``samples`` and ``seconds``, as in a report.
        start: the same where the segment began to train.
        elapsed: seconds since then, validations and checkpoints included.
        loss: the mean loss of the last batches.
        samples_per_second: of training, over all processes of the trial.
        step_seconds: of training for one optimizer step.
        data_wait: the share of the training time in which the next batch was awaited, from 0 to 1.
        memory: resident bytes of the process.
        device_memory: bytes that torch has reserved on the device.
        device_total: bytes that the device has.
        gpu: the share of the time in which the GPU was in use, from 0 to 1, as NVML says.
    """

    trial: int
    segment: int
    at: float
    phase: str
    batch: int
    batches: int | None
    place: Mapping[str, float]
    start: Mapping[str, float]
    elapsed: float
    loss: float | None = None
    samples_per_second: float | None = None
    step_seconds: float | None = None
    data_wait: float | None = None
    memory: int | None = None
    device_memory: int | None = None
    device_total: int | None = None
    gpu: float | None = None

    def to_bytes(self) -> bytes:
        """Return the file's content: JSON, in which a loss may be NaN."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> LiveProgress | None:
        """Return what a file holds; None if that is anything else, or torn."""
        try:
            values = json.loads(content)
        except (ValueError, RecursionError):
            return None
        names = {entry.name for entry in fields(cls)}
        if not isinstance(values, dict) or not names >= values.keys():
            return None
        if not all(_is_valid(name, values.get(name)) for name in names):
            return None
        return cls(**values)


def _is_valid(name: str, value: Any) -> bool:
    """Return whether a field of the file may hold the value."""
    if name == "phase":
        return value in PHASES
    if name in _COUNTS:
        return _is_count(value)
    if name in _MAPPINGS:
        return isinstance(value, dict) and value.keys() == _PLACE and all(map(_is_measure, value.values()))
    if name in _REQUIRED:
        return _is_measure(value)
    if name == "batches":
        return value is None or _is_count(value)
    return value is None or _is_measure(value) or (name == "loss" and _is_number(value))


def _is_measure(value: Any) -> bool:
    return _is_number(value) and math.isfinite(value) and value >= 0


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_number(value: Any) -> bool:
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) < 2**63
    return isinstance(value, float)
