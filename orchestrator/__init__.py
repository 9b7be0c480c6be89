"""Hyperparameter sweeps for PyTorch Lightning: launch, scale, export the best checkpoint.

    from orchestrator import Sweep, log_uniform
    Sweep(model=MyModel, data=MyData, space={"model.learning_rate": log_uniform(1e-4, 1e-2)},
          objective=("val_loss", "min")).launch()

Names are loaded when they are used: importing the package is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str

    from orchestrator.bundle import Bundle, load_bundle
    from orchestrator.errors import SweepError
    from orchestrator.results import BestTrial, Results, load_results
    from orchestrator.space import (
        choice,
        const,
        integer,
        log_int,
        log_normal,
        log_uniform,
        normal,
        uniform,
    )
    from orchestrator.spec import SweepSpec
    from orchestrator.spec import load as load_spec
    from orchestrator.sweep import Sweep

_HOMES = {
    "SweepError": ("orchestrator.errors", "SweepError"),
    "BestTrial": ("orchestrator.results", "BestTrial"),
    "Bundle": ("orchestrator.bundle", "Bundle"),
    "Results": ("orchestrator.results", "Results"),
    "SweepSpec": ("orchestrator.spec", "SweepSpec"),
    "load_results": ("orchestrator.results", "load_results"),
    "load_bundle": ("orchestrator.bundle", "load_bundle"),
    "load_spec": ("orchestrator.spec", "load"),
    "Sweep": ("orchestrator.sweep", "Sweep"),
    **{
        name: ("orchestrator.space", name)
        for name in ("choice", "const", "integer", "log_int", "log_normal", "log_uniform", "normal", "uniform")
    },
}

__all__ = [
    "BestTrial",
    "Bundle",
    "Results",
    "Sweep",
    "SweepError",
    "SweepSpec",
    "choice",
    "const",
    "integer",
    "load_bundle",
    "load_results",
    "load_spec",
    "log_int",
    "log_normal",
    "log_uniform",
    "normal",
    "uniform",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("orchestrator.version").version()
    if name not in _HOMES:
        raise AttributeError(f"module 'orchestrator' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)
