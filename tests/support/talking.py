"""Modules that say something in every way in which a program can. Imported by path, as a user's own would be."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import warnings
from typing import Any

from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import DataLoader

from tests.support.member import Told
from tests.support.tiny import Tiny, TinyData

KEY = "q8Zk2LmP9xWvT4rB7nYc"
"""The value of the variable SERVICE_API_KEY, which `say_everything` says."""
SAID = ("a print", "a log record", "a warning", "a line of C", "Lightning's warning", "a program", "with ***")


def say_everything() -> None:
    print("a print")
    logging.getLogger("talking").warning("a log record")
    warnings.warn("a warning", stacklevel=1)
    libc = ctypes.CDLL(None)
    libc.puts(b"a line of C")
    libc.fflush(None)
    rank_zero_warn("Lightning's warning")
    os.system("echo a program >&2")
    sys.stderr.write(f"with {os.environ.get('SERVICE_API_KEY', KEY)}\n")


class Talking(Tiny):
    """Says everything; ``fails`` with an error afterwards."""

    def __init__(self, fails: bool = False, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.fails = fails

    def on_fit_start(self) -> None:
        say_everything()
        if self.fails:
            raise RuntimeError(f"the first line\nand {os.environ.get('SERVICE_API_KEY', KEY)}")


class TalkingMember(Told):
    """The same in a trial of several processes."""

    def on_fit_start(self) -> None:
        say_everything()
        print(f"rank {self.global_rank}")


class TalkingRows(TinyData):
    """Whose loader's process prints."""

    def train_dataloader(self) -> Any:
        return DataLoader(self.points, self.batch_size, num_workers=1, worker_init_fn=_say)


def _say(number: int) -> None:
    print(f"loader {number}")
