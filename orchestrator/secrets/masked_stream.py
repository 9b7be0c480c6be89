"""Streams that mask what is written to them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO, TextIO

_TAIL = 256  # characters before a write that are searched with it: a secret may be written in parts


Mask = Callable[[str, int], str]
"""``mask(text, start)`` returns ``text`` from ``start`` on, masked."""


class MaskedStream:
    """A text stream that masks what is written to it; anything else is the underlying stream's own.

    Attributes:
        unmasked: The underlying stream.
    """

    def __init__(self, stream: TextIO, mask: Mask) -> None:
        self.unmasked = stream
        self._mask = mask
        self._tail = ""

    def write(self, text: str) -> int:
        """Write ``text`` masked. Return the length of ``text``, as the caller expects."""
        tail = self._tail
        self._tail = (tail + text[-_TAIL:])[-_TAIL:]
        self.unmasked.write(self._mask(tail + text, len(tail)))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each line masked."""
        for line in lines:
            self.write(line)

    def close(self) -> None:
        """Flush, and leave the underlying stream open: it is the whole process's, which prints more."""
        self.unmasked.flush()

    @property
    def buffer(self) -> MaskedBytes:
        """The underlying stream's bytes, masked too. Raises AttributeError if it has none."""
        return MaskedBytes(self.unmasked.buffer, self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unmasked, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.unmasked)


class MaskedBytes:
    """The bytes of a `MaskedStream`: what is UTF-8 is masked."""

    def __init__(self, stream: BinaryIO, text: MaskedStream) -> None:
        self.unmasked = stream
        self._text = text

    def write(self, content: bytes) -> int:
        """Write ``content`` masked. Return its length."""
        self._text.flush()
        masked = self._text._mask(bytes(content).decode(errors="surrogateescape"), 0)
        self.unmasked.write(masked.encode(errors="surrogateescape"))
        return len(content)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unmasked, name)


def guard(mask: Mask) -> None:
    """Mask the standard streams, and what log handlers write to them that were made before."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, MaskedStream):
            setattr(sys, name, MaskedStream(stream, mask))
    for handler in _log_handlers():
        if handler.stream in (sys.__stdout__, sys.__stderr__, *_unmasked()):
            handler.setStream(MaskedStream(handler.stream, mask))


def restore(streams: tuple[TextIO, TextIO]) -> None:
    """Undo `guard`, with the standard streams from before."""
    sys.stdout, sys.stderr = streams
    for handler in _log_handlers():
        if isinstance(handler.stream, MaskedStream) and handler.stream.unmasked in streams:
            handler.setStream(handler.stream.unmasked)


def _unmasked() -> list[TextIO]:
    return [stream.unmasked for stream in (sys.stdout, sys.stderr) if isinstance(stream, MaskedStream)]


def _log_handlers() -> Iterator[Any]:
    loggers = [logging.getLogger(), *logging.Logger.manager.loggerDict.values()]
    for logger in loggers:
        for handler in getattr(logger, "handlers", ()):
            if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
                yield handler
