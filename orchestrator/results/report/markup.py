"""Build HTML: text that is not marked as HTML is escaped."""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape
from typing import Any

from orchestrator.safe_text import visible
from orchestrator.secrets import masked

_VOID = frozenset({"meta", "input", "br"})
_UNSAFE = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


class Html(str):
    """Text that is HTML already, made by the functions of this module."""

    __slots__ = ()


def text(value: object, *, keep: str = "") -> Html:
    """Return a value as HTML text: markup escaped, secrets of this process masked, invisible characters written out.

    Control characters in ``keep`` stay.
    """
    return value if isinstance(value, Html) else Html(escape(visible(str(value), keep=keep)))


def element(name: str, /, *children: object, **attributes: Any) -> Html:
    """Return ``<name …>children</name>`` with children and attributes escaped.

    In attribute names ``_`` becomes ``-``, and a trailing one is dropped (``class_``). An attribute that is True has no
    value; one that is None or False is omitted.
    """
    attribute_text = "".join(_attribute(key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items())
    if name in _VOID:
        return Html(f"<{name}{attribute_text}>")
    return Html(f"<{name}{attribute_text}>{joined(children)}</{name}>")


def joined(parts: Iterable[object]) -> Html:
    """Return the parts one after the other, without those that are None."""
    return Html("".join(text(part) for part in parts if part is not None))


def _attribute(name: str, value: Any) -> str:
    if value is None or value is False:
        return ""
    return f" {name}" if value is True else f' {name}="{text(value)}"'


def data(id: str, value: Any) -> Html:
    """Return a value as JSON for the page's scripts; browsers do not execute it.

    Raises:
        ValueError: If a number is not finite.
    """
    return raw_data(id, json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False))


def raw_data(id: str, json_text: str) -> Html:
    """Return text that is JSON already as a data element; nothing in it can close the element."""
    return element("script", Html(masked(json_text).translate(_UNSAFE)), type="application/json", id=id)


def table(head: Iterable[object], rows: Iterable[Iterable[object]], caption: str) -> Html:
    """Return a small table that scrolls sideways; the first cell of a row is its heading."""
    titles = element("tr", *(element("th", title, scope="col") for title in head))
    body = [
        element("tr", *(element("td" if place else "th", cell, scope=None if place else "row") for place, cell in row))
        for row in (enumerate(cells) for cells in rows)
    ]
    content = element(
        "table",
        element("caption", caption, class_="unseen"),
        element("thead", titles),
        element("tbody", *body),
    )
    return element("div", content, class_="scroll", role="region", aria_label=caption, tabindex="0")


def pairs(items: Iterable[tuple[object, object]], **attributes: Any) -> Html:
    """Return a description list of names and values."""
    return element(
        "dl",
        *(element("div", element("dt", name), element("dd", value)) for name, value in items),
        **attributes,
    )
