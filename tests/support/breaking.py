"""A module whose training breaks the process that it runs in. Imported by path, as a user's own would be."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from pathlib import Path
from typing import Any

from tests.support.tiny import Tiny

LINE = b"a line of the trial's own output, of a hundred characters, with neither a key nor a password in it: 7\n"


class Breaking(Tiny):
    """In its second epoch does what ``how`` says; once, if ``marker`` (the start of a file's name) is given."""

    def __init__(self, how: str = "trains", megabytes: int = 1, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.how, self.megabytes = how, megabytes

    def break_down(self) -> None:
        if self.marker:
            try:
                Path(f"{self.marker}-{self.how}").touch(exist_ok=False)
            except FileExistsError:
                return
        getattr(self, f"_{self.how}")()

    def _trains(self) -> None:
        pass

    def _closes_all_files(self) -> None:
        os.closerange(3, 65536)

    def _closes_all_descriptors(self) -> None:
        os.closerange(0, 65536)

    def _closes_standard_descriptors(self) -> None:
        for number in range(3):
            os.close(number)

    def _closes_streams(self) -> None:
        sys.stdout.close()
        sys.stderr.close()
        print("still printed")

    def _reads_null(self) -> None:
        ctypes.string_at(0)

    def _exits(self) -> None:
        os._exit(0)

    def _exits_natively(self) -> None:
        ctypes.CDLL(None)._exit(0)

    def _exits_through_libc(self) -> None:
        ctypes.CDLL(None).exit(0)

    def _aborts(self) -> None:
        os.abort()

    def _waits_in_c(self) -> None:
        """Holds the GIL in a call that no signal ends."""
        lock = ctypes.create_string_buffer(64)
        library = ctypes.PyDLL(None)
        library.pthread_mutex_lock(lock)
        library.pthread_mutex_lock(lock)

    def _leaves_daemon(self) -> None:
        """A classic daemon: forked twice, in a session of its own, without a file of its parent's."""
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                os.chdir("/")
                os.closerange(0, 1024)
                Path(os.environ["DAEMON"]).write_text(str(os.getpid()))
                time.sleep(600)
            os._exit(0)

    def _prints(self) -> None:
        """Writes so many megabytes, half of them through Python's stream and half directly."""
        lines = self.megabytes * 1_000_000 // len(LINE) // 2
        text = LINE.decode() * 100
        for _ in range(lines // 100):
            sys.stdout.write(text)
        sys.stdout.flush()
        for _ in range(lines // 100):
            os.write(1, LINE * 100)
