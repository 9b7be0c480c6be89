"""A page in a real, headless browser."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from playwright.async_api import Page, async_playwright

T = TypeVar("T")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
"""The last for containers, whose /dev/shm of 64 MB Ray and other tests use, too: a page would wait for ever."""


def browse(program: str, visit: Callable[[Page], Awaitable[T]], **context: Any) -> T:
    """What ``visit`` returns of a fresh page; ``context`` is Playwright's: ``viewport``, ``color_scheme``, …

    Not Playwright's form without ``await``: its greenlets hold the thread's event loop, and confuse Python's ``ast``.
    """

    async def run() -> T:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
            page = await (await browser.new_context(**context)).new_page()
            try:
                return await visit(page)
            finally:
                await browser.close()

    return asyncio.run(run())
