"""Who may open the page: a user who has an address with a token, which works once, and by a cookie after that."""

from __future__ import annotations

import contextlib
import hmac
import html
import os
import secrets
import sys
import tempfile
import webbrowser
from collections.abc import Iterator, Mapping
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlencode

PARAMETER = "token"


class PageToken:
    """The secrets of one server, which start with it and end with it.

    Attributes:
        value: The token of programs, for ``Authorization: Bearer``; it works any number of times.
    """

    def __init__(self, port: int) -> None:
        self.value = secrets.token_urlsafe(32)
        self._session = secrets.token_urlsafe(32)
        self._unused: list[str] = []  # tokens of addresses, each for one browser
        self._used: list[str] = []
        self._cookie = f"sweep-page-{port}"  # a browser sends a host's cookies to all of its ports

    def url(self, address: str) -> str:
        """Return the address with a new token, which works once."""
        self._unused.append(secrets.token_urlsafe(32))
        return f"{address}?{urlencode({PARAMETER: self._unused[-1]})}"

    def allows(self, cookies: str, authorization: str) -> bool:
        """Return whether the headers ``Cookie`` or ``Authorization: Bearer TOKEN`` prove that a request may read."""
        scheme, _, value = authorization.partition(" ")
        return _same(self._cookie_in(cookies), self._session) or (
            scheme.lower() == "bearer" and _same(value, self.value)
        )

    def is_offered(self, query: str) -> bool:
        """Return whether an address has a token, right or wrong."""
        return bool(_offered(query))

    def is_used(self, query: str) -> bool:
        """Return whether an address has a token that was exchanged before."""
        return any(_same(value, used) for value in _offered(query) for used in self._used)

    def exchange(self, query: str) -> str | None:
        """Return the cookie for a request whose address has a token, which works no more from then on; else None."""
        token = next((each for each in self._unused for value in _offered(query) if _same(value, each)), None)
        if token is None:
            return None
        self._unused.remove(token)
        self._used.append(token)
        return f"{self._cookie}={self._session}; Path=/; HttpOnly; SameSite=Strict"

    def _cookie_in(self, cookies: str) -> str:
        try:
            parsed = SimpleCookie(cookies)
        except CookieError:
            return ""
        return parsed[self._cookie].value if self._cookie in parsed else ""


def _offered(query: str) -> list[str]:
    return [value for name, value in parse_qsl(query, keep_blank_values=True) if name == PARAMETER]


def without_token(path: str, query: str) -> str:
    """Return an address without its token."""
    rest = urlencode([field for field in parse_qsl(query, keep_blank_values=True) if field[0] != PARAMETER])
    # Two slashes would name another host.
    return quote("/" + path.lstrip("/\\")) + (f"?{rest}" if rest else "")


def _same(value: str, secret: str) -> bool:
    return hmac.compare_digest(value.encode("utf-8", "surrogatepass"), secret.encode())


def has_desktop(environ: Mapping[str, str]) -> bool:
    """Return whether a browser can show a window here, and the user sits before it."""
    if not sys.stdout.isatty() or "SSH_CONNECTION" in environ:
        return False
    return sys.platform == "darwin" or bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY"))


@contextlib.contextmanager
def opened_in_browser(url: str) -> Iterator[None]:
    """Open an address in the browser by a file that only this user can read, which is removed at the end.

    The address itself would be an argument of the browser's process, which every user of the machine can list.
    """
    with tempfile.TemporaryDirectory(prefix="sweep-page-") as folder:
        page = Path(folder, "open.html")
        descriptor = os.open(page, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f'<meta http-equiv="refresh" content="0; url={html.escape(url)}"><title>sweep open</title>\n')
        webbrowser.open(page.as_uri())
        yield
