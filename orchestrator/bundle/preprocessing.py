"""Convert images to a model's input, and describe its input and output: preprocessing.json."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from orchestrator.bundle.image_input import Picture, open_image, resize
from orchestrator.errors import UsageError

Kind = Literal["log_probabilities", "probabilities", "scores", "values"]
Array = NDArray[Any]


@dataclass(frozen=True)
class Preprocessing:
    """The content of preprocessing.json. Sizes are in pixels; what the DataModule did not provide is None.

    ``input_shape`` and ``output_shape`` begin with None, for the batch. A pixel in 0 … 255 becomes
    ``(pixel * scale - mean) / std``, with one mean and one std a channel.

    ``characters`` is given for a model of texts: token n is its n-th character, and one token after the last, if the
    model has it, stands for every other character. Inputs are (N, context) int64.
    """

    input_shape: tuple[int | None, ...]
    input_type: str
    channels: int | None
    height: int | None
    width: int | None
    scale: float | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    output_shape: tuple[int | None, ...]
    kind: Kind
    classes: tuple[str, ...] | None
    characters: str | None = None

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Preprocessing:
        """Return the preprocessing that the file's JSON describes."""
        source, target = content["input"], content["output"]
        mean, std, classes = (_tuple(value) for value in (source["mean"], source["std"], content["classes"]))
        return cls(
            input_shape=tuple(source["shape"]),
            input_type=source["dtype"],
            **{name: source[name] for name in ("channels", "height", "width", "scale")},
            mean=mean,
            std=std,
            output_shape=tuple(target["shape"]),
            kind=target["kind"],
            classes=classes,
            characters=content.get("characters"),
        )

    def as_json(self) -> dict[str, Any]:
        """Return the file's content."""
        sizes = {"channels": self.channels, "height": self.height, "width": self.width}
        scaling = {"scale": self.scale, "mean": self.mean, "std": self.std}
        layout = "NCHW" if self.channels else None
        source = {"name": "input", "shape": self.input_shape, "dtype": self.input_type, "layout": layout}
        target = {"name": "output", "shape": self.output_shape, "dtype": "float32", "kind": self.kind}
        text = {"characters": self.characters} if self.characters else {}
        return {"input": {**source, **sizes, **scaling}, "output": target, "classes": self.classes, **text}

    @property
    def classifies(self) -> bool:
        """Whether the outputs are classes."""
        return self.kind != "values"

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes' names, or their numbers if they have none; empty for a model that does not classify."""
        return self.classes or tuple(map(str, range(self.output_shape[1] or 0))) if self.classifies else ()

    def array(self, pictures: Iterable[Picture]) -> Array:
        """Return images as the model's input, (N, channels, height, width) float32.

        Each is converted to the channels, resized (bilinear, antialiased) and normalised.

        Raises:
            UsageError: an image cannot be read, or the bundle does not describe the conversion.
        """
        self._check()
        inputs = [self._input(picture) for picture in pictures]
        if not inputs:
            return np.empty((0, self.channels or 0, self.height or 0, self.width or 0), np.float32)
        return np.stack(inputs)

    def pictures(self, inputs: Array) -> list[Image.Image]:
        """Return inputs (N, channels, height, width) as images: the inverse of `array`, but for the size."""
        mean, std = self._scaling()
        pixels = np.clip((inputs * std + mean) / (self.scale or 1), 0, 255).round().astype(np.uint8)
        channels_last = np.broadcast_to(pixels, (len(pixels), 3, *pixels.shape[2:])).transpose(0, 2, 3, 1)
        return [Image.fromarray(np.ascontiguousarray(picture)) for picture in channels_last]

    def _input(self, picture: Picture) -> Array:
        image = resize(open_image(picture, self.channels or 0), self.height or 0, self.width or 0)
        pixels = np.asarray(image, np.float32).reshape(self.height or 0, self.width or 0, self.channels or 0)
        mean, std = self._scaling()
        return ((pixels.transpose(2, 0, 1) * np.float32(self.scale or 0) - mean) / std).astype(np.float32)

    def _scaling(self) -> tuple[Array, Array]:
        """Return mean and std, each (channels or 1, 1, 1)."""
        mean, std = (np.asarray(value, np.float32).reshape(-1, 1, 1) for value in (self.mean, self.std))
        return mean, std

    def _check(self) -> None:
        sizes = {"channels": self.channels, "height": self.height, "width": self.width, "mean": self.mean}
        unknown = [name for name, value in sizes.items() if value is None]
        if unknown:
            raise UsageError(
                f"the bundle does not describe how an image becomes the model's input: {', '.join(unknown)}",
                hint="give the DataModule `dims` and `pixels` (or `mean` and `std`) and export again, or prepare "
                f"inputs {shape_text(self.input_shape)} {self.input_type} yourself for Bundle.session()",
            )
        if self.channels not in (1, 3):
            raise UsageError(f"the model takes {self.channels} channels, but images have 1 or 3")


def shape_text(shape: tuple[int | None, ...]) -> str:
    """Return a shape as text: ``(N, 3, 32, 32)``."""
    return f"({', '.join('N' if size is None else str(size) for size in shape)})"


def _tuple(value: Any) -> Any:
    return None if value is None else tuple(value)
