"""One host of a slice, from inside: it starts the training processes and passes on what they say.

Plain Python: ``pod`` makes a Ray actor of it.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.xla.training_process import Child, Message

_POLL_SECONDS = 0.02


class SliceHost:
    """What runs on a host of a slice for as long as the sweep holds it."""

    def __init__(self) -> None:
        self._children: list[Child] = []
        self._lock = threading.Lock()

    def about(self) -> dict[str, Any]:
        """What the host says of itself: its process, and the TPU variables that its platform has set."""
        found = {name: value for name, value in os.environ.items() if name.startswith("TPU_")}
        return {"pid": os.getpid(), "host": socket.gethostname(), "tpu": found}

    def free_port(self) -> int:
        """A port that nothing listens on."""
        with socket.socket() as probe:
            probe.bind(("", 0))
            return int(probe.getsockname()[1])

    def start(self, orders: Sequence[Mapping[str, Any]]) -> None:
        """Start a process for each order; those of an earlier segment end first."""
        with self._lock:
            self._end()
            for order in orders:
                process = order["process"]
                self._children.append(Child(order, process["env"], tuple(process["unset"])))

    def poll(self, seconds: float) -> list[Message]:
        """What the processes have said; waits so long for the first word."""
        until = time.monotonic() + seconds
        while True:
            with self._lock:
                found = [message for child in self._children for message in child.messages()]
            if found or time.monotonic() >= until:
                return found
            time.sleep(_POLL_SECONDS)

    def answer(self, go_on: bool) -> None:
        """Answer the report of the first process."""
        with self._lock:
            if self._children:
                self._children[0].answer(go_on)

    def end(self) -> None:
        """End all processes; what they had still to say is not passed on."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        for child in self._children:
            child.end()
        self._children = []
