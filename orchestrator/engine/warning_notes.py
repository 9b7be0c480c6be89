"""Note what a segment warns of: each kind of text once, by `warnings` and by log records of level WARNING and above."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from orchestrator.rundir.trial_logs import alike

_MOST = 50  # kinds of one segment
_CHARACTERS = 500


class _Notes:
    """Passes on each kind of warning once."""

    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        self._send = send
        self._seen: set[tuple[str, str]] = set()

    def note(self, text: str, category: str, place: str) -> None:
        """Pass on a text, unless one that differs in numbers only was passed on before. Raises nothing."""
        with contextlib.suppress(Exception):  # the trial's code must not notice
            first = text.strip().partition("\n\n")[0][:_CHARACTERS]
            kind = (category, alike(first))
            if first and kind not in self._seen and len(self._seen) < _MOST:
                self._seen.add(kind)
                self._send({"text": first, "category": category, "place": place})


@contextlib.contextmanager
def warnings_noted(send: Callable[[dict[str, Any]], None]) -> Iterator[None]:
    """Pass on what is warned of meanwhile: ``text``, ``category`` and ``place`` (a file's name and a line).

    Neither the output of a warning nor that of a log record changes. No handler is added to a logger, because a
    program without handlers gets Python's own, and ``logging.basicConfig`` does nothing where there is one.
    """
    notes = _Notes(send)
    show, make = warnings.showwarning, logging.getLogRecordFactory()

    def showwarning(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, *rest: Any, **named: Any
    ) -> None:
        notes.note(str(message), category.__name__, f"{Path(filename).name}:{lineno}")
        show(message, category, filename, lineno, *rest, **named)

    def record(*arguments: Any, **named: Any) -> logging.LogRecord:
        made = make(*arguments, **named)
        if made.levelno >= logging.WARNING and made.name != "py.warnings":
            with contextlib.suppress(Exception):  # a text that does not fit its arguments: logging reports it itself
                notes.note(made.getMessage(), made.levelname, f"{made.filename}:{made.lineno}")
        return made

    warnings.showwarning = showwarning
    logging.setLogRecordFactory(record)
    try:
        yield
    finally:
        if warnings.showwarning is showwarning:
            warnings.showwarning = show
        if logging.getLogRecordFactory() is record:
            logging.setLogRecordFactory(make)
