"""What ``sweep predict`` says of pictures: classes with probabilities, or how well each was reconstructed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from orchestrator.bundle.loading import Bundle
from orchestrator.bundle.prediction_grid import errors, prediction_grid, reconstruction_grid
from orchestrator.bundle.preprocessing import Array, shown
from orchestrator.errors import UsageError

MOST_IN_A_GRID = 128


@dataclass(frozen=True)
class Answer:
    """Of one picture the classes and their probabilities, the most probable first; or the mean squared error."""

    image: Path
    classes: Sequence[tuple[str, float]] = ()
    error: float | None = None

    @property
    def caption(self) -> str:
        return f"mse {self.error:.3g}" if self.error is not None else "{} {:.1%}".format(*self.classes[0])

    def __str__(self) -> str:
        if self.error is not None:
            return f"{self.image}: mean squared error {self.error:.6g}"
        return f"{self.image}: " + ", ".join(f"{label} {probability:.4f}" for label, probability in self.classes)

    def as_json(self) -> dict[str, Any]:
        if self.error is not None:
            return {"image": str(self.image), "mean_squared_error": self.error}
        said = [{"label": label, "probability": probability} for label, probability in self.classes]
        return {"image": str(self.image), "classes": said}


@dataclass
class Answers:
    """The answers for some picture files, in their order. What a grid needs is kept as they are made."""

    bundle: Bundle
    images: Sequence[Path]
    top: int = 3
    _shown: list[tuple[Array, Array, list[str]]] = field(default_factory=list)

    def __iter__(self) -> Iterator[Answer]:
        """Raises UsageError where a picture cannot be read, or the model neither classifies nor reconstructs."""
        done, self._shown = 0, []
        for inputs, outputs in self.bundle.in_batches(self.images):
            answers = self._answers(self.images[done : done + len(inputs)], inputs, outputs)
            left = max(0, MOST_IN_A_GRID - done)
            if left:
                self._shown.append((inputs[:left], outputs[:left], [answer.caption for answer in answers[:left]]))
            done += len(inputs)
            yield from answers

    def grid(self) -> Image.Image:
        """The first pictures with their answers, once these have been made."""
        inputs, outputs = (np.concatenate([part[place] for part in self._shown]) for place in (0, 1))
        captions = [caption for part in self._shown for caption in part[2]]
        found, name = self.bundle.preprocessing, self.bundle.manifest.content["sweep"]
        title = name if len(captions) == len(self.images) else f"{name}: the first {len(captions)}"
        if found.classifies:
            return prediction_grid(inputs, captions, found, title)
        return reconstruction_grid(inputs, outputs, captions, found, title)

    def _answers(self, images: Sequence[Path], inputs: Array, outputs: Array) -> list[Answer]:
        found = self.bundle.preprocessing
        if not found.classifies:
            if outputs[0].size != inputs[0].size:
                raise UsageError(
                    f"the model gives {shown(found.output_shape)} values, which are neither classes nor a "
                    f"reconstruction of {shown(found.input_shape)}",
                    hint="Bundle.outputs() gives them as they are",
                )
            return [Answer(image, error=error) for image, error in zip(images, errors(inputs, outputs), strict=True)]
        return [
            Answer(image, self._top(prediction.probabilities))
            for image, prediction in zip(images, self.bundle.predictions(outputs), strict=True)
        ]

    def _top(self, probabilities: Sequence[float]) -> list[tuple[str, float]]:
        ranked = sorted(zip(self.bundle.classes, probabilities, strict=True), key=lambda pair: -pair[1])
        return ranked[: self.top]
