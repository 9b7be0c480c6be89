"""The model in every format that it can be written as, each compared with the checkpoint."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from orchestrator.bundle.manifest import CHECKPOINT
from orchestrator.bundle.modules import from_checkpoint
from orchestrator.bundle.preprocessing import Preprocessing
from orchestrator.export.formats import FORMATS, Format, Model, eager
from orchestrator.export.inputs import preprocessing_of
from orchestrator.export.parity import TOLERANCE, Parity, ParityError, Run, compare, largest_difference
from orchestrator.export.samples import Samples, Validation, first_line, read_validation
from orchestrator.training.components import import_class
from orchestrator.training.components.importing import import_from
from orchestrator.training.isolation import isolated

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
        samples = found.validation.samples
        reference = eager(module)
        if samples is not None and (reason := _unfit(reference, samples)):
            found.missing = {"preprocessing": reason} | {each.name: reason for each in FORMATS if each.needs_input}
            samples = None
        elif samples is not None:
            found.preprocessing = preprocessing_of(samples, reference, found.validation.datamodule)
        model = Model(module, config["model"], samples.inputs if samples else None)
        for each in FORMATS:
            if each.name not in found.missing:
                _export(each, folder, model, reference, samples, found)
        return found


def _unfit(reference: Run, samples: Samples) -> str:
    """Why outputs cannot be compared at all; empty where they can."""
    few = samples.inputs[:7].numpy()
    try:
        once, again = reference(few), reference(few)
    except Exception as error:  # the user's forward
        return f"forward does not run on a validation batch: {first_line(error)}"
    if once.ndim == 0 or len(once) != len(few):
        return f"forward gives {once.shape} for {len(few)} inputs, not an output for each"
    if not largest_difference(once, again) <= TOLERANCE:
        return "forward gives another output each time it is asked"
    return ""


def _export(each: Format, folder: Path, model: Model, reference: Run, samples: Samples | None, found: Exported) -> None:
    if samples is None and each.needs_input:
        found.missing[each.name] = found.validation.reason or "nothing is known of the input"
        found.missing.setdefault("preprocessing", found.missing[each.name])
        return
    file = folder / each.file
    try:
        each.write(model, file)
        run = each.load(model, file)
        if samples is not None and found.preprocessing is not None:
            kind, inputs = found.preprocessing.kind, samples.inputs.numpy()
            found.parity[each.name] = compare(each.name, run, reference, inputs, kind=kind, source=samples.source)
    except ParityError:
        raise
    except Exception as error:  # what the libraries raise is not one kind
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
