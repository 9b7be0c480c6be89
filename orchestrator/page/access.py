"""Who is answered: readers with a token or the cookie, under this machine's own names, from the page itself."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from html import escape
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.page.page_token import PageToken, without_token

HOST = "127.0.0.1"
_HOSTS = frozenset({HOST, "localhost", "[::1]"})
_PORT = re.compile(r":\d+$")
_GUESS_SECONDS = 0.5  # before a wrong token is refused
_GUESSES = 8  # refused at once
_OPEN_THE_ADDRESS = "open the address that sweep open prints, with its token"
_USED = """this address was opened before, and works only once
for a new one run: sweep open"""

# Scripts come from this server alone, and nothing is loaded or sent elsewhere; plotly needs inline styles.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Guard:
    """An ASGI application that passes on the requests of those who may read, and answers the others itself.

    Every user of the machine reaches a port of loopback, and so does every page that a browser shows. Another site may
    point its own name at this machine ("DNS rebinding"), and a browser then lets it read the answers: a request under
    another name is refused. So is one that a page of another origin makes, which a browser says in ``Sec-Fetch-Site``
    or ``Origin``, whatever its cookies. Nothing is stored, so a method that writes is refused too.
    """

    def __init__(self, app: ASGIApp, token: PageToken) -> None:
        self._app, self._token = app, token
        self._guesses = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise RuntimeError(f"a {scope['type']} connection is not served")

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        answer = await self._refusal(scope)
        await (answer or self._app)(scope, receive, with_headers)

    async def _refusal(self, scope: Scope) -> Response | None:
        """Return the answer to a request that is not passed on; None for one that is."""
        headers, query = Headers(scope=scope), scope["query_string"].decode("latin-1")
        if _PORT.sub("", headers.get("host", "")) not in _HOSTS:
            return _refused("open the address that sweep open prints")
        opens = scope["method"] == "GET" and is_navigation(headers)
        if opens and (cookie := self._token.exchange(query)):
            return _entrance(without_token(scope["path"], query), cookie)
        if not is_same_origin(headers) and not (opens and self._token.is_used(query)):
            return _refused("a page of another origin cannot read this one")
        if not self._token.allows(headers.get("cookie", ""), headers.get("authorization", "")):
            return await self._wrong(headers, query)
        if opens and self._token.is_used(query):  # the browser that has exchanged it opens it again
            return _entrance(without_token(scope["path"], query))
        if scope["method"] not in ("GET", "HEAD"):
            return PlainTextResponse("the page is read-only\n", 405, {"Allow": "GET, HEAD"})
        return None

    async def _wrong(self, headers: Headers, query: str) -> Response:
        """Refuse; a wrong token late, and only so many at a time, so that guessing takes for ever."""
        if self._token.is_used(query):
            return _refused(_USED)
        if self._token.is_offered(query) or headers.get("authorization"):
            if self._guesses >= _GUESSES:
                return PlainTextResponse("too many wrong tokens\n", 429, {"Retry-After": "1"})
            self._guesses += 1
            try:
                await asyncio.sleep(_GUESS_SECONDS)
            finally:
                self._guesses -= 1
        return _refused(_OPEN_THE_ADDRESS)


def is_same_origin(headers: Mapping[str, str]) -> bool:
    """Return whether a request comes from this page, from a person, or from a program that is no browser."""
    if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    return origin is None or (urlsplit(origin).scheme == "http" and urlsplit(origin).netloc == headers.get("host"))


def is_navigation(headers: Mapping[str, str]) -> bool:
    """Return whether a browser opens the address itself, in no frame, or a program does."""
    return headers.get("sec-fetch-mode", "navigate") == "navigate" and headers.get("sec-fetch-dest", "document") in (
        "document",
        "empty",
    )


def _entrance(address: str, cookie: str = "") -> Response:
    """Set the cookie, if there is one, and lead to the address without the token.

    A redirect would not do: after a link from another site, or from the file that opens the browser, a browser sends no
    ``SameSite=Strict`` cookie along it. It does if this page itself leads on, and the token stays in no history.
    """
    target = escape(address)
    page = (
        f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>sweep open</title>'
        '<link rel="icon" href="data:,">'
        f'<meta http-equiv="refresh" content="0; url={target}"><p><a href="{target}">Open the page</a></p></html>'
    )
    return HTMLResponse(page, headers={"Set-Cookie": cookie} if cookie else {})


def _refused(reason: str) -> Response:
    return PlainTextResponse(f"{reason}\n", 403)
