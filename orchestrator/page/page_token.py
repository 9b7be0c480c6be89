"""Who may open the page: a user who has its token, in an address once, and by a cookie after that."""

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
        value: The token of the printed address.
    """

    def __init__(self, port: int) -> None:
        self.value = secrets.token_urlsafe(32)
        self._session = secrets.token_urlsafe(32)
        self._cookie = f"sweep-page-{port}"  # a browser sends a host's cookies to all of its ports

    def url(self, address: str) -> str:
        """Return the address with the token."""
        return f"{address}?{urlencode({PARAMETER: self.value})}"

    def allows(self, cookies: str, authorization: str) -> bool:
        """Return whether the headers ``Cookie`` or ``Authorization: Bearer TOKEN`` prove that a request may read."""
        scheme, _, value = authorization.partition(" ")
        return _same(self._cookie_in(cookies), self._session) or (
            scheme.lower() == "bearer" and _same(value, self.value)
        )

    def is_offered(self, query: str) -> bool:
        """Return whether an address has a token, right or wrong."""
        return any(name == PARAMETER for name, _ in parse_qsl(query, keep_blank_values=True))

    def exchange(self, path: str, query: str) -> tuple[str, str] | None:
        """Return the cookie for a request whose address has the token, and the address without it; else None."""
        fields = parse_qsl(query, keep_blank_values=True)
        if not any(name == PARAMETER and _same(value, self.value) for name, value in fields):
            return None
        rest = urlencode([(name, value) for name, value in fields if name != PARAMETER])
        cookie = f"{self._cookie}={self._session}; Path=/; HttpOnly; SameSite=Strict"
        # Two slashes would name another host.
        return cookie, quote("/" + path.lstrip("/\\")) + (f"?{rest}" if rest else "")

    def _cookie_in(self, cookies: str) -> str:
        try:
            parsed = SimpleCookie(cookies)
        except CookieError:
            return ""
        return parsed[self._cookie].value if self._cookie in parsed else ""


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
