"""Read W&B's transaction log, and cut rows of history from it.

The format is LevelDB's: seven bytes that identify the file, then blocks of 32 KiB with records. A record's header of
seven bytes holds a CRC32 of type and content, the length, and the type: whole, first, middle or last.
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
    """Return the number of rows of history."""
    return sum(map(_is_row, records(log)))


def cut(log: Path, count: int) -> None:
    """Remove the first ``count`` rows of history."""
    content = list(records(log))
    dropped = set([index for index, record in enumerate(content) if _is_row(record)][:count])
    temporary = log.with_suffix(".tmp")
    temporary.write_bytes(_NAME + b"".join(_pieces(r for index, r in enumerate(content) if index not in dropped)))
    temporary.replace(log)


def wait_for_end(log: Path, patience: float = 5.0) -> bool:
    """Wait for the log's last record, up to ``patience`` seconds. Return whether it is there.

    W&B's service still writes after ``finish`` has returned. A killed process leaves a log without a last record.
    """
    deadline = time.monotonic() + patience
    while not any(_kind(record) == "exit" for record in records(log)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def records(log: Path) -> Iterator[bytes]:
    """Yield the records, up to the end or a damage. Raises ValueError if the file is no log of W&B's."""
    content = log.read_bytes()
    if not content.startswith(_NAME):
        raise ValueError(f"{log} is no log of W&B's")
    position, record = len(_NAME), b""
    while position + _HEAD.size <= len(content):
        if _BLOCK - position % _BLOCK < _HEAD.size:
            position += _BLOCK - position % _BLOCK
            continue
        check, size, kind = _HEAD.unpack_from(content, position)
        piece = content[position + _HEAD.size : position + _HEAD.size + size]
        if check != zlib.crc32(bytes([kind]) + piece):
            return
        record = piece if kind in (_WHOLE, _FIRST) else record + piece
        if kind in (_WHOLE, _LAST):
            yield record
        position += _HEAD.size + size


def _pieces(records: Iterator[bytes]) -> Iterator[bytes]:
    position = len(_NAME)
    for record in records:
        continued = False
        while True:
            room = _BLOCK - position % _BLOCK
            if room < _HEAD.size:
                yield bytes(room)
                position, room = position + room, _BLOCK
            piece, record = record[: room - _HEAD.size], record[room - _HEAD.size :]
            kind = (_MIDDLE if record else _LAST) if continued else (_FIRST if record else _WHOLE)
            yield _HEAD.pack(zlib.crc32(bytes([kind]) + piece), len(piece), kind) + piece
            position, continued = position + _HEAD.size + len(piece), True
            if not record:
                break


def _is_row(record: bytes) -> bool:
    return _kind(record) == "history"


def _kind(record: bytes) -> str:
    from wandb.proto import wandb_internal_pb2

    messages: Any = wandb_internal_pb2
    return str(messages.Record.FromString(record).WhichOneof("record_type"))
