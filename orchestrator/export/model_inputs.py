"""Describe a model's input and output, from its DataModule and its outputs on validation data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from orchestrator.bundle.preprocessing import Array, Kind, Preprocessing
from orchestrator.export.validation_samples import Samples

_SCALE = 1 / 255
_SLACK = 0.01


def preprocessing_of(samples: Samples, outputs: Array, datamodule: Any) -> Preprocessing:
    """Return the preprocessing of a model that outputs ``outputs`` (N, …) for the samples.

    What the DataModule does not provide, or contradicts, is None.
    """
    inputs = samples.inputs.numpy()
    names = getattr(datamodule, "class_names", None)
    kind = _kind(inputs, outputs, samples, names)
    channels, height, width = _dims(inputs, getattr(datamodule, "dims", None))
    scale = getattr(datamodule, "pixels", datamodule)
    mean, std = (_per_channel(getattr(scale, name, None), channels) for name in ("mean", "std"))
    if mean is None or std is None or not _are_pixels(inputs, mean, std):
        mean = std = None
    has_names = names is not None and kind != "values" and len(names) == outputs.shape[1]
    return Preprocessing(
        input_shape=(None, *inputs.shape[1:]),
        input_type=str(inputs.dtype),
        channels=channels,
        height=height,
        width=width,
        scale=_SCALE if mean else None,
        mean=mean,
        std=std,
        output_shape=(None, *outputs.shape[1:]),
        kind=kind,
        classes=tuple(map(str, names or ())) if has_names else None,
        characters=_characters(inputs, outputs, getattr(datamodule, "characters", None)),
    )


def _characters(inputs: Array, outputs: Array, characters: Any) -> str | None:
    """Return the DataModule's ``characters`` if the model outputs a score for each of them at each position."""
    if not isinstance(characters, str) or inputs.ndim != 2 or not np.issubdtype(inputs.dtype, np.integer):
        return None
    sizes = {(*inputs.shape, len(characters)), (*inputs.shape, len(characters) + 1)}
    return characters if outputs.shape in sizes else None


def _kind(inputs: Array, outputs: Array, samples: Samples, names: Sequence[str] | None) -> Kind:
    """Return the meaning of the outputs.

    A classifier outputs (N, classes) and has integer labels below the number of classes. A model with as many outputs
    as inputs reconstructs them.
    """
    if samples.labels is None or outputs.ndim != 2 or outputs[0].size in (1, inputs[0].size):
        return "values"
    labels = samples.labels.numpy()
    if labels.min() < 0 or labels.max() >= outputs.shape[1] or (names and len(names) != outputs.shape[1]):
        return "values"
    wide = outputs.astype(np.float64)
    if (wide <= 1e-6).all() and np.allclose(np.exp(wide).sum(axis=1), 1, atol=1e-3):
        return "log_probabilities"
    return "probabilities" if (wide >= 0).all() and np.allclose(wide.sum(axis=1), 1, atol=1e-3) else "scores"


def _dims(inputs: Array, dims: Any) -> tuple[int | None, int | None, int | None]:
    """Return channels, height and width if the DataModule's ``dims`` are those of its batches."""
    if dims is None or inputs.ndim != 4 or tuple(dims) != inputs.shape[1:]:
        return None, None, None
    channels, height, width = (int(size) for size in inputs.shape[1:])
    return channels, height, width


def _per_channel(value: Any, channels: int | None) -> tuple[float, ...] | None:
    """Return one number a channel, given one number or one a channel; None for anything else."""
    try:
        numbers = tuple(float(number) for number in np.asarray(value, dtype=np.float64).reshape(-1))
    except (TypeError, ValueError):
        return None
    if channels is None or len(numbers) not in (1, channels) or not np.isfinite(numbers).all():
        return None
    return numbers * channels if len(numbers) == 1 else numbers


def _are_pixels(inputs: Array, mean: Sequence[float], std: Sequence[float]) -> bool:
    """Return whether the inputs, scaled back by mean and std, lie in [0, 1]; else the images were scaled otherwise."""
    pixels = inputs * np.reshape(std, (-1, 1, 1)) + np.reshape(mean, (-1, 1, 1))
    return bool(min(std) > 0 and pixels.min() >= -_SLACK and pixels.max() <= 1 + _SLACK)
