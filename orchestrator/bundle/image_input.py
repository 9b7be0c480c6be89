"""Pictures from anywhere: files, folders, PIL images and arrays, in the channels and the size that a model wants."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from orchestrator.errors import UsageError

Picture: TypeAlias = "Image.Image | str | Path | NDArray[np.uint8]"
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"})


def listed(pictures: Any) -> Sequence[Picture]:
    """One picture or many, as many: an array of four dimensions (N, height, width, channels) is many."""
    if isinstance(pictures, Image.Image | str | Path) or (isinstance(pictures, np.ndarray) and pictures.ndim < 4):
        return [pictures]
    return list(pictures)


def found(paths: Sequence[Path]) -> list[Path]:
    """The picture files among and below these, each folder's in the order of their names.

    Raises UsageError where a path is absent or a folder holds none.
    """
    return [picture for path in paths for picture in _below(path)]


def _below(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    if not path.is_dir():
        raise UsageError(f"there is no picture or folder {path}", hint="name files, or folders of them")
    below = [file for file in sorted(path.rglob("*")) if file.suffix.lower() in SUFFIXES and file.is_file()]
    if not below:
        raise UsageError(f"{path} holds no pictures", hint=f"pictures end in {' '.join(sorted(SUFFIXES))}")
    yield from below


def opened(picture: Picture, channels: int) -> Image.Image:
    """A picture in grey (1 channel) or RGB (3), upright, what is transparent on white. UsageError if unreadable."""
    image = _from_array(picture) if isinstance(picture, np.ndarray) else picture
    if not isinstance(image, Image.Image):
        image = _from_file(Path(image))
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits a pixel, which convert() would cut off at 255
        image = Image.fromarray((np.asarray(image).astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L" if channels == 1 else "RGB")


def resized(image: Image.Image, height: int, width: int) -> Image.Image:
    """Bilinear; PIL widens the filter where it shrinks, which is what others call antialiasing."""
    return image if image.size == (width, height) else image.resize((width, height), Image.Resampling.BILINEAR)


def _from_file(path: Path) -> Image.Image:
    try:
        with Image.open(path) as image:
            image.load()
            return image
    except FileNotFoundError as error:
        raise UsageError(f"there is no picture {path}") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # a torn PNG is a SyntaxError
        reason = "it is no picture that Pillow knows" if isinstance(error, UnidentifiedImageError) else error
        raise UsageError(f"{path} cannot be read: {reason}") from error


def _from_array(array: NDArray[Any]) -> Image.Image:
    pixels = array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if pixels.dtype != np.uint8 or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))):
        raise UsageError(
            f"an array of shape {array.shape} and type {array.dtype} is no picture",
            hint="a picture is uint8, (height, width), (height, width, 1), (height, width, 3) or (height, width, 4)",
        )
    return Image.fromarray(pixels)


def check_writable(file: Path) -> None:
    """Raises UsageError where a picture could not be written there, before anything is computed for it."""
    if file.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise UsageError(f"{file} ends neither in .png nor in .jpg", hint=f"--grid {file.with_suffix('.png')}")
    if not file.absolute().parent.is_dir():
        raise UsageError(f"there is no folder {file.parent}")
