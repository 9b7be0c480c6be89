"""Load a bundle in Python, verified or refused: ``orchestrator.load_bundle``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.bundle import inference
from orchestrator.bundle.bundle_author import require_bundle_trust
from orchestrator.bundle.bundle_manifest import CONFIG, ONNX, PREPROCESSING, PROGRAM, Manifest, verify_bundle
from orchestrator.bundle.image_input import as_sequence
from orchestrator.bundle.preprocessing import Array, Preprocessing
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from lightning import LightningModule

BATCH = 256  # images at once; bounds memory for a folder of any size


@dataclass(frozen=True)
class Prediction:
    """The most probable class, its probability, and the probabilities of all, in the order of ``Bundle.classes``."""

    label: str
    probability: float
    probabilities: tuple[float, ...]


class Bundle:
    """An exported model, every file of which was verified when it was loaded.

    Attributes:
        manifest: the content of MANIFEST.json.
        config: the content of config.json.

    Example:
        ```python
        bundle = orchestrator.load_bundle(Sweep.attach("quickstart").export("bundle"))
        print(bundle.config["metric"], bundle.module())
        ```
    """

    def __init__(self, manifest: Manifest, engine: inference.Engine | None = None, *, trust: bool = False) -> None:
        self.manifest = manifest
        self._trust = trust
        self.config: Mapping[str, Any] = manifest.read_json(CONFIG)
        self._requested_engine = engine

    @property
    def folder(self) -> Path:
        """The bundle's folder."""
        return self.manifest.folder

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """The model's input and output. Raises UsageError if they are unknown."""
        if not self.manifest.has(PREPROCESSING):
            reason = self.manifest.missing.get("preprocessing", "")
            raise UsageError(f"{self.folder} does not describe the model's input: {reason}")
        return Preprocessing.of(self.manifest.read_json(PREPROCESSING))

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes; empty for a model that does not classify."""
        return self.preprocessing.labels

    @property
    def engine(self) -> inference.Engine:
        """``onnx`` or ``torch``. Raises UsageError if the bundle lacks the engine's file."""
        return inference.choose_engine(self.manifest, self._requested_engine)

    def preprocess(self, images: Any) -> Array:
        """Return images as the model's input: (N, channels, height, width) float32.

        Args:
            images: one or many of: a path, a PIL image, a uint8 array (height, width[, 1, 3 or 4]); many also as one
                array (N, height, width, channels).

        Raises:
            UsageError: an image cannot be read, or the bundle does not describe the preprocessing.
        """
        return self.preprocessing.array(as_sequence(images))

    def outputs(self, inputs: Array) -> Array:
        """Return the model's outputs (N, …) float32 for inputs as `preprocess` returns them."""
        return self._forward(inputs)

    def predict(self, images: Any) -> Any:
        """Return the class of each image, a list of `Prediction`; images as in `preprocess`.

        If the bundle does not describe the model's input, ``images`` is one batch as the module's training gets it,
        such as a mapping or a graph, and the result is what the module's own ``predict_step`` returns for it.

        Raises:
            UsageError: the model of images does not classify, or the module does not take the batch.
            UntrustedRunError: the module has to be imported, and somebody else exported the bundle.
        """
        if not self.manifest.has(PREPROCESSING):
            from orchestrator.bundle.module_run import predict_batch

            return predict_batch(self.module(), images)
        return [prediction for _, outputs in self.in_batches(images) for prediction in self.predictions(outputs)]

    def predictions(self, outputs: Array) -> list[Prediction]:
        """Return the predictions of outputs (N, classes). UsageError for a model that does not classify."""
        if not self.preprocessing.classifies:
            raise UsageError(f"the model in {self.folder} does not classify; it outputs values")
        rows = inference.probabilities(self.preprocessing.kind, outputs).tolist()
        return [Prediction(self.classes[row.index(max(row))], max(row), tuple(row)) for row in rows]

    def in_batches(self, images: Any) -> Iterator[tuple[Array, Array]]:
        """Yield inputs and outputs of the images, up to 256 at a time."""
        sequence = as_sequence(images)
        for start in range(0, len(sequence), BATCH):
            inputs = self.preprocessing.array(sequence[start : start + BATCH])
            yield inputs, self.outputs(inputs)

    def module(self) -> LightningModule:
        """Return the LightningModule with the exported weights, on the CPU in evaluation mode.

        This imports and builds the classes that config.json names, as launching a sweep file does.

        Raises:
            UntrustedRunError: somebody else exported the bundle, and it is not trusted.
            UsageError: a class cannot be imported.
        """
        require_bundle_trust(self.manifest, trust=self._trust)
        from orchestrator.bundle.module_loading import load_module

        return load_module(self.manifest, self.config)

    def session(self) -> Any:
        """Return the ``onnxruntime.InferenceSession`` of model.onnx. Raises UsageError if the bundle has none."""
        inference.choose_engine(self.manifest, "onnx")
        return self._session

    @cached_property
    def _session(self) -> Any:
        return inference.onnx_session(self.folder / ONNX)

    @cached_property
    def _forward(self) -> inference.Forward:
        if self.engine == "onnx":
            return inference.onnx_forward(self._session)
        require_bundle_trust(self.manifest, trust=self._trust)
        return inference.program_forward(self.folder / PROGRAM)


def load_bundle(path: str | Path, engine: inference.Engine | None = None, *, trust: bool = False) -> Bundle:
    """Verify every file of the bundle in that folder, and return it.

    Args:
        path: the bundle's folder.
        engine: what computes outputs: ``onnx`` (ONNX Runtime) or ``torch`` (model.pt2); by default the first of them
            that the bundle has.
        trust: import the code that the bundle names, or read its model.pt2, although somebody else exported it.

    Raises:
        CheckpointError: a file is damaged or missing; names it.
        UsageError: ``path`` is not a bundle.

    Example:
        ```python
        folder = Sweep.attach("quickstart").export("bundle")
        bundle = orchestrator.load_bundle(folder)
        print(bundle.module())
        ```
    """
    return Bundle(verify_bundle(path), engine, trust=trust)
