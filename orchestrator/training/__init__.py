"""One segment of training: a real ``lightning.Trainer`` from a :class:`Job`, told through reports. Knows no Ray.

    fit(job, report)        trains; calls ``report(Report)`` after each epoch; False from it ends the training gently
    Job, Report, Checkpoint plain values, importable without torch
    EpochSeed               reseeds at each epoch, so that a resumed trial has the epochs it would have had
    ImagePredictionLogger   a picture of what the model says about some validation images
    resolve_precision       what ``precision: auto`` means on this device

Importing this package loads neither torch nor lightning; using ``fit`` or a callback does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from orchestrator.seeds import derive_seed
from orchestrator.training.job import Checkpoint, Job, Measured, Report

if TYPE_CHECKING:
    from orchestrator.training.fit_segment import fit
    from orchestrator.training.precision import resolve_precision
    from orchestrator.training.prediction_logger import ImagePredictionLogger
    from orchestrator.training.seeding import EpochSeed

__all__ = [
    "Checkpoint",
    "EpochSeed",
    "ImagePredictionLogger",
    "Job",
    "Measured",
    "Report",
    "derive_seed",
    "fit",
    "resolve_precision",
]

_HOMES = {
    "EpochSeed": "seeding",
    "ImagePredictionLogger": "prediction_logger",
    "fit": "fit_segment",
    "resolve_precision": "precision",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
