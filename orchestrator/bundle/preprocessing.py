"""How a picture becomes the model's input, and what the model's outputs mean: preprocessing.json."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from orchestrator.bundle.image_input import Picture, opened, resized
from orchestrator.errors import UsageError

Kind = Literal["log_probabilities", "probabilities", "scores", "values"]
Array = NDArray[Any]


@dataclass(frozen=True)
class Preprocessing:
    """What preprocessing.json says. Sizes are in pixels; what the DataModule did not say is None.

    ``input_shape`` and ``output_shape`` begin with None, for the batch. A pixel in 0 … 255 becomes
    ``(pixel * scale - mean) / std``, with one mean and one std a channel.
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

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Preprocessing:
        """That of the file's JSON."""
        given, gives = said["input"], said["output"]
        mean, std, classes = (_tuple(value) for value in (given["mean"], given["std"], said["classes"]))
        return cls(
            input_shape=tuple(given["shape"]),
            input_type=given["dtype"],
            **{name: given[name] for name in ("channels", "height", "width", "scale")},
            mean=mean,
            std=std,
            output_shape=tuple(gives["shape"]),
            kind=gives["kind"],
            classes=classes,
        )

    def as_json(self) -> dict[str, Any]:
        """The file's content."""
        sizes = {"channels": self.channels, "height": self.height, "width": self.width}
        scaling = {"scale": self.scale, "mean": self.mean, "std": self.std}
        layout = "NCHW" if self.channels else None
        given = {"name": "input", "shape": self.input_shape, "dtype": self.input_type, "layout": layout}
        gives = {"name": "output", "shape": self.output_shape, "dtype": "float32", "kind": self.kind}
        return {"input": {**given, **sizes, **scaling}, "output": gives, "classes": self.classes}

    @property
    def classifies(self) -> bool:
        return self.kind != "values"

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes' names, their numbers where nobody named them; empty for a model that does not classify."""
        return self.classes or tuple(map(str, range(self.output_shape[1] or 0))) if self.classifies else ()

    def array(self, pictures: Iterable[Picture]) -> Array:
        """Pictures as the model's input, (N, channels, height, width) float32.

        Each is converted to the channels, resized (bilinear, antialiased) and normalised. Raises UsageError where one
        cannot be read, or the bundle does not say how it is done.
        """
        self._check()
        listed = [self._one(picture) for picture in pictures]
        if not listed:
            return np.empty((0, self.channels or 0, self.height or 0, self.width or 0), np.float32)
        return np.stack(listed)

    def pictures(self, inputs: Array) -> list[Image.Image]:
        """Inputs (N, channels, height, width) as pictures again: `array` undone, but for the size."""
        mean, std = self._scaling()
        pixels = np.clip((inputs * std + mean) / (self.scale or 1), 0, 255).round().astype(np.uint8)
        channels_last = np.broadcast_to(pixels, (len(pixels), 3, *pixels.shape[2:])).transpose(0, 2, 3, 1)
        return [Image.fromarray(np.ascontiguousarray(picture)) for picture in channels_last]

    def _one(self, picture: Picture) -> Array:
        image = resized(opened(picture, self.channels or 0), self.height or 0, self.width or 0)
        pixels = np.asarray(image, np.float32).reshape(self.height or 0, self.width or 0, self.channels or 0)
        mean, std = self._scaling()
        return ((pixels.transpose(2, 0, 1) * np.float32(self.scale or 0) - mean) / std).astype(np.float32)

    def _scaling(self) -> tuple[Array, Array]:
        """Mean and std, each (channels or 1, 1, 1)."""
        mean, std = (np.asarray(value, np.float32).reshape(-1, 1, 1) for value in (self.mean, self.std))
        return mean, std

    def _check(self) -> None:
        sizes = {"channels": self.channels, "height": self.height, "width": self.width, "mean": self.mean}
        unknown = [name for name, value in sizes.items() if value is None]
        if unknown:
            raise UsageError(
                f"the bundle does not say how a picture becomes the model's input: {', '.join(unknown)}",
                hint="the DataModule did not: give it `dims` and `pixels` (or `mean` and `std`) and export again; "
                f"or prepare inputs {shown(self.input_shape)} {self.input_type} yourself for Bundle.session()",
            )
        if self.channels not in (1, 3):
            raise UsageError(f"the model takes {self.channels} channels, and pictures have 1 or 3")


def shown(shape: tuple[int | None, ...]) -> str:
    """``(N, 3, 32, 32)``."""
    return f"({', '.join('N' if size is None else str(size) for size in shape)})"


def _tuple(value: Any) -> Any:
    return None if value is None else tuple(value)
