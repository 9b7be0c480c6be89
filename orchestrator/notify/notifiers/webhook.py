"""A webhook: a POST of ``{"text": …}`` to an address that is a secret."""

from __future__ import annotations

import json
import os
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPException, HTTPMessage
from typing import IO, Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, WithJsonSchema

from orchestrator.errors import Problem
from orchestrator.notify.internal_hosts import HOSTS, InternalHostError, connections, literal_refusal
from orchestrator.notify.messages import Note
from orchestrator.notify.target import Target, UndeliveredError
from orchestrator.secrets import register_variable

TRY_SECONDS = 5.0
TRIES = 3
BACKOFF_SECONDS = 1.0  # before the second try; twice that before the third
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_VARIABLE = re.compile(r"\$[A-Za-z_][A-Za-z0-9_]*")


def _variable(value: str) -> str:
    """Check the form without quoting the value, which may be the address itself."""
    if not _VARIABLE.fullmatch(value):
        raise ValueError(
            "the address is a secret, which the journal would keep: put it into an environment variable, "
            "and specify the variable's name"
        )
    register_variable(value[1:])
    return value


Variable = Annotated[
    str, AfterValidator(_variable), WithJsonSchema({"type": "string", "pattern": f"^{_VARIABLE.pattern}$"})
]


class Webhook(Target):
    """An incoming webhook of Slack, Mattermost or others."""

    name = "webhook"
    summary = 'Environment variable that holds the address of an incoming webhook; it gets {"text": …}.'
    Options = Variable
    examples = ("$SLACK_WEBHOOK",)

    @classmethod
    def title(cls, options: str) -> str:
        """Return the variable's name."""
        return options

    @classmethod
    def problems(cls, options: str) -> Iterator[Problem]:
        """Yield a variable that is not set or holds no address."""
        value = os.environ.get(options[1:], "")
        if not value:
            hint = f"export {options[1:]}='https://…', or remove the webhook"
            yield Problem(f"the environment variable {options} is not set", hint)
        elif not _is_address(value):
            hint = f"export {options[1:]}='https://…'"
            yield Problem(f"the environment variable {options} holds no http(s) address", hint)
        elif host := literal_refusal(value):
            hint = f"if it is meant to: export {HOSTS}={host}"
            yield Problem(f"the address in {options} leads into this machine or its own network ({host})", hint)

    @classmethod
    def deliver(cls, options: str, note: Note, canceled: threading.Event) -> None:
        """Post the note. Raises UndeliveredError."""
        _post(os.environ.get(options[1:], ""), note, canceled)


def _is_address(value: str) -> bool:
    try:
        url = urlsplit(value)
        return url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0 and value.isprintable()
    except ValueError:
        return False


def _post(address: str, note: Note, canceled: threading.Event) -> None:
    """Post the note. Retry after no answer, 429 and the server's errors (5xx)."""
    for number in range(TRIES):
        try:
            return _post_once(address, json.dumps({"text": _plain(note.text)}).encode())
        except urllib.error.HTTPError as error:
            reason, retry = f"it answered {error.code}", error.code == 429 or error.code >= 500
            error.close()
        except InternalHostError as error:
            reason, retry = str(error), False
        except (OSError, HTTPException, ValueError) as error:
            reason, retry = _reason(error), not isinstance(error, ValueError)
        if not retry or number + 1 == TRIES or canceled.wait(BACKOFF_SECONDS * 2**number):
            break
    raise UndeliveredError(reason)


def _plain(text: str) -> str:
    """Escape Slack's markup, and mentions such as "@everyone", which would notify a whole channel."""
    escaped = "".join(_ENTITIES.get(character, character) for character in text)
    return escaped.replace("@", "@\u200b")


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Refuses redirects: notes go only to the address that the user has configured."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        return None


def _post_once(address: str, content: bytes) -> None:
    request = urllib.request.Request(address, content, {"Content-Type": "application/json"}, method="POST")
    with urllib.request.build_opener(_NoRedirects, *connections(address)).open(request, timeout=TRY_SECONDS):
        pass


def _reason(error: Exception) -> str:
    """Return the reason without the address, which the libraries' own messages may hold."""
    cause: Any = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(cause, InternalHostError):
        return str(cause)
    if isinstance(cause, TimeoutError):
        return f"no answer within {TRY_SECONDS:g} s"
    return str(getattr(cause, "strerror", None) or type(cause).__name__)
