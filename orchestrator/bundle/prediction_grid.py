"""A picture of predictions: each input with what the model says of it, or beside its reconstruction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from orchestrator.bundle.preprocessing import Array, Preprocessing
from orchestrator.training.image_grid import draw_grid

_BETWEEN = 2  # pixels between an input and its reconstruction


def prediction_grid(inputs: Array, captions: Sequence[str], preprocessing: Preprocessing, title: str) -> Image.Image:
    """Inputs (N, channels, height, width), each over its caption."""
    return draw_grid(preprocessing.pictures(inputs), captions, [None] * len(captions), title=title)


def reconstruction_grid(
    inputs: Array, outputs: Array, captions: Sequence[str], preprocessing: Preprocessing, title: str
) -> Image.Image:
    """Each input, its reconstruction to the right of it. ``outputs`` have as many values as inputs."""
    rebuilt = preprocessing.pictures(outputs.reshape(inputs.shape))
    pairs = [_beside(*pair) for pair in zip(preprocessing.pictures(inputs), rebuilt, strict=True)]
    return draw_grid(pairs, captions, [None] * len(pairs), title=title)


def errors(inputs: Array, outputs: Array) -> list[float]:
    """The mean squared error of each reconstruction, in the model's own units."""
    gaps = outputs.reshape(len(inputs), -1).astype(np.float64) - inputs.reshape(len(inputs), -1)
    found: list[float] = (gaps**2).mean(axis=1).tolist()
    return found


def _beside(left: Image.Image, right: Image.Image) -> Image.Image:
    both = Image.new("RGB", (left.width + _BETWEEN + right.width, left.height), "white")
    both.paste(left, (0, 0))
    both.paste(right, (left.width + _BETWEEN, 0))
    return both
