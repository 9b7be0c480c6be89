"""W&B's transaction log, as far as it must be cut: how many rows of history it has, and the log without the first.

The form is LevelDB's: blocks of 32 KiB, in them records with a head of seven bytes (CRC32 of type and content, length,
type: whole, first, middle or last), after seven bytes that name the file.
"""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_NAME = struct.pack("<4sHB", b":W&B", 0xBEE1, 0)
_HEAD = struct.Struct("<IHB")
_BLOCK = 32768
_WHOLE, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


def rows(log: Path) -> int:
    """Rows of history in it."""
    return sum(map(_is_row, records(log)))


def cut(log: Path, count: int) -> None:
    """Leave out its first ``count`` rows of history."""
    left = list(records(log))
    dropped = {
        place for place, _ in zip((p for p, record in enumerate(left) if _is_row(record)), range(count), strict=False)
    }
    beside = log.with_suffix(".tmp")
    beside.write_bytes(_NAME + b"".join(_pieces(record for place, record in enumerate(left) if place not in dropped)))
    beside.replace(log)


def settled(log: Path, patience: float = 5.0) -> bool:
    """Whether the log has its end, after waiting for it: W&B's service writes on when ``finish`` has returned.

    A process that was killed leaves a log without an end; it is as long as it will be.
    """
    until = time.monotonic() + patience
    while not any(_kind(record) == "exit" for record in records(log)):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def records(log: Path) -> Iterator[bytes]:
    """Its records, to the end or to where it was cut off or damaged. Raises ValueError where it is no such log."""
    content = log.read_bytes()
    if not content.startswith(_NAME):
        raise ValueError(f"{log} is no log of W&B's")
    place, record = len(_NAME), b""
    while place + _HEAD.size <= len(content):
        if _BLOCK - place % _BLOCK < _HEAD.size:
            place += _BLOCK - place % _BLOCK
            continue
        check, size, kind = _HEAD.unpack_from(content, place)
        piece = content[place + _HEAD.size : place + _HEAD.size + size]
        if check != zlib.crc32(bytes([kind]) + piece):
            return
        record = piece if kind in (_WHOLE, _FIRST) else record + piece
        if kind in (_WHOLE, _LAST):
            yield record
        place += _HEAD.size + size


def _pieces(records: Iterator[bytes]) -> Iterator[bytes]:
    place = len(_NAME)
    for record in records:
        begun = False
        while True:
            room = _BLOCK - place % _BLOCK
            if room < _HEAD.size:
                yield bytes(room)
                place, room = place + room, _BLOCK
            piece, record = record[: room - _HEAD.size], record[room - _HEAD.size :]
            kind = (_MIDDLE if record else _LAST) if begun else (_FIRST if record else _WHOLE)
            yield _HEAD.pack(zlib.crc32(bytes([kind]) + piece), len(piece), kind) + piece
            place, begun = place + _HEAD.size + len(piece), True
            if not record:
                break


def _is_row(record: bytes) -> bool:
    return _kind(record) == "history"


def _kind(record: bytes) -> str:
    from wandb.proto import wandb_internal_pb2

    messages: Any = wandb_internal_pb2
    return str(messages.Record.FromString(record).WhichOneof("record_type"))
