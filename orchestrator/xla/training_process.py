"""The training processes of a host: start them, receive their messages, answer their reports, end them.

Each has a session of its own, so that its DataLoader workers end with it. It ends itself if its host is lost, since the
pipe to its standard input then closes. Until it trains its output goes to ``logs/segment_K/process_R.txt`` in the
trial's folder, then to the log of its rank (see `orchestrator.engine.output_capture`).
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from orchestrator.rundir.trial_logs import LogFile

PYTHON = "SWEEP_TPU_PYTHON"
"""The variable that names the interpreter with torch_xla, on each host."""
CHANNEL = "SWEEP_TRIAL_CHANNEL"
"""The variable with the file descriptor through which the training process sends messages."""
STOP = "stop"
"""What a training process reads on its standard input if it is to stop after the present batch."""
_TAIL_BYTES = 2000

Message = dict[str, Any]


def interpreter(runtime: str) -> str:
    """Return the interpreter for training: on a slice that of SWEEP_TPU_PYTHON if it is set, else this one."""
    return sys.executable if runtime == "plain" else os.environ.get(PYTHON) or sys.executable


class TrainingProcess:
    """One training process and its messages.

    Args:
        order: ``job`` as `Job.to_text` writes it, its ``trial`` and ``segment``, ``log`` (a folder for its output),
            ``roots``, ``process`` and ``serial``, as JSON values.
        env: variables to set, in addition to this process's environment.
        unset: variables to remove from it.
    """

    def __init__(self, order: Mapping[str, Any], env: Mapping[str, str], unset: tuple[str, ...] = ()) -> None:
        self._tag = {"rank": order["process"]["rank"], "serial": order["serial"]}
        self._messages: queue.Queue[Message] = queue.Queue()
        self._log, log = _log(order)
        self._rank_log = self._log.parents[1] / LogFile(order["trial"], order["segment"], order["process"]["rank"]).name
        read, write = os.pipe()
        environment = {name: value for name, value in os.environ.items() if name not in unset}
        environment |= {**env, CHANNEL: str(write), "PYTHONUNBUFFERED": "1"}
        python = interpreter(order["process"]["runtime"])
        try:
            self._process: subprocess.Popen[bytes] | None = subprocess.Popen(
                [python, "-m", "orchestrator.xla.slice_trial"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(write,),
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            os.close(read)
            self._process = None
            hint = f"set {PYTHON} on each host to the interpreter with torch_xla; `make tpu-env` creates one"
            self._put({"refused": f"{python} cannot be started: {error}", "hint": hint})
            return
        finally:
            os.close(write)
            if log is not subprocess.DEVNULL and not isinstance(log, int):
                log.close()
        threading.Thread(target=self._listen, args=(os.fdopen(read, "rb"),), daemon=True).start()
        self._write(order)

    def messages(self) -> list[Message]:
        """Return the new messages. The last one of a process is ``exit``."""
        messages: list[Message] = []
        with contextlib.suppress(queue.Empty):
            while True:
                messages.append(self._messages.get_nowait())
        return messages

    def answer(self, is_continued: bool) -> None:
        """Answer its last report: whether to continue."""
        self._write(is_continued)

    def stop(self) -> None:
        """Tell it to stop, with a checkpoint, after the present batch."""
        self._write(STOP)

    def end(self) -> None:
        """Kill it and the processes that it has started."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()

    def _write(self, value: Any) -> None:
        if self._process is None or self._process.stdin is None:
            return  # it could not be started, which a message reports
        with contextlib.suppress(OSError):  # it has died; its exit message reports that
            self._process.stdin.write(json.dumps(value).encode() + b"\n")
            self._process.stdin.flush()

    def _listen(self, channel: IO[bytes]) -> None:
        assert self._process is not None
        with channel:
            for line in channel:
                self._put(json.loads(line))
        self._put({"exit": self._process.wait(), "tail": self._tail()})

    def _put(self, message: Message) -> None:
        self._messages.put({**self._tag, **message})

    def _tail(self) -> str:
        """Return the end of its output."""
        return _end_of(self._rank_log) or _end_of(self._log)


def _log(order: Mapping[str, Any]) -> tuple[Path, IO[bytes] | int]:
    path = Path(order["log"]) / f"process_{order['process']['rank']}.txt"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path, path.open("wb")
    except OSError:  # a full disk, or a host without the folder: train without the output
        return path, subprocess.DEVNULL


def _end_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            return file.read().decode(errors="replace").strip()
    except OSError:
        return ""


_POLL_SECONDS = 0.02


class SliceHost:
    """Runs the training processes of one host, as a Ray actor or in this process, while the sweep holds the host."""

    def __init__(self) -> None:
        self._children: list[TrainingProcess] = []
        self._lock = threading.Lock()

    def info(self) -> dict[str, Any]:
        """Return the host's process id, name, and the TPU variables of its platform."""
        variables = {name: value for name, value in os.environ.items() if name.startswith("TPU_")}
        return {"pid": os.getpid(), "host": socket.gethostname(), "tpu": variables}

    def free_port(self) -> int:
        """Return an unused port."""
        with socket.socket() as probe:
            probe.bind(("", 0))
            return int(probe.getsockname()[1])

    def start(self, orders: Sequence[Mapping[str, Any]]) -> None:
        """End the processes of an earlier segment, and start one for each order."""
        with self._lock:
            self._end()
            for order in orders:
                process = order["process"]
                self._children.append(TrainingProcess(order, process["env"], tuple(process["unset"])))

    def poll(self, seconds: float) -> list[Message]:
        """Return the new messages of the processes, waiting up to ``seconds`` for the first."""
        deadline = time.monotonic() + seconds
        while True:
            with self._lock:
                messages = [message for child in self._children for message in child.messages()]
            if messages or time.monotonic() >= deadline:
                return messages
            time.sleep(_POLL_SECONDS)

    def answer(self, is_continued: bool) -> None:
        """Answer the report of the first process: whether to continue."""
        with self._lock:
            if self._children:
                self._children[0].answer(is_continued)

    def stop(self) -> None:
        """Tell the first process to stop after the present batch; its peers stop with it."""
        with self._lock:
            if self._children:
                self._children[0].stop()

    def end(self) -> None:
        """End all processes; messages not polled yet are lost."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        for child in self._children:
            child.end()
        self._children = []
