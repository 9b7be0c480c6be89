"""Exceptions raised at a chosen bytecode, as a signal handler may raise KeyboardInterrupt between any two."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def interrupted_at(number: int, call: Callable[[], object], error: type[BaseException] = KeyboardInterrupt) -> bool:
    """Run ``call`` and raise ``error`` before the ``number``-th bytecode that this thread runs in it.

    Returns:
        False if it ended before that, with or without an exception of its own.
    """
    count, raised = 0, False
    previous = sys.gettrace()

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count, raised
        frame.f_trace_opcodes = True
        if event == "opcode":
            count += 1
            if count == number:
                raised = True
                raise error
        return trace

    sys.settrace(trace)
    try:
        call()
    except error:
        if not raised:
            raise
    finally:
        sys.settrace(previous)
    return raised
