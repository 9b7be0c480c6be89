"""Compare a format's outputs with the checkpoint's, in batches of one, of seven and of many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from orchestrator.bundle.inference import Forward
from orchestrator.bundle.preprocessing import Array, Kind
from orchestrator.errors import SweepError
from orchestrator.export.validation_samples import MAX_SAMPLES

TOLERANCE = 1e-4
BATCHES = {1: 16, 7: 16, MAX_SAMPLES: 1}  # size of a batch → maximum number of such batches


class ParityError(SweepError):
    """A format does not reproduce the checkpoint's outputs. Nothing is exported."""

    code = "parity"


@dataclass
class Parity:
    """How a format compared with the checkpoint.

    Attributes:
        samples: size of the largest batch.
        source: origin of the inputs.
        compared: what was compared.
        tolerance: largest difference allowed.
        max_difference: largest difference found.
        batches: size of a batch → number of such batches.
        argmax_equal: whether each sample's most probable class is the same, ties aside; None for values.
        ties: samples whose two classes are no further apart than the tolerance; None for values.
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
        """Return the comparison as the manifest holds it."""
        return asdict(self)


def batches(inputs: Array, reference: Forward) -> list[tuple[Array, Array]]:
    """Return the batches of ``inputs`` (N, …) to compare on, each with the reference's outputs."""
    parts = [
        inputs[start : start + size]
        for size, count in BATCHES.items()
        for start in range(0, min(len(inputs), size * count), size)
    ]
    return [(batch, np.asarray(reference(batch))) for batch in parts]


def compare(
    name: str, forward: Forward, expected: Sequence[tuple[Array, Array]], *, kind: Kind, source: str = "validation data"
) -> Parity:
    """Run a format on the `batches`, and compare its outputs with the expected ones.

    Scores are compared after log-softmax, other outputs as they are. The tolerance is 1e-4; for values, 1e-4 of the
    largest one if that is above 1.

    Raises:
        ParityError: the outputs differ by more than the tolerance.
    """
    compared = "log-softmax of the scores" if kind == "scores" else kind.replace("_", "-")
    parity = Parity(max(len(batch) for batch, _ in expected), source, compared, TOLERANCE)
    if kind != "values":
        parity.argmax_equal, parity.ties = True, 0
    for batch, outputs in expected:
        _compare_batch(name, parity, outputs, np.asarray(forward(batch)), kind)
        parity.batches[str(len(batch))] = parity.batches.get(str(len(batch)), 0) + 1
    return parity


def _compare_batch(name: str, parity: Parity, expected: Array, actual: Array, kind: Kind) -> None:
    if expected.shape != actual.shape:
        raise _parity_error(name, f"its outputs have shape {actual.shape}, the checkpoint's {expected.shape}")
    if kind == "scores":
        expected, actual = log_softmax(expected), log_softmax(actual)
    if kind == "values":
        finite = np.abs(expected[np.isfinite(expected)])
        parity.tolerance = max(parity.tolerance, TOLERANCE * max(1.0, float(finite.max(initial=0.0))))
    difference = largest_difference(expected, actual)
    parity.max_difference = max(parity.max_difference, difference)
    if not difference <= parity.tolerance:
        raise _parity_error(name, f"its outputs are {difference:.3g} off, of {parity.tolerance:.3g} allowed")
    if kind != "values":
        _compare_classes(name, parity, expected, actual)


def _compare_classes(name: str, parity: Parity, expected: Array, actual: Array) -> None:
    rows = np.arange(len(expected))
    reference, predicted = expected.argmax(axis=1), actual.argmax(axis=1)
    gaps = (expected[rows, reference] - expected[rows, predicted])[reference != predicted]
    if np.any(gaps > parity.tolerance):
        raise _parity_error(name, f"it predicts another class for {int((gaps > parity.tolerance).sum())} samples")
    parity.ties = (parity.ties or 0) + len(gaps)


def largest_difference(expected: Array, actual: Array) -> float:
    """Return the largest difference: 0 for two equal infinities or two NaNs, infinite if only one is."""
    same = (expected == actual) | (np.isnan(expected) & np.isnan(actual))
    with np.errstate(invalid="ignore"):
        gaps = np.where(same, 0.0, np.abs(expected.astype(np.float64) - actual.astype(np.float64)))
    return float(np.nan_to_num(gaps, nan=math.inf, posinf=math.inf).max(initial=0.0))


def log_softmax(scores: Array) -> Array:
    """Return the log-softmax over the last axis, in float64."""
    wide = scores.astype(np.float64)
    shifted = wide - wide.max(axis=-1, keepdims=True)
    result: Array = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


def _parity_error(name: str, reason: str) -> ParityError:
    return ParityError(
        f"the {name} format does not reproduce the checkpoint's outputs: {reason}; nothing was exported",
        hint="forward must be the same function of its input in evaluation mode; if it is, report this",
    )
