"""A training process, as the host that it runs on sees it: started, listened to, answered, ended.

It has a session of its own, so that its DataLoader workers end with it, and ends itself when its host goes: the pipe to
its standard input then closes. What it prints goes to ``logs/segment_K/process_R.txt`` in the trial's folder.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

PYTHON = "SWEEP_TPU_PYTHON"
"""The variable that names the interpreter with torch_xla, on each host."""
CHANNEL = "SWEEP_TRIAL_CHANNEL"
"""The variable that tells the training process the number of the pipe that it reports through."""
_TAIL_BYTES = 2000

Message = dict[str, Any]


def interpreter(runtime: str, environment: Mapping[str, str] = os.environ) -> str:
    """The interpreter that trains: on a slice the one with torch_xla, where the host names one, else this one."""
    return sys.executable if runtime == "plain" else environment.get(PYTHON) or sys.executable


class Child:
    """One training process and what comes out of it.

    Args:
        order: what it is to do, as plain values: see ``trial.Order``.
        env, unset: what is set in its environment and what is taken away, beside this process's own.
    """

    def __init__(self, order: Mapping[str, Any], env: Mapping[str, str], unset: tuple[str, ...] = ()) -> None:
        self._tag = {"rank": order["process"]["rank"], "serial": order["serial"]}
        self._messages: queue.Queue[Message] = queue.Queue()
        self._log, log = _log(order)
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
            self._tell({"refused": f"{python} cannot be started: {error}", "hint": _hint(python)})
            return
        finally:
            os.close(write)
            if log is not subprocess.DEVNULL and not isinstance(log, int):
                log.close()
        threading.Thread(target=self._listen, args=(os.fdopen(read, "rb"),), daemon=True).start()
        self._write(order)

    def messages(self, seconds: float = 0.0) -> list[Message]:
        """What has come since the last call; waits so long for the first. Its last message is ``exit``."""
        found: list[Message] = []
        with contextlib.suppress(queue.Empty):
            found.append(self._messages.get(timeout=seconds) if seconds > 0 else self._messages.get_nowait())
            while True:
                found.append(self._messages.get_nowait())
        return found

    def answer(self, go_on: bool) -> None:
        """To the report that it waits for an answer to."""
        self._write(go_on)

    def end(self) -> None:
        """Kill it, and all that it has started."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()

    def _write(self, value: Any) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it has gone; its exit says so
            self._process.stdin.write(json.dumps(value).encode() + b"\n")
            self._process.stdin.flush()

    def _listen(self, channel: IO[bytes]) -> None:
        assert self._process is not None
        with channel:
            for line in channel:
                self._tell(json.loads(line))
        self._tell({"exit": self._process.wait(), "tail": self._tail()})

    def _tell(self, message: Message) -> None:
        self._messages.put({**self._tag, **message})

    def _tail(self) -> str:
        """The end of what it printed."""
        try:
            with self._log.open("rb") as file:
                file.seek(max(0, self._log.stat().st_size - _TAIL_BYTES))
                return file.read().decode(errors="replace").strip()
        except OSError:
            return ""


def _log(order: Mapping[str, Any]) -> tuple[Path, IO[bytes] | int]:
    job = order["job"]
    path = Path(job["folder"]) / "logs" / f"segment_{job['segment']}" / f"process_{order['process']['rank']}.txt"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path, path.open("wb")
    except OSError:  # a full disk, or a host without the folder: what it prints is not what it does
        return path, subprocess.DEVNULL


def _hint(python: str) -> str:
    return f"{PYTHON} names the interpreter with torch_xla on each host; `make tpu-env` makes one" if python else ""
