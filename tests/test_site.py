"""The documentation as a site: it builds without a warning, leads nowhere wrong, and opens without a network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from docs import check_site
from tests.support.browser import browse
from tests.support.paths import ROOT


def build(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder), *options]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=ROOT, env=quiet, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = build(folder, "--config-file", "docs/site/mkdocs.yml")
    assert (built.returncode, built.stdout + built.stderr) == (0, ""), "one warning is a failure"
    return folder


@pytest.mark.slow
def test_every_link_and_anchor_of_the_site_is_there_and_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    assert check_site.broken(site) == []
    made = {page.stem for page in site.glob("*.html")}
    assert made >= {page.stem for page in (ROOT / "docs").glob("*.md")} | {"overview", "contributing", "changelog"}


@pytest.mark.parametrize(
    ("html", "fault"),
    [
        ('<a href="b.html">', "a.html: b.html: no such file"),
        ('<a href="#nowhere">', "a.html: #nowhere: no such anchor"),
        ('<h1 id="here"></h1><a href="a.html#here">', ""),
        ('<a href="../../x.html">', "a.html: ../../x.html: leads out of the site"),
        ('<img src="https://example.com/x.png">', "a.html: https://example.com/x.png: is loaded from elsewhere"),
        ('<link rel="preconnect" href="//fonts.gstatic.com">', "a.html: //fonts.gstatic.com: is loaded from elsewhere"),
        ('<a href="https://example.com">', ""),
    ],
)
def test_what_is_wrong_in_a_site_is_found(tmp_path: Path, html: str, fault: str) -> None:
    (tmp_path / "a.html").write_text(html)
    assert check_site.broken(tmp_path) == ([fault] if fault else [])


def test_a_font_from_the_web_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text("@font-face { src: url(https://fonts.gstatic.com/a.woff2) }")
    assert check_site.broken(tmp_path) == ["a.css: https://fonts.gstatic.com/a.woff2: is loaded from elsewhere"]


async def opened(page: Any, address: str) -> list[str]:
    """What went wrong while the page opened: errors on its console, and requests that leave its folder."""
    wrong: list[str] = []

    def on_console(message: Any) -> None:
        if message.type in ("error", "warning"):
            wrong.append(message.text)

    def on_request(request: Any) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            wrong.append(request.url)

    page.on("console", on_console)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", on_request)
    await page.goto(address)
    await page.wait_for_load_state("networkidle")
    return wrong


@pytest.mark.slow
@pytest.mark.parametrize("name", ["overview.html", "architecture.html"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_opens_from_the_disk(site: Path, chromium: str, name: str, scheme: Any) -> None:
    async def visit(page: Any) -> tuple[list[str], str, bool]:
        wrong = await opened(page, (site / name).as_uri())
        colours = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        shown = "[...document.images].every(image => image.complete && image.naturalWidth > 0)"
        return wrong, colours, await page.evaluate(shown)

    wrong, colours, pictures = browse(chromium, visit, color_scheme=scheme)
    assert wrong == []
    assert pictures, "each picture is there"
    red = int(colours.split("(")[1].split(",")[0])
    assert (red > 200) == (scheme == "light")


@pytest.mark.slow
def test_search_finds_a_page_from_the_disk(site: Path, chromium: str) -> None:
    async def visit(page: Any) -> tuple[list[str], list[str]]:
        wrong = await opened(page, (site / "index.html").as_uri())
        await page.click(".md-search__input")
        await page.keyboard.type("finalists")
        await page.wait_for_selector(".md-search-result__link")
        found = "[...document.querySelectorAll('.md-search-result__link')].map(link => link.getAttribute('href'))"
        return wrong, await page.evaluate(found)

    wrong, found = browse(chromium, visit)
    assert wrong == []
    assert any("/spec.html" in address and address.endswith("#finalists") for address in found), found


@pytest.mark.slow
def test_a_page_fits_on_a_phone(site: Path, chromium: str) -> None:
    async def visit(page: Any) -> int:
        await opened(page, (site / "tutorial.html").as_uri())
        return int(await page.evaluate("document.documentElement.scrollWidth"))

    assert browse(chromium, visit, viewport={"width": 390, "height": 800}) <= 390
