"""Turn `os._exit` in a user's code into an error while that code runs in the process of a command."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any, NoReturn


@contextlib.contextmanager
def exit_raises() -> Iterator[None]:
    """Let ``os._exit`` raise SystemExit meanwhile, in this thread.

    It would end the command, with the exit code that the user's code chose: 0, say. Forked processes and other threads
    exit as before. An exit from native code cannot be caught: for a local sweep see `orchestrator.cli.forked_driver`.
    """
    exit_process, process, thread = os._exit, os.getpid(), threading.get_ident()

    def exit(status: Any) -> NoReturn:
        if (os.getpid(), threading.get_ident()) == (process, thread):
            raise SystemExit(f"os._exit({status!r}) was called")
        exit_process(status)

    os._exit = exit
    try:
        yield
    finally:
        os._exit = exit_process
