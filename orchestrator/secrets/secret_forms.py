"""The forms in which programs write a secret: escaped, quoted, and encoded."""

from __future__ import annotations

import json
import re
import string
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from html import escape
from urllib.parse import quote, quote_plus

_SHELL = re.compile(r"([^\w@%+=:,./-])")
_CONTROL = r"\\+(?:u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|x[0-9a-fA-F]{2}|[0-7]{3}|[abefnrtv0]|(?=[^\w\s]).)"
_COLOR = r"(?:\x1b|\\+(?:x1b|u001b|033|e))(?:\[[0-9;:?]*[ -/]*[@-~]|\][^\x07\x1b]{0,200}(?:\x07|\x1b\\))"
UNIT = re.compile(
    rf"{_COLOR}|{_CONTROL}|%(?:25)*[0-9a-fA-F]{{2}}|&(?:[a-zA-Z]{{2,8}}|#\d{{1,7}}|#x[0-9a-fA-F]{{1,6}});"
)
"""One character as written by an encoding, or a terminal's colour: what must be masked as a whole or not at all."""
_STARTS = ("\\", "%", "&", "\x1b")
_KEPT = (string.digits + string.ascii_letters).encode()
_LOWER = bytes.maketrans(string.ascii_uppercase.encode(), string.ascii_lowercase.encode())
_DROPPED = bytes(sorted(set(range(256)) - set(_KEPT)))
IS_KEPT = bytes(int(number in _KEPT) for number in range(256))
"""A table for ``bytes.translate``: 1 for ASCII letters and digits, else 0."""


def has_units(text: str) -> bool:
    """Return whether `UNIT` may match in ``text``."""
    return any(start in text for start in _STARTS)


def without_units(text: str) -> str:
    """Return ``text`` of the same length with NUL characters in place of escapes, entities and colours."""
    return UNIT.sub(lambda match: "\0" * len(match[0]), text) if has_units(text) else text


def squeezed(text: bytes) -> bytes:
    """Return the ASCII letters and digits alone, in lower case: equal however a text is quoted, wrapped or split."""
    return text.translate(_LOWER, _DROPPED)


def escapes(value: str) -> set[str]:
    """Return a value as it is, and as written by Python, JSON, YAML, HTML, URLs and shells."""
    as_json = json.dumps(value)[1:-1]
    return {
        value,
        as_json,
        json.dumps(as_json)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        repr(value)[1:-1],
        ascii(value)[1:-1],
        repr(value.encode(errors="replace"))[2:-1],
        repr(value.encode("latin-1", errors="replace"))[2:-1],
        escape(value),
        quote(value, safe="", errors="replace"),
        quote(value, errors="replace"),
        quote_plus(value, errors="replace"),
        _SHELL.sub(r"\\\1", value),
        value.replace("'", "''"),
        value.replace("'", "'\"'\"'"),
        value.replace("'", "'\\''"),
    }


def encodings(value: str) -> Iterator[str]:
    """Yield what of a value's base64 and hex is the same whatever stands before and after it in the encoded text."""
    content = value.encode(errors="replace")
    for before in range(3):
        first, last = (0, 2, 3)[before], (before + len(content)) * 8 // 6
        padded = b"\0" * before + content
        yield b64encode(padded)[first:last].decode()
        yield urlsafe_b64encode(padded)[first:last].decode()
    yield content.hex()
