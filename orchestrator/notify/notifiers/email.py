"""E-mail over SMTP, from a server whose address and password are in an environment variable."""

from __future__ import annotations

import os
import smtplib
import ssl
import threading
from collections.abc import Iterator
from email.message import EmailMessage
from typing import Annotated
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field

from orchestrator.errors import Problem
from orchestrator.notify.messages import Note
from orchestrator.notify.notifiers.webhook import Variable
from orchestrator.notify.target import Target, UndeliveredError

SMTP_SECONDS = 8.0
_Address = Annotated[str, Field(pattern=r"^[^\s@<>,]+@[^\s@<>,]+$", max_length=254)]
_FORM = "smtp://user:password@host:587, or smtps:// for TLS from the start"


class EmailOptions(BaseModel):
    """The value under ``email``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    to: list[_Address] = Field(min_length=1, max_length=20, description="Addresses of the recipients.")
    sender: _Address | None = Field(None, description="Address of the sender; by default the first recipient.")
    server: Variable = Field("$SWEEP_SMTP", description=f"Environment variable that holds the server: {_FORM}.")


class Email(Target):
    """An e-mail to one or more addresses."""

    name = "email"
    summary = "E-mail over SMTP. The server, with its password, is in an environment variable."
    Options = EmailOptions
    examples = ({"to": ["me@example.com"], "server": "$SWEEP_SMTP"},)

    @classmethod
    def title(cls, options: EmailOptions) -> str:
        """Return the variable's name."""
        return f"email by {options.server}"

    @classmethod
    def problems(cls, options: EmailOptions) -> Iterator[Problem]:
        """Yield a variable that is not set or names no server."""
        hint = f"export {options.server[1:]}='smtp://…': {_FORM}"
        value = os.environ.get(options.server[1:], "")
        if not value:
            yield Problem(f"the environment variable {options.server} is not set", hint, ("server",))
        elif _server(value) is None:
            yield Problem(f"the environment variable {options.server} names no SMTP server", hint, ("server",))

    @classmethod
    def deliver(cls, options: EmailOptions, note: Note, canceled: threading.Event) -> None:
        """Send the note. Raises UndeliveredError."""
        server = _server(os.environ.get(options.server[1:], ""))
        if server is None:
            raise UndeliveredError(f"{options.server} names no SMTP server")
        message = EmailMessage()
        message["From"], message["To"] = options.sender or options.to[0], ", ".join(options.to)
        message["Subject"] = f"sweep {note.parts.get('NAME', '')}: {note.occasion.replace('_', ' ')}"
        message.set_content(note.text + "\n")
        try:
            _send(server, message)
        except smtplib.SMTPResponseException as error:
            raise UndeliveredError(f"the server answered {error.smtp_code}") from None
        except (smtplib.SMTPException, OSError, ValueError) as error:
            raise UndeliveredError(_reason(error)) from None


def _server(value: str) -> SplitResult | None:
    try:
        url = urlsplit(value)
        usable = url.scheme in ("smtp", "smtps") and bool(url.hostname) and url.port != 0 and value.isprintable()
    except ValueError:
        return None
    return url if usable else None


def _send(server: SplitResult, message: EmailMessage) -> None:
    """Send a message; a password goes over TLS alone, whose certificate is checked."""
    host, context = server.hostname or "", ssl.create_default_context()
    connection: smtplib.SMTP
    if server.scheme == "smtps":
        connection = smtplib.SMTP_SSL(host, server.port or 465, timeout=SMTP_SECONDS, context=context)
    else:
        connection = smtplib.SMTP(host, server.port or 587, timeout=SMTP_SECONDS)
    with connection as smtp:
        smtp.ehlo()
        if server.scheme == "smtp" and smtp.has_extn("starttls"):
            smtp.starttls(context=context)
            smtp.ehlo()
        elif server.scheme == "smtp" and server.password:
            raise ValueError("it offers no TLS, and the password is not sent in the clear")
        if server.username:
            smtp.login(unquote(server.username), unquote(server.password or ""))
        smtp.send_message(message)


def _reason(error: Exception) -> str:
    """Return the reason without the address, which the libraries' own messages may hold."""
    if isinstance(error, TimeoutError):
        return f"no answer within {SMTP_SECONDS:g} s"
    if type(error) is ValueError:
        return str(error)
    return str(getattr(error, "strerror", None) or type(error).__name__)
