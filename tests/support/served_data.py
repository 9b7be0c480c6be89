"""A data set in MNIST's format that a web server on a host of its own holds, and a data module that downloads it.

    python -m tests.support.served_data FOLDER PORT

serves the folder, slowly; what was asked for, and by whom, is on standard error.
"""

from __future__ import annotations

import sys
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from torchvision.datasets import MNIST

from orchestrator.data import MNISTDataModule

SLOW_SECONDS = 2.0  # a file: long enough for every trial of a host to want it meanwhile


class Official(MNIST):  # type: ignore[misc]  # torchvision has no type information
    resources = tuple(
        (f"{name}-ubyte.gz", None)
        for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    )


class ServedDataModule(MNISTDataModule):
    """``mirror``: the URL of the folder, with a slash at its end."""

    def __init__(self, mirror: str, data_dir: str, val_size: int = 50) -> None:
        super().__init__(data_dir, val_size=val_size)
        self.official = type("Served", (Official,), {"mirrors": (mirror,)})


class Slow(SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        time.sleep(SLOW_SECONDS)
        super().do_GET()


if __name__ == "__main__":
    served: Any = partial(Slow, directory=sys.argv[1])
    ThreadingHTTPServer(("0.0.0.0", int(sys.argv[2])), served).serve_forever()
