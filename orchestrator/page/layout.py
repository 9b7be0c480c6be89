"""The frame of every page: head, heading, navigation, and the parts that are kept up to date."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from importlib.resources import files

from orchestrator.results.report.markup import Html, element, joined
from orchestrator.results.report.page import asset, plotly_source

SHARED = ("page.css", "page.js", "figures.js", "parallel.js")
OWN = ("live.css", "live.js")
TYPES = {"css": "text/css", "js": "text/javascript"}
PLOTLY = "plotly.js"


def document(
    title: str,
    *,
    heading: object,
    main: Sequence[object],
    sections: tuple[tuple[str, str], ...] = (),
    events: str | None = None,
    at: int = 0,
    news: str = "",
    figures: bool = False,
    again: bool = False,
) -> str:
    """Return a page.

    Args:
        title: in the browser's tab.
        heading: what stands above the navigation.
        main: the sections.
        sections: identifiers and words for the navigation.
        events: where the page hears what has changed; None if it shows nothing that does.
        at: the version of what it shows.
        news: what a screen reader says once it is another.
        figures: whether it has figures, whose library is then loaded after the page, once one comes near.
        again: whether a browser asks for the page again after a second.
    """
    scripts = ["page.js", "live.js", *(["parallel.js", "figures.js"] if figures else [])]
    styles = [element("link", rel="stylesheet", href=address(name)) for name in ("page.css", "live.css")]
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", http_equiv="refresh", content="1") if again else None,
        element("title", title),
        element("link", rel="icon", href=address("mark.svg")),
        *styles,
        *(element("script", src=address(name), defer=True) for name in scripts),
    )
    body = element(
        "body",
        element("a", "Skip to the content", href="#main", class_="skip"),
        element("header", element("div", heading, class_="heading"), _bar(sections)),
        element("main", *main, id="main"),
        element("footer", element("p", "Read-only, from the journal, by ", element("code", "sweep open"), ".")),
        element("p", id="news", class_="unseen", role="status"),
        data_events=events,
        data_version=at if events else None,
        data_news=news or None,
        data_plotly=address(PLOTLY) if figures else None,
    )
    return str(joined([Html("<!DOCTYPE html>\n"), element("html", head, body, lang="en"), Html("\n")]))


def _bar(sections: tuple[tuple[str, str], ...]) -> Html:
    links = [element("li", element("a", "All runs", href="/"))]
    links += [element("li", element("a", words, href=f"#{id}")) for id, words in sections]
    return element(
        "div",
        element("nav", element("ul", *links), aria_label="Pages and sections"),
        element(
            "div",
            element("span", id="link", role="status"),
            element("button", "Dark", id="theme", type="button", hidden=True),
            class_="bar-end",
        ),
        class_="bar",
    )


def part(id: str, content: object) -> Html:
    """Return an element whose content the page replaces when the server sends a new one."""
    return element("div", content, id=id)


def message(title: str, text: str) -> str:
    """Return a page with a sentence, for errors."""
    return document(title, heading=element("h1", title), main=[element("section", element("p", text))])


@functools.cache
def address(name: str) -> str:
    """Return where a browser finds an asset, which changes with its content, so that it may keep it."""
    return f"/assets/{hashlib.sha256(asset_bytes(name)).hexdigest()[:16]}/{name}"


@functools.cache
def asset_bytes(name: str) -> bytes:
    """Return a style sheet, a script, or the figure library as its package ships it.

    Raises:
        KeyError: There is none of that name.
    """
    if name == PLOTLY:
        return plotly_source().encode()
    if name in SHARED:
        return asset(name).encode()
    if name in (*OWN, "mark.svg"):
        return files(__package__).joinpath("assets", name).read_bytes()
    raise KeyError(name)
