"""Write what a segment prints to the trial's log: also from C, from threads and from the processes that it starts.

Descriptors 1 and 2 become a pipe while the segment runs. Another process reads it (`orchestrator.engine.log_process`),
so that training never waits for a disk and a crash loses nothing. It starts with the first segment of this process and
ends after it.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from orchestrator.durable_files import make_folder, out_of_reach
from orchestrator.engine.warning_notes import warnings_noted
from orchestrator.rundir.trial_logs import WARNINGS, LogFile
from orchestrator.secrets import MaskedStream
from orchestrator.training import Job

_FIRST_DESCRIPTOR = 448  # see `durable_files.out_of_reach`
_PIPE_BYTES = 1 << 20
_ORDER_BYTES = 1 << 18
_DONE_SECONDS = 10.0  # for the log to be complete at a segment's end
_F_SETPIPE_SZ = getattr(fcntl, "F_SETPIPE_SZ", None)
_ROOT = Path(__file__).resolve().parents[2]
_KIND = socket.SOCK_SEQPACKET if sys.platform == "linux" else socket.SOCK_DGRAM


class _LogWriter:
    """The process that writes the logs, as the process sees it whose output it logs."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.ended = threading.Event()
        self._done = threading.Event()
        self.on_end: Callable[[], None] | None = None
        self.environment = dict(os.environ)
        read, write = os.pipe()
        ours, theirs = socket.socketpair(socket.AF_UNIX, _KIND)
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ORDER_BYTES)
        if _F_SETPIPE_SZ:
            with contextlib.suppress(OSError):
                fcntl.fcntl(write, _F_SETPIPE_SZ, _PIPE_BYTES)
        self._orders = socket.socket(fileno=_out_of_reach(ours.detach()))
        self.pipe = _out_of_reach(write)
        # Also read here: if that process is killed, printing must not fail before `on_end` was called.
        self._unread = _out_of_reach(read)
        try:
            starter = self._start(theirs.fileno())
        finally:
            theirs.close()
        threading.Thread(target=self._listen, args=(starter,), name="trial log", daemon=True).start()

    def _start(self, orders: int) -> subprocess.Popen[bytes]:
        words = ["-W", "ignore", "-P", "-m", "orchestrator.engine.log_process"]
        return subprocess.Popen(
            [sys.executable, *words, str(self._unread), str(orders), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(self._unread, orders),
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
            start_new_session=True,
        )

    def send(self, order: dict[str, Any], descriptors: list[int] | None = None) -> None:
        """Send an order. Raises OSError if it cannot be received."""
        if self.ended.is_set():
            raise BrokenPipeError("the process that writes the logs has ended")
        socket.send_fds(self._orders, [json.dumps(order).encode()], descriptors or [])

    def end_segment(self) -> None:
        """Wait until the log is complete."""
        self._done.clear()
        with contextlib.suppress(OSError):
            self.send({"end": True})
            self._done.wait(_DONE_SECONDS)

    def _listen(self, starter: subprocess.Popen[bytes]) -> None:
        starter.wait()
        with contextlib.suppress(OSError):
            while self._orders.recv(64):
                self._done.set()
        self.ended.set()
        self._done.set()
        if self.on_end:
            self.on_end()


_writer: _LogWriter | None = None


def _log_writer() -> _LogWriter:
    """Return this process's writer of logs. Raises OSError if it does not start."""
    global _writer
    if _writer is None or _writer.ended.is_set() or _writer.owner != os.getpid():
        _writer = _LogWriter()
    return _writer


class OutputCapture:
    """The output of this process while a segment runs.

    Args:
        job: the segment, with this machine's folder.
        rank: this process among those of the segment.
        to_terminal: whether what is printed is shown as before, too.
    """

    def __init__(self, job: Job, rank: int = 0, *, to_terminal: bool = False) -> None:
        self._log = LogFile(job.trial, job.segment, rank)
        self._job, self._to_terminal = job, to_terminal
        self._originals: dict[int, int] = {}
        self._streams: tuple[Any, Any] = (sys.stdout, sys.stderr)
        self._captured = tuple(_captured(stream, number) for number, stream in enumerate(self._streams, start=1))
        self._lock = threading.RLock()
        self._is_on = False

    def __enter__(self) -> OutputCapture:
        """Begin; without a process that writes the log, everything is printed as before."""
        try:
            self._writer: _LogWriter | None = _log_writer()
            for number in (1, 2):
                self._originals[number] = _out_of_reach(os.dup(number))
            shown = list(self._originals.values()) if self._to_terminal and self._captured == self._streams else []
            self._writer.send({"begin": self._begun()}, shown)
        except (OSError, ValueError):
            self._writer = None
            return self
        self._writer.on_end = self._release
        self._redirect()
        return self

    def __exit__(self, *error: object) -> None:
        """Print as before, once the log is complete."""
        if self._writer is None:
            return
        self._release()
        self._writer.on_end = None
        self._writer.end_segment()
        for copy in self._originals.values():
            with contextlib.suppress(OSError):
                os.close(copy)

    @contextlib.contextmanager
    def suspended(self) -> Iterator[None]:
        """Print as before meanwhile: what another than the trial has to say."""
        was_on, streams = self._is_on, (sys.stdout, sys.stderr)
        self._release()
        try:
            yield
        finally:
            if was_on:
                self._redirect()
                sys.stdout, sys.stderr = streams  # perhaps the trial's own

    @contextlib.contextmanager
    def noting(self) -> Iterator[None]:
        """Note what warnings and log records of level WARNING and above say, for the sweep's digest."""
        writer = self._writer
        if writer is None:
            yield
            return
        with warnings_noted(lambda warned: writer.send({"warned": warned})):
            yield

    def _begun(self) -> dict[str, Any]:
        job, log, writer = self._job, self._log, _log_writer()
        changed = {name: value for name, value in os.environ.items() if writer.environment.get(name) != value}
        folder = job.run_directory / WARNINGS
        make_folder(folder)
        return {
            "path": str(job.run_directory / log.relative),
            "warnings": str(folder / f"{_PROCESS}.jsonl"),
            "url": job.url,
            "identity": {"trial": log.trial, "segment": log.segment, "rank": log.rank},
            "environment": changed,
            "allowed": [job.metric, job.model, job.data, job.trainer],
        }

    def _redirect(self) -> None:
        with self._lock:
            if self._writer is None or self._writer.ended.is_set():
                return
            _flush()
            for number in (1, 2):
                with contextlib.suppress(OSError):
                    os.dup2(self._writer.pipe, number)
            for number, stream in enumerate(self._streams, start=1):
                inner = _innermost(stream)
                if isinstance(inner, io.TextIOWrapper) and _is_direct(stream, number):
                    inner.reconfigure(line_buffering=True)
            sys.stdout, sys.stderr = self._captured
            _move_handlers(self._streams, self._captured)
            self._is_on = True

    def _release(self) -> None:
        with self._lock:
            if not self._is_on:
                return
            self._is_on = False
            _flush()
            for number, copy in self._originals.items():
                with contextlib.suppress(OSError):
                    os.dup2(copy, number)
            _move_handlers(self._captured, self._streams)
            sys.stdout, sys.stderr = self._streams


class _Both:
    """A stream that is no descriptor's, of a notebook or above a live table, and the pipe."""

    def __init__(self, stream: Any, number: int) -> None:
        self._stream, self._number = stream, number

    def write(self, text: str) -> int:
        """Write to both."""
        with contextlib.suppress(OSError):
            os.write(self._number, text.encode(errors="backslashreplace"))
        self._stream.write(text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write each line to both."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


_PROCESS = uuid.uuid4().hex[:16]
"""A name of this process that no other of the run has."""


def _captured(stream: Any, number: int) -> Any:
    """Return what takes a stream's place: itself if it writes to the descriptor, else one that writes to both."""
    return stream if stream is None or _is_direct(stream, number) else _Both(stream, number)


def _move_handlers(before: tuple[Any, ...], now: tuple[Any, ...]) -> None:
    """Let the log handlers of the streams write to what has taken their place."""
    moved = [(old, new) for old, new in zip(before, now, strict=True) if old is not new]
    for logger in [logging.getLogger(), *logging.Logger.manager.loggerDict.values()] if moved else []:
        for handler in getattr(logger, "handlers", ()):
            for old, new in moved:
                if isinstance(handler, logging.StreamHandler) and handler.stream is old:
                    handler.setStream(new)


def _innermost(stream: Any) -> Any:
    return stream.unmasked if isinstance(stream, MaskedStream) else stream


def _is_direct(stream: Any, number: int) -> bool:
    """Return whether a stream writes to that descriptor."""
    inner = _innermost(stream)
    if type(inner).__module__ == "rich.file_proxy":  # prints above a live table, and has the number of what is below
        return False
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return bool(inner.fileno() == number)
    return False


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()


def _out_of_reach(descriptor: int) -> int:
    return out_of_reach(descriptor, _FIRST_DESCRIPTOR)
