"""One thread that runs steps in order, so that an exception raised in a caller cannot interrupt a step.

Python raises KeyboardInterrupt, and what a signal handler raises, between any two bytecodes of the main thread. A step
runs in another thread, where neither occurs. Its caller waits; if the caller is interrupted, the step still ends.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")
_CHECK_SECONDS = 1.0  # after which a waiting caller checks that the thread lives


class _Request:
    """A step, and its result once ``done`` is unlocked."""

    def __init__(self, step: Callable[[], Any]) -> None:
        self.step = step
        self.result: Any = None
        self.error: BaseException | None = None
        self.done = threading.Lock()
        self.done.acquire()

    def run(self) -> None:
        """Run the step and note its result."""
        try:
            self.result = self.step()
        except BaseException as error:
            self.error = error
        finally:
            self.done.release()


class SingleThread:
    """Runs steps in one thread, in the order of their calls. The thread ends with this object."""

    def __init__(self, name: str) -> None:
        # A SimpleQueue is one call into C and a lock another: an exception cannot leave either half done.
        self._requests: SimpleQueue[_Request | None] = SimpleQueue()
        self._thread = threading.Thread(target=_serve, args=(self._requests,), name=name, daemon=True)
        self._thread.start()
        weakref.finalize(self, self._requests.put, None).atexit = False

    def call(self, step: Callable[[], T]) -> T:
        """Run a step in the thread and return its result, or raise its exception.

        A caller that is interrupted while it waits does not get the result; the step runs to its end.

        Raises:
            RuntimeError: The thread is gone: this is a fork of the process that started it.
        """
        request = _Request(step)
        self._requests.put(request)
        while not request.done.acquire(timeout=_CHECK_SECONDS):
            if not self._thread.is_alive():
                raise RuntimeError("the thread that writes the journal is not in this process")
        if request.error is not None:
            raise request.error
        return request.result  # type: ignore[no-any-return]


def _serve(requests: SimpleQueue[_Request | None]) -> None:
    while _serve_one(requests):
        pass


def _serve_one(requests: SimpleQueue[_Request | None]) -> bool:
    """Run the next step; a function of its own, so that no reference to the step is kept while none runs."""
    request = requests.get()
    if request is None:
        return False
    request.run()
    return True
