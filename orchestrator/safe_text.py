"""Text that others wrote, made inert: nothing in it moves a cursor, turns its direction, or runs where it is shown."""

from __future__ import annotations

import re
import unicodedata

from orchestrator.secrets import masked

_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_MARKDOWN = re.compile(r"[\\`*|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|\](?=[(\[:])")
_BLOCK = re.compile(r"^(\s*\d*)([#+=.)-])")  # would begin a heading, a list or a rule
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def visible(text: str, *, keep: str = "") -> str:
    r"""``text`` with every character that is not seen as itself written out: ``\x1b``, ``\u202e``, ``\n``.

    Those are control, format (direction, zero width), private, unassigned and lone surrogate characters, and the
    separators of lines and paragraphs. The characters of ``keep`` stay as they are.
    """
    text = masked(text)
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        _escaped(character) if character not in keep and unicodedata.category(character) in _UNSEEN else character
        for character in text
    )


def _escaped(character: str) -> str:
    return {"\n": r"\n", "\r": r"\r", "\t": r"\t"}.get(character) or (
        f"\\x{ord(character):02x}"
        if ord(character) < 0x100
        else f"\\u{ord(character):04x}"
        if ord(character) < 0x10000
        else f"\\U{ord(character):08x}"
    )


def csv_cell(text: str) -> str:
    """``text`` as a cell of a CSV file: an apostrophe before what a spreadsheet would take for a formula.

    Numbers stay as they are. Source: OWASP, "CSV Injection".
    """
    inert = visible(text, keep="\n\t")
    return f"'{inert}" if inert.lstrip(" ").startswith(_FORMULA) and not _is_number(inert) else inert


def markdown(text: str) -> str:
    """``text`` within a line, an item or a table's cell of Markdown: neither markup nor HTML nor a link."""
    escaped = _MARKDOWN.sub(r"\\\g<0>", visible(text))
    if not _is_number(text):
        escaped = _BLOCK.sub(r"\1\\\2", escaped, count=1)
    return re.sub("[&<>]", lambda found: _ENTITIES[found[0]], escaped).replace("://", ":\\//")


def markdown_code(text: str) -> str:
    """``text`` as a span of code in Markdown, outside tables: between more backticks than it has in a row."""
    shown = visible(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", shown)), default=0))
    gap = " " if shown[:1] in ("`", "") or shown[-1:] == "`" else ""
    return f"{fence}{gap}{shown}{gap}{fence}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text and text == text.strip()
