"""``load_bundle``: a bundle from Python, whole or refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.bundle import inference
from orchestrator.bundle.image_input import listed
from orchestrator.bundle.manifest import CONFIG, ONNX, PREPROCESSING, PROGRAM, Manifest, verify_bundle
from orchestrator.bundle.preprocessing import Array, Preprocessing
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from lightning import LightningModule

BATCH = 256  # pictures at once: bounds memory, whatever the folder


@dataclass(frozen=True)
class Prediction:
    """The most probable class, its probability, and the probabilities of all, in the order of ``Bundle.classes``."""

    label: str
    probability: float
    probabilities: tuple[float, ...]


class Bundle:
    """An exported model: every file was compared with what was written when it was loaded.

    ``manifest`` and ``config`` are what MANIFEST.json and config.json say, ``engine`` is ``onnx`` or ``torch``.
    """

    def __init__(self, manifest: Manifest, engine: inference.Engine | None = None) -> None:
        self.manifest = manifest
        self.config: Mapping[str, Any] = manifest.read_json(CONFIG)
        self._wanted = engine

    @property
    def folder(self) -> Path:
        return self.manifest.folder

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """Raises UsageError where nothing is known of the model's input."""
        if not self.manifest.has(PREPROCESSING):
            why = self.manifest.missing.get("preprocessing", "")
            raise UsageError(f"{self.folder} does not say what the model takes: {why}")
        return Preprocessing.of(self.manifest.read_json(PREPROCESSING))

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names; empty for a model that does not classify."""
        return self.preprocessing.labels

    @property
    def engine(self) -> inference.Engine:
        """Raises UsageError where the bundle has neither model.onnx nor model.pt2, or not the one asked for."""
        return inference.engine_of(self.manifest, self._wanted)

    def preprocess(self, images: Any) -> Array:
        """Images as the model's input: (N, channels, height, width) float32.

        ``images`` is one or many of: a path, a PIL image, a uint8 array (height, width[, 1, 3 or 4]); many also as one
        array (N, height, width, channels). Raises UsageError where one cannot be read, or the bundle does not say how.
        """
        return self.preprocessing.array(listed(images))

    def outputs(self, inputs: Array) -> Array:
        """What the model says of inputs as `preprocess` makes them: (N, …) float32."""
        return self._run(inputs)

    def predict(self, images: Any) -> list[Prediction]:
        """The class of each image; images as in `preprocess`. UsageError for a model that does not classify."""
        return [prediction for _, found in self.in_batches(images) for prediction in self.predictions(found)]

    def predictions(self, outputs: Array) -> list[Prediction]:
        """What the outputs (N, classes) mean. UsageError for a model that does not classify."""
        if not self.preprocessing.classifies:
            raise UsageError(f"the model in {self.folder} does not classify: it gives values")
        rows = inference.probabilities(self.preprocessing.kind, outputs).tolist()
        return [Prediction(self.classes[row.index(max(row))], max(row), tuple(row)) for row in rows]

    def in_batches(self, images: Any) -> Iterator[tuple[Array, Array]]:
        """Inputs and outputs of the images, some hundred at a time."""
        many = listed(images)
        for start in range(0, len(many), BATCH):
            inputs = self.preprocessing.array(many[start : start + BATCH])
            yield inputs, self.outputs(inputs)

    def module(self) -> LightningModule:
        """The LightningModule with the exported weights, on the CPU in evaluation mode.

        From model.safetensors where it is there, else from model.ckpt. This imports and builds the classes that
        config.json names, as launching a sweep file does: only for bundles you trust. Raises UsageError where a class
        cannot be imported.
        """
        from orchestrator.bundle.module_loading import load_module

        return load_module(self.manifest, self.config)

    def session(self) -> Any:
        """The ``onnxruntime.InferenceSession`` of model.onnx. Raises UsageError where the bundle has none."""
        inference.engine_of(self.manifest, "onnx")
        return self._session

    @cached_property
    def _session(self) -> Any:
        return inference.session(self.folder / ONNX)

    @cached_property
    def _run(self) -> inference.Run:
        if self.engine == "onnx":
            return inference.through_onnx(self._session)
        return inference.through_torch(self.folder / PROGRAM)


def load_bundle(path: str | Path, engine: inference.Engine | None = None) -> Bundle:
    """The bundle in that folder, after every file was compared with what was written.

    ``engine`` computes its outputs: ``onnx`` (ONNX Runtime) or ``torch`` (model.pt2, only for bundles you trust); by
    default the first that the bundle has. Raises CheckpointError that names a damaged or missing file, UsageError
    where ``path`` is no bundle.
    """
    return Bundle(verify_bundle(path), engine)
