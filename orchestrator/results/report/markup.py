"""HTML out of text: what is not marked as HTML is escaped, so that text that others wrote stays text."""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape
from typing import Any

from orchestrator.safe_text import visible
from orchestrator.secrets import redact

_VOID = frozenset({"meta", "input", "br"})
_UNSAFE = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


class Html(str):
    """Text that is HTML already, made by the functions here."""

    __slots__ = ()


def text(value: object, *, keep: str = "") -> Html:
    """A value as text in HTML: no markup, no secret of this process, and nothing that is not seen as itself.

    Control characters in ``keep`` stay as they are.
    """
    return value if isinstance(value, Html) else Html(escape(visible(redact(str(value)), keep=keep)))


def element(name: str, /, *children: object, **attributes: Any) -> Html:
    """``<name …>children</name>``, children and attributes escaped.

    In the names of attributes ``_`` stands for ``-``, and one at the end for nothing (``class_``). One that is True
    stands alone; one that is None or False is left out.
    """
    written = "".join(_attribute(key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items())
    if name in _VOID:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{joined(children)}</{name}>")


def joined(parts: Iterable[object]) -> Html:
    """Parts one after the other; those that are None are left out."""
    return Html("".join(text(part) for part in parts if part is not None))


def _attribute(name: str, value: Any) -> str:
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{text(value)}"'


def data(id: str, value: Any) -> Html:
    """A value as JSON for the page's own scripts; a browser does not run it. Raises ValueError where not finite."""
    return raw_data(id, json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False))


def raw_data(id: str, written: str) -> Html:
    """The same for what is JSON already: nothing in it can end the element that it stands in."""
    return element("script", Html(written.translate(_UNSAFE)), type="application/json", id=id)


def table(head: Iterable[object], rows: Iterable[Iterable[object]], caption: str) -> Html:
    """A small table that can be scrolled sideways by itself; the first cell of a row is its heading."""
    titles = element("tr", *(element("th", title, scope="col") for title in head))
    body = [
        element("tr", *(element("td" if place else "th", cell, scope=None if place else "row") for place, cell in row))
        for row in (enumerate(cells) for cells in rows)
    ]
    inside = element(
        "table",
        element("caption", caption, class_="unseen"),
        element("thead", titles),
        element("tbody", *body),
    )
    return element("div", inside, class_="scroll", role="region", aria_label=caption, tabindex="0")


def pairs(listed: Iterable[tuple[object, object]], **attributes: Any) -> Html:
    """Names and what they stand for."""
    return element(
        "dl",
        *(element("div", element("dt", name), element("dd", value)) for name, value in listed),
        **attributes,
    )
