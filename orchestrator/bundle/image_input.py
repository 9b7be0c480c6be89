"""Read images from files, folders, PIL images and arrays, in the channels and size that a model takes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from orchestrator.errors import UsageError

Picture: TypeAlias = "Image.Image | str | Path | NDArray[np.uint8]"
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm"})


def as_sequence(pictures: Any) -> Sequence[Picture]:
    """Return one or many images as a sequence. An array of four dimensions (N, height, width, channels) is many."""
    if isinstance(pictures, Image.Image | str | Path) or (isinstance(pictures, np.ndarray) and pictures.ndim < 4):
        return [pictures]
    return list(pictures)


def image_files(paths: Sequence[Path]) -> list[Path]:
    """Return the image files among and below these paths, those of a folder sorted by name.

    Raises:
        UsageError: a path does not exist, or a folder holds no image.
    """
    return [file for path in paths for file in _files_below(path)]


def _files_below(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    if not path.is_dir():
        raise UsageError(f"there is no image or folder {path}", hint="specify image files, or folders of them")
    files = [file for file in sorted(path.rglob("*")) if file.suffix.lower() in SUFFIXES and file.is_file()]
    if not files:
        raise UsageError(f"{path} holds no images", hint=f"images end in {' '.join(sorted(SUFFIXES))}")
    yield from files


def open_image(picture: Picture, channels: int) -> Image.Image:
    """Return an image in grey (1 channel) or RGB (3), upright, transparency on white. Raises UsageError."""
    image = _from_array(picture) if isinstance(picture, np.ndarray) else picture
    if not isinstance(image, Image.Image):
        image = _from_file(Path(image))
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits a pixel; convert() would clip them at 255
        image = Image.fromarray((np.asarray(image).astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L" if channels == 1 else "RGB")


def resize(image: Image.Image, height: int, width: int) -> Image.Image:
    """Return the image resized by bilinear interpolation, antialiased when it shrinks."""
    return image if image.size == (width, height) else image.resize((width, height), Image.Resampling.BILINEAR)


def _from_file(path: Path) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                image.load()
                return image
    except FileNotFoundError as error:
        raise UsageError(f"there is no image {path}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UsageError(
            f"{path} has more than {Image.MAX_IMAGE_PIXELS:,} pixels, which may be an attack on this machine's memory",
            hint="make it smaller; in Python, PIL.Image.MAX_IMAGE_PIXELS is the limit",
        ) from error
    except (OSError, SyntaxError, ValueError) as error:  # a torn PNG is a SyntaxError
        reason = "Pillow does not know its format" if isinstance(error, UnidentifiedImageError) else error
        raise UsageError(f"{path} cannot be read: {reason}") from error


def _from_array(array: NDArray[Any]) -> Image.Image:
    pixels = array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if pixels.dtype != np.uint8 or not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))):
        raise UsageError(
            f"an array of shape {array.shape} and type {array.dtype} is not an image",
            hint="an image is uint8, (height, width), (height, width, 1), (height, width, 3) or (height, width, 4)",
        )
    return Image.fromarray(pixels)


def check_writable(file: Path) -> None:
    """Raise UsageError if an image cannot be written to that file, before anything is computed for it."""
    if file.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise UsageError(f"{file} must end in .png or .jpg", hint=f"--grid {file.with_suffix('.png')}")
    if not file.absolute().parent.is_dir():
        raise UsageError(f"there is no folder {file.parent}")
