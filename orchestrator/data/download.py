"""Downloads: once a node, and an error that says what to do where there is no network."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from orchestrator.data.image_cache import FOLDER, locked
from orchestrator.errors import DataError

SILENCE = 30.0  # seconds without a byte after which a server counts as unreachable


def fetch(dataset: str, data_dir: Path, download: Callable[[], object], *, wanted: str, hint: str) -> None:
    """Run ``download`` under this node's lock. ``wanted`` says which files are not there.

    ``download`` returns at once where another process has fetched the files meanwhile. Raises DataError where it fails.
    """
    try:
        with locked(data_dir / FOLDER / f"{dataset}.download.lock"), _impatient():
            download()
    except (OSError, RuntimeError, EOFError) as error:  # URLError and BadGzipFile are OSErrors
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise DataError(
            f"{dataset} is not complete in {data_dir.absolute()} ({wanted}) and could not be downloaded: {reason}",
            hint=hint,
        ) from error


@contextlib.contextmanager
def _impatient() -> Iterator[None]:
    """torchvision opens its URLs without a time limit: behind a firewall that drops packets it would wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
