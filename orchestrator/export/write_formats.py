"""The model in every format that it can be written as, each compared with the checkpoint."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from orchestrator.bundle.manifest import CHECKPOINT
from orchestrator.bundle.module_loading import from_checkpoint
from orchestrator.bundle.preprocessing import Preprocessing
from orchestrator.durable_files import storage_fault
from orchestrator.export.formats import FORMATS, Format, Model, eager
from orchestrator.export.model_inputs import preprocessing_of
from orchestrator.export.parity import TOLERANCE, Array, Parity, ParityError, Run, batches, compare, largest_difference
from orchestrator.export.validation_samples import Validation, first_line, read_validation
from orchestrator.training.class_loading import import_class
from orchestrator.training.class_loading.import_paths import import_from
from orchestrator.training.process_state import isolated

Expected = list[tuple[Array, Array]]
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Exported:
    """The formats that are there, with how each compared, and those that are ``missing``, with the reason.

    ``loads`` says why Lightning's own ``load_from_checkpoint`` does not do without further arguments; empty if it does.
    """

    validation: Validation
    preprocessing: Preprocessing | None = None
    parity: dict[str, Parity] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    loads: str = ""

    @property
    def present(self) -> list[str]:
        """Names of the formats that were written."""
        return [each.name for each in FORMATS if each.name not in self.missing]


def export_formats(folder: Path, config: Mapping[str, Any], roots: list[str]) -> Exported:
    """Write the model in ``folder`` beside its checkpoint. ``roots`` are the folders that its classes may live in.

    The reference is the module with the weights of ``folder``'s checkpoint, in evaluation mode, in float32, on the CPU.
    Raises ParityError where a format disagrees with it, UsageError where the module cannot be built.
    """
    import_from(roots)
    with isolated():
        module = from_checkpoint(folder / CHECKPOINT, config["model"]).float()
        found = Exported(read_validation(config, module), loads=_loads(folder / CHECKPOINT, config["model"]))
        samples, reason = found.validation.samples, found.validation.reason
        expected: Expected = []
        if samples is not None:
            expected, reason = _expected(eager(module), samples.inputs.numpy())
        if samples is None or not expected:
            found.missing = dict.fromkeys(("preprocessing", *(f.name for f in FORMATS if f.needs_input)), reason)
        else:
            found.preprocessing = preprocessing_of(samples, expected[-1][1], found.validation.datamodule)
        model = Model(module, config["model"], samples.inputs if samples else None)
        for each in FORMATS:
            if each.name not in found.missing:
                _export(each, folder, model, expected, found)
        return found


def _expected(reference: Run, inputs: Array) -> tuple[Expected, str]:
    """What the checkpoint gives for batches of ``inputs``; or nothing, and why outputs cannot be compared at all."""
    try:
        again, found = reference(inputs[:1]), batches(inputs, reference)
    except Exception as error:  # the user's forward
        return [], f"forward does not run on a validation batch: {first_line(error)}"
    for batch, outputs in found:
        if outputs.ndim == 0 or len(outputs) != len(batch):
            return [], f"forward gives {outputs.shape} for {len(batch)} inputs, not an output for each"
    if not largest_difference(again, found[0][1]) <= TOLERANCE:
        return [], "forward gives another output each time it is asked"
    return found, ""


def _export(each: Format, folder: Path, model: Model, expected: Expected, found: Exported) -> None:
    file = folder / each.file
    try:
        each.write(model, file)
        run = each.load(model, file)
        if found.preprocessing is not None and found.validation.samples is not None:
            kind, source = found.preprocessing.kind, found.validation.samples.source
            found.parity[each.name] = compare(each.name, run, expected, kind=kind, source=source)
    except ParityError:
        raise
    except Exception as error:  # what the libraries raise is not one kind
        if storage_fault(error):
            raise
        for path in folder.glob(f"{each.file}*"):
            path.unlink()
        found.missing[each.name] = _reason(error)


def _reason(error: BaseException) -> str:
    """The first line of what went wrong in the first place: the libraries wrap it in advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    return _COLOURS.sub("", first_line(error))


def _loads(checkpoint: Path, model: Mapping[str, Any]) -> str:
    """Why the class's own ``load_from_checkpoint(path)`` fails; empty where it works."""
    cls: Any = import_class(model["class_path"])
    with torch.random.fork_rng(devices=[]):
        try:
            cls.load_from_checkpoint(checkpoint, map_location="cpu", weights_only=True)
        except Exception as error:  # mostly a TypeError for an argument that save_hyperparameters left out
            return first_line(error)
    return ""
