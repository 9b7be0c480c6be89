"""Draw the pages of `sweep open` in a headless Chromium, small enough for the documentation."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

from PIL import Image
from playwright.async_api import Browser, async_playwright

from orchestrator.page.followed_runs import FollowedRuns
from orchestrator.page.server import Server

PICTURES = Path(__file__).resolve().parent / "pictures"
_COLOURS, _WIDTH = 256, 800
# File → address, width, height, colours of the page, and how far it is scrolled.
SHOTS: dict[str, tuple[str, int, int, str, int]] = {
    "live-page.png": ("/runs/{name}", 1200, 1560, "light", 0),
    "live-page-phone.png": ("/runs/{name}", 390, 800, "dark", 0),
    "live-page-compare.png": ("/compare?run={name}&run={name}-tpe&run={name}-seeds", 1200, 1560, "light", 0),
}


async def draw(runs: Path, name: str) -> list[str]:
    """Draw the pages of the running sweep of that name, and of its comparison; return the files written.

    Raises:
        SystemExit: There is no Chromium or Chrome.
    """
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        raise SystemExit("the pictures of pages need Chromium or Chrome")
    with Server(FollowedRuns(runs)) as server:
        async with async_playwright() as playwright:
            arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
            browser = await playwright.chromium.launch(executable_path=program, args=arguments)
            for file, shot in SHOTS.items():
                (PICTURES / file).write_bytes(await _shot(browser, server, name, *shot))
            await browser.close()
    return list(SHOTS)


async def _shot(
    browser: Browser, server: Server, name: str, address: str, width: int, height: int, scheme: str, scrolled: int
) -> bytes:
    context = await browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)  # type: ignore[arg-type]
    page = await context.new_page()
    await page.goto(server.tokens.url(server.address))
    origin = f"http://127.0.0.1:{server.port}"
    await page.wait_for_url(f"{origin}/")
    await page.goto(origin + address.format(name=name))
    await page.evaluate(f"scrollTo({{top: {scrolled}, behavior: 'instant'}})")
    await page.wait_for_timeout(3000)  # in which the figures in view are drawn
    picture = Image.open(io.BytesIO(await page.screenshot()))
    await context.close()
    small = io.BytesIO()
    picture.thumbnail((_WIDTH, 10 * _WIDTH), Image.Resampling.LANCZOS)
    picture.convert("RGB").quantize(_COLOURS, Image.Quantize.MAXCOVERAGE).save(small, "PNG", optimize=True)
    return small.getvalue()
