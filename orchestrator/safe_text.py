"""Make foreign text safe to show: it cannot move a cursor, change the text direction, or run as markup or formula."""

from __future__ import annotations

import re
import unicodedata

from orchestrator.secrets import masked

_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_MARKDOWN = re.compile(r"[\\`*|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|\](?=[(\[:])")
_BLOCK = re.compile(r"^(\s*\d*)([#+=.)-])")  # would begin a heading, a list or a rule
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def visible(text: str, *, keep: str = "") -> str:
    r"""Return the text with invisible characters written as escapes: ``\x1b``, ``\u202e``, ``\n``.

    These are control, format (direction, zero width), private, unassigned and lone surrogate characters, and the
    separators of lines and paragraphs. The characters of ``keep`` stay as they are.
    """
    text = masked(text)
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        _escaped(character) if character not in keep and unicodedata.category(character) in _INVISIBLE else character
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


def show(value: object) -> str:
    """Return a value for people: floats to four significant digits, and what cannot be seen in a text written out.

    A value in its written form is shown as it was: ``(16, 16)`` for ``{"$tuple": [16, 16]}``.
    """
    from orchestrator.codec import readable  # not above: every command imports this module, `--help` included

    value = readable(value)
    return f"{value:.4g}" if isinstance(value, float) else visible(str(value))


def show_apart(first: float, second: float) -> tuple[str, str]:
    """Return two numbers for people, as `show` does, with more digits if they would look equal and are not."""
    for digits in range(4, 18):
        texts = f"{first:.{digits}g}", f"{second:.{digits}g}"
        if texts[0] != texts[1]:
            return texts
    return show(first), show(second)


def csv_cell(text: str) -> str:
    """Return the text as a cell of a CSV file, with an apostrophe before what a spreadsheet would run as a formula.

    Numbers stay as they are. Source: OWASP, "CSV Injection".
    """
    inert = visible(text, keep="\n\t")
    return f"'{inert}" if inert.lstrip(" ").startswith(_FORMULA) and not _is_number(inert) else inert


def markdown(text: str) -> str:
    """Return the text escaped for a line, list item or table cell of Markdown: no markup, HTML or link remains."""
    escaped = _MARKDOWN.sub(r"\\\g<0>", visible(text))
    if not _is_number(text):
        escaped = _BLOCK.sub(r"\1\\\2", escaped, count=1)
    return re.sub("[&<>]", lambda match: _ENTITIES[match[0]], escaped).replace("://", ":\\//")


def markdown_code(text: str) -> str:
    """Return the text as a code span of Markdown, outside tables: fenced by more backticks than it has in a row."""
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
