"""A plain download in `prepare_data`: a temporary file, then a rename; two at once fail."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests.support.tiny import Tiny, TinyData


def download(folder: str, seconds: float) -> None:
    """Download, and leave a line in ``calls``."""
    file, part = Path(folder) / "data.bin", Path(folder) / "data.part"
    with (Path(folder) / "calls").open("a") as calls:
        calls.write("found\n" if file.exists() else "download\n")
    if file.exists():
        return
    if part.exists():
        raise SystemExit(1)
    part.touch()
    time.sleep(seconds)
    part.rename(file)


class Download(TinyData):
    """Downloads its data."""

    def __init__(self, folder: str, seconds: float = 0.3) -> None:
        super().__init__()
        self.folder, self.seconds = folder, seconds

    def prepare_data(self) -> None:
        download(self.folder, self.seconds)


class DownloadingModule(Tiny):
    """A module that downloads for itself."""

    def __init__(self, folder: str = "", **arguments: Any) -> None:
        super().__init__(**arguments)
        self.folder = folder

    def prepare_data(self) -> None:
        download(self.folder, 0.0)
