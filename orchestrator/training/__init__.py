"""Train one segment of a trial by a ``lightning.Trainer``, described by a :class:`Job`. Independent of Ray.

    fit(job, report)        trains, and calls ``report(Report)`` after each validation; stops if that returns False
    Job, Report, Checkpoint plain values, importable without torch
    EpochSeed               reseeds at each epoch, so that a resumed trial equals an uninterrupted one
    ImagePredictionLogger   shows predictions for some validation images
    resolve_precision       the precision that ``precision: auto`` selects on this device

Importing this package loads neither torch nor lightning; using ``fit`` or a callback does.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from orchestrator.seeds import derive_seed
from orchestrator.training.job import Checkpoint, Interim, Job, Measured, Report

if TYPE_CHECKING:
    from orchestrator.training.epoch_seed import EpochSeed
    from orchestrator.training.fit_segment import fit
    from orchestrator.training.precision import resolve_precision
    from orchestrator.training.prediction_logger import ImagePredictionLogger

__all__ = [
    "Checkpoint",
    "EpochSeed",
    "ImagePredictionLogger",
    "Interim",
    "Job",
    "Measured",
    "Report",
    "derive_seed",
    "fit",
    "resolve_precision",
]

_MODULES = {
    "EpochSeed": "epoch_seed",
    "ImagePredictionLogger": "prediction_logger",
    "fit": "fit_segment",
    "resolve_precision": "precision",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
