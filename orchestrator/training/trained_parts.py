"""Build the module and the data of a trial again, whichever door they came by: of classes, or by the user's code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import lightning as L

from orchestrator.training import class_loading
from orchestrator.training.doors.code_capture import captured
from orchestrator.training.job import model_name

_Errors = Callable[[str], AbstractContextManager[Any]]


def is_code(model: Mapping[str, Any]) -> bool:
    """Return whether a function or a script makes the model, not a class that the sweep file names."""
    return "class_path" not in model


def build_module(model: Mapping[str, Any], errors: _Errors = nullcontext) -> L.LightningModule:
    """Build a trial's module with initial weights.

    Args:
        model: ``{class_path, init_args}``, or a function or script as `code_capture.captured` takes it.
        errors: entered with the name of what is being built.

    Raises:
        UsageError: it cannot be built. Errors of constructors pass through ``errors``.
    """
    with errors(model_name(model)):
        module: L.LightningModule = (
            captured(model).module if is_code(model) else class_loading.build(model, (L.LightningModule,))
        )
    return module


def build_parts(
    model: Mapping[str, Any],
    data: Mapping[str, Any] | None,
    errors: _Errors = nullcontext,
    stage: Literal["fit", "test"] = "fit",
) -> tuple[Any, Any, dict[str, Any]]:
    """Build a trial's module and data, in the order of training.

    Args:
        model: as in `build_module`.
        data: ``{class_path, init_args}``; None if the module or the code brings its data.
        errors: as in `build_module`.
        stage: which data code is asked for.

    Returns:
        The module, the data or None, and the arguments that the code gave its own Trainer.
    """
    if not is_code(model):
        return (*class_loading.build_parts(model, data, errors), {})
    with errors(model_name(model)):
        found = captured(model, stage)
        own = None if data is None else class_loading.build_data(data)
    return found.module, own or found.data, found.trainer
