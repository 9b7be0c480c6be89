"""Server-sent events: what has changed, to a browser that waits for it, however slowly it reads."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

SEND_SECONDS = 30.0  # in which a browser must have taken what was sent; its next connection gets all that it missed
_ALIVE_SECONDS = 15.0  # between two signs of life


class EventStream(Response):
    """Send JSON messages as events until the browser leaves; it holds one message at most, so that memory is bounded.

    Args:
        messages: each is sent when the one before has been taken.
    """

    media_type = "text/event-stream"

    def __init__(self, messages: AsyncIterator[dict[str, Any] | None]) -> None:
        super().__init__(None)
        del self.headers["content-length"]
        self._messages = messages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        sender = asyncio.ensure_future(self._send(send))
        leaving = asyncio.ensure_future(_until_left(receive))
        try:
            await asyncio.wait({sender, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sender, leaving):
                task.cancel()
            await asyncio.gather(sender, leaving, return_exceptions=True)

    async def _send(self, send: Send) -> None:
        silent_since = asyncio.get_running_loop().time()
        async for message in self._messages:
            now = asyncio.get_running_loop().time()
            if message is None and now - silent_since < _ALIVE_SECONDS:
                continue
            silent_since = now
            body = b": alive\n\n" if message is None else f"data: {json.dumps(message)}\n\n".encode()
            async with asyncio.timeout(SEND_SECONDS):
                await send({"type": "http.response.body", "body": body, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _until_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
