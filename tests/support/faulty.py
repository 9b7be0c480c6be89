"""Modules with faults to order, over the data of `tests.support.tiny`. Each fails once: a marker file remembers it."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from tests.support.tiny import Tiny, TinyData

_SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


class Once(Tiny):
    """Breaks down in the second epoch, if ``marker`` (a file) is not there yet."""

    def break_down(self) -> None:
        marker = Path(self.marker)
        try:
            marker.touch(exist_ok=False)
        except FileExistsError:
            return
        self.worst()

    def worst(self) -> None:
        raise NotImplementedError


class Mended(Tiny):
    """Raises in the second epoch until ``marker`` (a file) is there."""

    def break_down(self) -> None:
        if not Path(self.marker).exists():
            raise ValueError("not mended yet")


class Hangs(Once):
    """Waits for ever: ``how`` is sleep, stop (the process is stopped by a signal) or gil (in C, holding the GIL)."""

    def __init__(self, how: str = "sleep", **arguments: Any) -> None:
        super().__init__(**arguments)
        self.how = how

    def worst(self) -> None:
        if self.how == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        if self.how == "gil":
            ctypes.PyDLL(None).sleep(600)
        time.sleep(600)


class Killed(Once):
    """Is killed as the kernel does it when memory is gone."""

    def worst(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Greedy(Once):
    """Takes ``megabytes`` of memory, and some seconds for it."""

    def __init__(self, megabytes: int = 1000, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.megabytes = megabytes

    def worst(self) -> None:
        held = []
        for _ in range(self.megabytes // 50):
            held.append(b"x" * 50_000_000)
            time.sleep(0.1)
        time.sleep(10)


class GreedyOn(Greedy):
    """Is greedy on the host of that name only."""

    def __init__(self, host: str = "", **arguments: Any) -> None:
        super().__init__(**arguments)
        self.host = host

    def break_down(self) -> None:
        if socket.gethostname() == self.host:
            super().break_down()


class SlowOn(Tiny):
    """Takes ``seconds`` more for each batch on the host of that name, from the second epoch on."""

    def __init__(self, host: str = "", seconds: float = 0.0, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.host, self.seconds = host, seconds

    def training_step(self, batch: Any, index: int) -> Any:
        if self.current_epoch and socket.gethostname() == self.host:
            time.sleep(self.seconds)
        return super().training_step(batch, index)


class Fertile(Tiny):
    """Starts programs of its own: one that says where it writes, one that writes nowhere and has left the session."""

    def on_fit_start(self) -> None:
        subprocess.Popen(_SLEEP)
        silent = subprocess.DEVNULL
        subprocess.Popen(_SLEEP, stdin=silent, stdout=silent, stderr=silent, start_new_session=True)


class Loaded(TinyData):
    """With a process that loads data."""

    def train_dataloader(self) -> Any:
        return DataLoader(self.points, self.batch_size, shuffle=True, num_workers=1, persistent_workers=True)
