"""What counts as the same: a format's outputs beside the checkpoint's, in batches of one, of seven and of many."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.bundle.preprocessing import Kind
from orchestrator.errors import SweepError
from orchestrator.export.validation_samples import ENOUGH

Array = NDArray[Any]
Run = Callable[[Array], Array]

TOLERANCE = 1e-4
BATCHES = {1: 16, 7: 16, ENOUGH: 1}  # size of a batch -> how many of them are compared


class ParityError(SweepError):
    """A format does not give what the checkpoint gives. Nothing is exported."""


@dataclass
class Parity:
    """How a format compared: the largest difference, as ``compared`` says, over ``batches`` (size → how many).

    ``argmax_equal`` says that each sample's most probable class is the same but for ``ties``: those whose two classes
    are no further apart than the tolerance. Both are None for a model that does not classify.
    """

    samples: int
    source: str
    compared: str
    tolerance: float
    max_difference: float = 0.0
    batches: dict[str, int] = field(default_factory=dict)
    argmax_equal: bool | None = None
    ties: int | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def batches(inputs: Array, reference: Run) -> list[tuple[Array, Array]]:
    """The batches of ``inputs`` (N, …) that formats are compared on, each with what the reference gives for it."""
    cut = [
        inputs[start : start + size]
        for size, most in BATCHES.items()
        for start in range(0, min(len(inputs), size * most), size)
    ]
    return [(batch, np.asarray(reference(batch))) for batch in cut]


def compare(
    name: str, run: Run, expected: Sequence[tuple[Array, Array]], *, kind: Kind, source: str = "validation data"
) -> Parity:
    """Run a format on the `batches`. Raises ParityError where it differs from the reference by more than rounding.

    Scores are compared after log-softmax, all else as it is. The tolerance is 1e-4; for values, 1e-4 of the largest
    one where that is above 1.
    """
    compared = "log-softmax of the scores" if kind == "scores" else kind.replace("_", "-")
    found = Parity(max(len(batch) for batch, _ in expected), source, compared, TOLERANCE)
    if kind != "values":
        found.argmax_equal, found.ties = True, 0
    for batch, wanted in expected:
        _compare_batch(name, found, wanted, np.asarray(run(batch)), kind)
        found.batches[str(len(batch))] = found.batches.get(str(len(batch)), 0) + 1
    return found


def _compare_batch(name: str, found: Parity, wanted: Array, got: Array, kind: Kind) -> None:
    if wanted.shape != got.shape:
        raise _differs(name, f"outputs of shape {got.shape}, and the checkpoint {wanted.shape}")
    if kind == "scores":
        wanted, got = log_softmax(wanted), log_softmax(got)
    if kind == "values":
        finite = np.abs(wanted[np.isfinite(wanted)])
        found.tolerance = max(found.tolerance, TOLERANCE * max(1.0, float(finite.max(initial=0.0))))
    difference = largest_difference(wanted, got)
    found.max_difference = max(found.max_difference, difference)
    if not difference <= found.tolerance:
        raise _differs(name, f"outputs that are {difference:.3g} off, of {found.tolerance:.3g} allowed")
    if kind != "values":
        _compare_classes(name, found, wanted, got)


def _compare_classes(name: str, found: Parity, wanted: Array, got: Array) -> None:
    rows = np.arange(len(wanted))
    ours, theirs = wanted.argmax(axis=1), got.argmax(axis=1)
    gaps = (wanted[rows, ours] - wanted[rows, theirs])[ours != theirs]
    if np.any(gaps > found.tolerance):
        raise _differs(name, f"another class for {int((gaps > found.tolerance).sum())} samples")
    found.ties = (found.ties or 0) + len(gaps)


def largest_difference(wanted: Array, got: Array) -> float:
    """The largest; 0 where both are the same infinity or both NaN, infinite where one alone is."""
    same = (wanted == got) | (np.isnan(wanted) & np.isnan(got))
    with np.errstate(invalid="ignore"):
        gaps = np.where(same, 0.0, np.abs(wanted.astype(np.float64) - got.astype(np.float64)))
    return float(np.nan_to_num(gaps, nan=math.inf, posinf=math.inf).max(initial=0.0))


def log_softmax(scores: Array) -> Array:
    """Over the last axis, in float64."""
    wide = scores.astype(np.float64)
    shifted = wide - wide.max(axis=-1, keepdims=True)
    found: Array = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return found


def _differs(name: str, what: str) -> ParityError:
    return ParityError(
        f"the {name} format does not give what the checkpoint gives: {what}; nothing was exported",
        hint="forward has to be the same function of its input in evaluation mode; report it if it is",
    )
