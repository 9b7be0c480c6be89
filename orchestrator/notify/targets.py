"""Who is told: a webhook, or a command."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from http.client import HTTPException, HTTPMessage
from typing import IO, Any
from urllib.parse import urlsplit

from orchestrator.errors import Problem
from orchestrator.notify.messages import Note
from orchestrator.secrets import VARIABLES
from orchestrator.spec import Notification

TRY_SECONDS = 5.0
COMMAND_SECONDS = 10.0
TRIES = 3
BACKOFF_SECONDS = 1.0  # before the second try; twice that before the third
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


class UndeliveredError(Exception):
    """Why somebody could not be told; without the address."""


def missing(notifications: Sequence[Notification]) -> Iterator[Problem]:
    """What keeps those from being told: a variable that is not set or holds no address, a program that is not there."""
    for index, found in enumerate(notifications):
        if found.webhook is not None:
            path = ("notify", index, "webhook")
            value = os.environ.get(found.webhook[1:], "")
            if not value:
                hint = f"export {found.webhook[1:]}='https://…', or take the webhook out"
                yield Problem(f"the environment variable {found.webhook} is not set", hint, path)
            elif not _is_address(value):
                hint = f"export {found.webhook[1:]}='https://…'"
                yield Problem(f"the environment variable {found.webhook} holds no http(s) address", hint, path)
        elif found.command and shutil.which(found.command[0]) is None:
            hint = "the first word is a program in $PATH, or a path; no shell reads the rest"
            yield Problem(f"there is no program {found.command[0]!r}", hint, ("notify", index, "command"))


def _is_address(value: str) -> bool:
    try:
        found = urlsplit(value)
        return found.scheme in ("http", "https") and bool(found.hostname) and found.port != 0 and value.isprintable()
    except ValueError:
        return False


def tell(target: Notification, note: Note, given_up: threading.Event) -> None:
    """Raises UndeliveredError where it cannot be told. Once ``given_up`` is set, it is not tried again."""
    if target.command:
        _run(target.command, note)
    else:
        _post(os.environ.get((target.webhook or "$")[1:], ""), note, given_up)


def _run(command: Sequence[str], note: Note) -> None:
    """The command in a session of its own, which Ctrl-C does not reach and which can be ended whole."""
    environment = {**os.environ, **note.variables}
    environment.pop(VARIABLES, None)  # SWEEP_… are the note's parts
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


def _post(address: str, note: Note, given_up: threading.Event) -> None:
    """Try, and try again where that may help: no answer, 429, and faults of the other side."""
    for number in range(TRIES):
        try:
            return _post_once(address, json.dumps({"text": _plain(note.text)}).encode())
        except urllib.error.HTTPError as error:
            reason, again = f"it answered {error.code}", error.code == 429 or error.code >= 500
            error.close()
        except (OSError, HTTPException, ValueError) as error:
            reason, again = _why(error), not isinstance(error, ValueError)
        if not again or number + 1 == TRIES or given_up.wait(BACKOFF_SECONDS * 2**number):
            break
    raise UndeliveredError(reason)


def _plain(text: str) -> str:
    """As Slack wants text that is no markup. What rings a channel's bell in others ("@everyone") does not ring it."""
    escaped = "".join(_ENTITIES.get(character, character) for character in text)
    return escaped.replace("@", "@\u200b")


class _NoDetours(urllib.request.HTTPRedirectHandler):
    """A webhook that moved is another address: what is said is not sent there unasked."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        return None


def _post_once(address: str, content: bytes) -> None:
    request = urllib.request.Request(address, content, {"Content-Type": "application/json"}, method="POST")
    with urllib.request.build_opener(_NoDetours).open(request, timeout=TRY_SECONDS):
        pass


def _why(error: Exception) -> str:
    """In words that never hold the address, as the libraries' own may."""
    cause: Any = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, TimeoutError):
        return f"no answer within {TRY_SECONDS:g} s"
    return str(getattr(cause, "strerror", None) or type(cause).__name__)
