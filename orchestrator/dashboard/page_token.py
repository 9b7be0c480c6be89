"""Who may open the page: a user who has its token, in an address, and as a cookie or a header after that."""

from __future__ import annotations

import contextlib
import hmac
import html
import os
import secrets
import tempfile
import webbrowser
from collections.abc import Iterator
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlencode
from wsgiref.types import WSGIEnvironment

_PARAMETER = "token"


class PageToken:
    """A random token of one server, which starts with it and ends with it."""

    def __init__(self, port: int) -> None:
        self.value = secrets.token_urlsafe(32)
        self._cookie = f"sweep-dashboard-{port}"  # a browser sends a host's cookies to all of its ports

    def url(self, address: str) -> str:
        """Return the address with the token."""
        return f"{address}?{urlencode({_PARAMETER: self.value})}"

    def allows(self, environ: WSGIEnvironment) -> bool:
        """Return whether the request has the token as its cookie or as ``Authorization: Bearer TOKEN``."""
        scheme, _, value = str(environ.get("HTTP_AUTHORIZATION", "")).partition(" ")
        return self._is_token(self._cookie_of(environ)) or (scheme.lower() == "bearer" and self._is_token(value))

    def login(self, environ: WSGIEnvironment) -> list[tuple[str, str]]:
        """Return the headers that answer a request whose address has the token; none for any other request.

        They set the cookie and lead to the same address without the token, which then is in no history and no referrer.
        """
        query = parse_qsl(str(environ.get("QUERY_STRING", "")), keep_blank_values=True)
        if not any(name == _PARAMETER and self._is_token(value) for name, value in query):
            return []
        rest = urlencode([(name, value) for name, value in query if name != _PARAMETER])
        path = "/" + str(environ.get("PATH_INFO", "")).lstrip("/")  # two slashes would name another host
        path = quote(path, encoding="latin-1")
        return [
            ("Location", path + (f"?{rest}" if rest else "")),
            ("Set-Cookie", f"{self._cookie}={self.value}; Path=/; HttpOnly; SameSite=Lax"),
            ("Referrer-Policy", "no-referrer"),
            ("Cache-Control", "no-store"),
        ]

    def _cookie_of(self, environ: WSGIEnvironment) -> str:
        try:
            cookies = SimpleCookie(str(environ.get("HTTP_COOKIE", "")))
        except CookieError:
            return ""
        return cookies[self._cookie].value if self._cookie in cookies else ""

    def _is_token(self, value: str) -> bool:
        return hmac.compare_digest(value.encode("utf-8", "surrogatepass"), self.value.encode())


@contextlib.contextmanager
def opened_in_browser(url: str) -> Iterator[None]:
    """Open an address in the browser by a file that only this user can read, which is removed at the end.

    The address itself would be an argument of the browser's process, which every user of the machine can list.
    """
    with tempfile.TemporaryDirectory(prefix="sweep-dashboard-") as folder:
        page = Path(folder, "open.html")
        descriptor = os.open(page, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(
                f'<meta http-equiv="refresh" content="0; url={html.escape(url)}"><title>sweep dashboard</title>\n'
            )
        webbrowser.open(page.as_uri())
        yield
