"""Write a model in every export format, each compared with the checkpoint."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from orchestrator import registry
from orchestrator.bundle.bundle_manifest import CHECKPOINT
from orchestrator.bundle.inference import Forward
from orchestrator.bundle.module_loading import from_checkpoint
from orchestrator.bundle.preprocessing import Array, Preprocessing
from orchestrator.durable_files import storage_fault
from orchestrator.errors import SweepError, UsageError
from orchestrator.export.format import Format, Model, Reference, forward_of
from orchestrator.export.model_inputs import preprocessing_of
from orchestrator.export.own_checkpoint import write_own_checkpoint
from orchestrator.export.parity import TOLERANCE, Parity, ParityError, batches, largest_difference
from orchestrator.export.validation_samples import Validation, first_line, read_validation
from orchestrator.training.class_loading.import_paths import import_from
from orchestrator.training.process_state import isolated

_KIND = "export_formats"
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Exported:
    """The formats of a bundle.

    Attributes:
        validation: the validation data that outputs were compared on.
        preprocessing: the model's input and output, if known.
        present: names of the formats that were written.
        parity: format → comparison with the checkpoint.
        missing: format (or ``preprocessing``) → reason why the bundle lacks it.
        loads: why ``load_from_checkpoint(path)`` fails without further arguments; empty if it works.
        has_own: whether it works with ``lightning.ckpt`` alone, which may run code.
    """

    validation: Validation
    preprocessing: Preprocessing | None = None
    present: list[str] = field(default_factory=list)
    parity: dict[str, Parity] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    loads: str = ""
    has_own: bool = False


def select_formats(names: Sequence[str] | None = None) -> tuple[list[Format], dict[str, str]]:
    """Return the named formats, and for each that cannot be used the reason.

    Args:
        names: names of formats; None for all that are built in or installed, of which unusable ones are skipped.

    Raises:
        UsageError: a named format does not exist or cannot be loaded.
        MissingExtraError: a package that a named format requires is not installed.
    """
    formats: list[Format] = []
    unusable: dict[str, str] = {}
    for name in dict.fromkeys(registry.names(_KIND) if names is None else names):
        try:
            format_class = cast(type[Format], registry.load(_KIND, name))
            format_class().check_installed()
        except UsageError as error:
            if names is not None:
                raise
            unusable[name] = _reason(error)
        else:
            formats.append(format_class())
    return sorted(formats, key=lambda target: (target.needs_input, target.name)), unusable


def export_formats(
    folder: Path, config: Mapping[str, Any], roots: list[str], names: Sequence[str] | None = None
) -> Exported:
    """Write the model in ``folder``, which holds its checkpoint, in the named formats, by default all.

    The reference is the module with the weights of the checkpoint, in evaluation mode, in float32, on the CPU.

    Args:
        folder: the bundle's folder.
        config: the content of config.json.
        roots: folders from which the module's class may be imported.
        names: names of formats, as in `select_formats`.

    Raises:
        ParityError: a format's outputs differ from the reference.
        UsageError: the module cannot be built, or a named format cannot be used.
    """
    formats, unusable = select_formats(names)
    import_from(roots)
    with isolated():
        module = from_checkpoint(folder / CHECKPOINT, config["model"]).float()
        exported = Exported(read_validation(config, module), missing=unusable)
        exported.has_own, exported.loads = write_own_checkpoint(folder, module)
        samples, reason = exported.validation.samples, exported.validation.reason
        reference: Reference | None = None
        if samples is not None:
            outputs, reason = _reference_outputs(forward_of(module), samples.inputs.numpy())
            if outputs:
                preprocessing = preprocessing_of(samples, outputs[-1][1], exported.validation.datamodule)
                exported.preprocessing = preprocessing
                reference = Reference(outputs, preprocessing.kind, samples.source)
        if reference is None:
            exported.missing.update(
                dict.fromkeys(("preprocessing", *(target.name for target in formats if target.needs_input)), reason)
            )
        model = Model(module, config["model"], samples.inputs if samples else None)
        for target in formats:
            if target.name not in exported.missing:
                _export(target, folder, model, reference, exported)
        return exported


def _reference_outputs(reference: Forward, inputs: Array) -> tuple[list[tuple[Array, Array]], str]:
    """Return the checkpoint's outputs for batches of ``inputs``; or none, and why outputs cannot be compared."""
    try:
        repeated, outputs = reference(inputs[:1]), batches(inputs, reference)
    except Exception as error:  # the user's forward
        return [], f"forward does not run on a validation batch: {first_line(error)}"
    for batch, output in outputs:
        if output.ndim == 0 or len(output) != len(batch):
            return [], f"forward returns {output.shape} for {len(batch)} inputs, not one output for each"
    if not largest_difference(repeated, outputs[0][1]) <= TOLERANCE:
        return [], "forward returns different outputs for the same input"
    return outputs, ""


def _export(target: Format, folder: Path, model: Model, reference: Reference | None, exported: Exported) -> None:
    before = set(folder.iterdir())
    try:
        parity = target.export(model, folder, reference)
    except ParityError:
        raise
    except Exception as error:  # the libraries raise many kinds
        if storage_fault(error):
            raise
        for path in set(folder.iterdir()) - before:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        exported.missing[target.name] = _reason(error)
    else:
        exported.present.append(target.name)
        if parity is not None:
            exported.parity[target.name] = parity


def _reason(error: BaseException) -> str:
    """Return the first line of the error's first cause: libraries wrap it in advice."""
    if isinstance(error, SweepError):
        return f"{error.message}; {error.hint}" if error.hint else error.message
    while error.__cause__ is not None:
        error = error.__cause__
    return _COLOURS.sub("", first_line(error))
