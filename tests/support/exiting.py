"""A module that ends in ways that are no ordinary exception. Imported by path, as a user's own would be."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any, NoReturn

from torch.utils.data import DataLoader

from tests.support.tiny import Tiny, TinyData


class Unprintable(Exception):
    """Raises in ``__str__``, ``__repr__`` and ``__reduce__``."""

    def __str__(self) -> str:
        raise AttributeError("detail")

    def __repr__(self) -> str:
        raise AttributeError("detail")

    def __reduce__(self) -> NoReturn:
        raise AttributeError("detail")


class Unclassed(Exception):
    """Raises if it is asked for its class, or for an attribute that it does not have."""

    @property  # type: ignore[misc]
    def __class__(self) -> NoReturn:  # type: ignore[override]
        raise RuntimeError("detail")

    def __getattr__(self, name: str) -> NoReturn:
        raise RuntimeError("detail")


class Unusual(BaseException):
    """No Exception, as trio.Cancelled or pytest's own outcomes are not."""


class Exiting(Tiny):
    """``kind`` says what its first training step raises; ``ok`` trains."""

    def __init__(self, kind: str = "ok") -> None:
        super().__init__()
        self.kind = kind

    def training_step(self, batch: Any, index: int) -> Any:
        if self.kind == "exit 0":
            sys.exit(0)
        if self.kind == "exit text":
            sys.exit("the data is bad")
        if self.kind == "interrupt":
            raise KeyboardInterrupt("from the module")
        if self.kind == "unprintable":
            raise Unprintable
        if self.kind == "unclassed":
            raise Unclassed("odd")
        if self.kind == "unusual":
            raise Unusual("of its own kind")
        return super().training_step(batch, index)


class ExitingInConstructor(Tiny):
    """``kind`` "bad" leaves the program while it is built."""

    def __init__(self, kind: str = "ok") -> None:
        if kind == "bad":
            sys.exit(0)
        super().__init__()


class WorkerData(TinyData):
    """Loads in a process of its own, which signals end as they end one that was spawned."""

    def train_dataloader(self) -> Any:
        return DataLoader(
            self.points, self.batch_size, num_workers=1, multiprocessing_context="fork", worker_init_fn=end_by_signals
        )


def end_by_signals(worker: int) -> None:
    """Forget the handlers that the process was forked with."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


class ExitingWorker(WorkerData):
    """Its worker process ends itself with an exit code."""

    def train_dataloader(self) -> Any:
        loader = super().train_dataloader()
        loader.worker_init_fn = leave
        return loader


def leave(worker: int) -> None:
    """End the worker process."""
    os._exit(3)
