"""A small file that would decode into an image larger than memory is refused by name, before it is decoded."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from pathlib import Path

import pytest
from PIL import Image

from orchestrator.bundle.image_input import open_image
from orchestrator.errors import UsageError


def png(width: int, height: int) -> bytes:
    """A PNG file that claims a size, and holds almost nothing."""
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"")),
        (b"IEND", b""),
    ]
    chunks = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize(("width", "height"), [(10_000, 10_000), (40_000, 40_000), (2**31 - 1, 2**31 - 1)])
def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path: Path, width: int, height: int) -> None:
    (tmp_path / "bomb.png").write_bytes(png(width, height))
    tracemalloc.start()
    try:
        with pytest.raises(UsageError, match=r"bomb.png has more than 89,478,485 pixels") as error:
            open_image(tmp_path / "bomb.png", 3)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
    assert "smaller" in error.value.hint


def test_an_image_below_the_limit_is_read(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "small.png")
    assert open_image(tmp_path / "small.png", 3).size == (30, 20)
