"""Predict image files for ``sweep predict``: classes with probabilities, or reconstruction errors; and draw a grid."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from orchestrator.bundle.loading import Bundle
from orchestrator.bundle.preprocessing import Array, shape_text
from orchestrator.errors import UsageError
from orchestrator.training.image_grid import draw_grid

MAX_IN_GRID = 128
_GAP = 2  # pixels between an input and its reconstruction


@dataclass(frozen=True)
class ImagePrediction:
    """The classes of an image with their probabilities, the most probable first; or its mean squared error."""

    image: Path
    classes: Sequence[tuple[str, float]] = ()
    error: float | None = None

    @property
    def caption(self) -> str:
        """The text below the image in a grid."""
        return f"mse {self.error:.3g}" if self.error is not None else "{} {:.1%}".format(*self.classes[0])

    def __str__(self) -> str:
        if self.error is not None:
            return f"{self.image}: mean squared error {self.error:.6g}"
        return f"{self.image}: " + ", ".join(f"{label} {probability:.4f}" for label, probability in self.classes)

    def as_json(self) -> dict[str, Any]:
        """Return the prediction as ``--json`` prints it."""
        if self.error is not None:
            return {"image": str(self.image), "mean_squared_error": self.error}
        classes = [{"label": label, "probability": probability} for label, probability in self.classes]
        return {"image": str(self.image), "classes": classes}


@dataclass
class ImagePredictions:
    """Predictions of image files, computed as they are iterated over; a grid can be drawn afterwards."""

    bundle: Bundle
    images: Sequence[Path]
    top: int = 3
    _drawn: list[tuple[Array, Array, list[str]]] = field(default_factory=list)

    def __iter__(self) -> Iterator[ImagePrediction]:
        """Yield a prediction for each image.

        Raises:
            UsageError: an image cannot be read, or the model neither classifies nor reconstructs.
        """
        done, self._drawn = 0, []
        for inputs, outputs in self.bundle.in_batches(self.images):
            predictions = self._predictions(self.images[done : done + len(inputs)], inputs, outputs)
            if (room := MAX_IN_GRID - done) > 0:
                captions = [prediction.caption for prediction in predictions[:room]]
                self._drawn.append((inputs[:room], outputs[:room], captions))
            done += len(inputs)
            yield from predictions

    def grid(self) -> Image.Image:
        """Draw the first images with their predictions; a reconstruction is to the right of its input."""
        inputs, outputs = (np.concatenate([batch[place] for batch in self._drawn]) for place in (0, 1))
        captions = [caption for batch in self._drawn for caption in batch[2]]
        preprocessing, name = self.bundle.preprocessing, self.bundle.manifest.content["sweep"]
        title = name if len(captions) == len(self.images) else f"{name}: the first {len(captions)}"
        pictures = preprocessing.pictures(inputs)
        if not preprocessing.classifies:
            reconstructions = preprocessing.pictures(outputs.reshape(inputs.shape))
            pictures = [_side_by_side(*pair) for pair in zip(pictures, reconstructions, strict=True)]
        return draw_grid(pictures, captions, [None] * len(pictures), title=title)

    def _predictions(self, images: Sequence[Path], inputs: Array, outputs: Array) -> list[ImagePrediction]:
        preprocessing = self.bundle.preprocessing
        if not preprocessing.classifies:
            if outputs[0].size != inputs[0].size:
                raise UsageError(
                    f"the model outputs {shape_text(preprocessing.output_shape)} values, which are neither classes nor "
                    f"a reconstruction of {shape_text(preprocessing.input_shape)}",
                    hint="Bundle.outputs() returns them as they are",
                )
            errors = _mean_squared_errors(inputs, outputs)
            return [ImagePrediction(image, error=error) for image, error in zip(images, errors, strict=True)]
        return [
            ImagePrediction(image, self._top_classes(prediction.probabilities))
            for image, prediction in zip(images, self.bundle.predictions(outputs), strict=True)
        ]

    def _top_classes(self, probabilities: Sequence[float]) -> list[tuple[str, float]]:
        ranked = sorted(zip(self.bundle.classes, probabilities, strict=True), key=lambda pair: -pair[1])
        return ranked[: self.top]


def _mean_squared_errors(inputs: Array, outputs: Array) -> list[float]:
    """Return the mean squared error of each reconstruction, in the model's own units."""
    differences = outputs.reshape(len(inputs), -1).astype(np.float64) - inputs.reshape(len(inputs), -1)
    errors: list[float] = (differences**2).mean(axis=1).tolist()
    return errors


def _side_by_side(first: Image.Image, second: Image.Image) -> Image.Image:
    pair = Image.new("RGB", (first.width + _GAP + second.width, first.height), "white")
    pair.paste(first, (0, 0))
    pair.paste(second, (first.width + _GAP, 0))
    return pair
