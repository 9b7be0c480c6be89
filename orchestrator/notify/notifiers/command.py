"""A command of this machine, run without a shell."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from typing import Annotated

from pydantic import Field

from orchestrator.errors import Problem
from orchestrator.notify.internal_hosts import HOSTS
from orchestrator.notify.messages import Note
from orchestrator.notify.target import Target, UndeliveredError
from orchestrator.secrets import VARIABLES

COMMAND_SECONDS = 10.0


class Command(Target):
    """A program that receives the note on its standard input and in its environment."""

    name = "command"
    summary = (
        "Program and arguments, run without a shell. It receives the text on its standard input, and the text's "
        "parts in environment variables SWEEP_…."
    )
    Options = Annotated[list[str], Field(min_length=1)]
    examples = (["mail", "-s", "sweep", "me@example.com"],)

    @classmethod
    def title(cls, options: Sequence[str]) -> str:
        """Return the program."""
        return options[0]

    @classmethod
    def problems(cls, options: Sequence[str]) -> Iterator[Problem]:
        """Yield a program that does not exist."""
        if shutil.which(options[0]) is None:
            hint = "the first word must be a program in $PATH, or a path; no shell is used"
            yield Problem(f"there is no program {options[0]!r}", hint)

    @classmethod
    def deliver(cls, options: Sequence[str], note: Note, canceled: threading.Event) -> None:
        """Run the command. Raises UndeliveredError."""
        _run(options, note)


def _run(command: Sequence[str], note: Note) -> None:
    """Run the command in a session of its own, which Ctrl-C does not reach and which is killed as a whole."""
    environment = {**os.environ, **note.variables}
    for name in (VARIABLES, HOSTS):
        environment.pop(name, None)  # SWEEP_… are the note's parts
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=environment, start_new_session=True,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise UndeliveredError(f"it cannot be run: {getattr(error, 'strerror', None) or error}") from None
    try:
        process.communicate(note.text.encode() + b"\n", timeout=COMMAND_SECONDS)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise UndeliveredError(f"it had not ended after {COMMAND_SECONDS:g} s") from None
    if process.returncode:
        raise UndeliveredError(f"it ended with exit code {process.returncode}")
