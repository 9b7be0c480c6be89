"""The parts of a value that are secrets by themselves: lines, a URL's words, fields of JSON, passwords in a DSN."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote

from orchestrator.secrets.plain_words import is_name, is_plain, is_random
from orchestrator.secrets.secret_names import is_secret_name

_ASSIGNMENT = re.compile(r"([A-Za-z_][\w .-]{0,40}?)\s*[=:]\s*(\"[^\"]*\"|'[^']*'|[^\s;,&\"']+)")
_NETRC = re.compile(r"""(?<!\S)(?:(machine|login|account|password)\s+("[^"]*"|'[^']*'|\S+)|default(?!\S))""")
_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_PASSWORD = re.compile(r"[a-z][a-z0-9+.-]*://[^:/@\s]*:([^\s]+)@", re.IGNORECASE)
_TOKEN = re.compile(r"[a-z][a-z0-9+.-]*://([^:/@\s]{8,})@", re.IGNORECASE)
_PATH = re.compile(r"(?:~|\.{0,2})(?:/[\w.+@-]{1,64})+/?")


class Part(NamedTuple):
    """A secret value. With ``whole`` it is one in its full length only: most of its pieces occur in ordinary text."""

    value: str
    whole: bool = False


def parts(value: str) -> Iterator[Part]:
    """Yield a secret value, and those of its parts that are secrets by themselves."""
    if value.lstrip().startswith(("{", "[")):
        fields = _of_json(value)
        if fields is not None:
            yield Part(value, whole=True)
            yield from fields
            return
    if _URL.match(value):
        yield Part(value, whole=True)
        yield from _of_url(value)
        return
    if re.match(r"(?:machine|default)\s", value.lstrip()):
        yield Part(value, whole=True)
        yield from (Part(password) for _, password in netrc_entries(value))
        return
    assigned = [text.strip("\"'") for name, text in _ASSIGNMENT.findall(value) if is_secret_name(name.strip())]
    if assigned:
        yield Part(value, whole=True)
        yield from map(Part, assigned)
    elif "\n" in value.strip():
        yield from _of_lines(value)
    else:
        yield Part(value)


def netrc_entries(text: str) -> Iterator[tuple[str, str]]:
    """Yield host and password of every entry, leniently: what a strict parser refuses holds secrets, too."""
    host = ""
    for match in _NETRC.finditer(text):
        value = (match[2] or "").strip("\"'")
        if match[1] == "password":
            yield host, value
        elif match[1] in (None, "machine"):
            host = value or "default"


def login(url: str) -> Iterator[Part]:
    """Yield the password in a URL, or the token in its place, as it is and decoded."""
    for match in (_PASSWORD.match(url), _TOKEN.match(url)):
        if match:
            yield Part(match[1])
            yield Part(unquote(match[1]))


def is_path(value: str) -> bool:
    """Return whether a value has the form of a file's path, whose parts are names."""
    return bool(_PATH.fullmatch(value)) and all(
        is_name(part.lstrip(".")) or not is_random(part) for part in value.strip("~./").split("/")
    )


def _of_lines(value: str) -> Iterator[Part]:
    """Yield a value of several lines without those that any file of its kind has: ``-----BEGIN PRIVATE KEY-----``."""
    lines = [line.strip() for line in value.splitlines()]
    own = [line for line in lines if line and "-----" not in line]
    yield Part(value, whole=True)
    yield Part("\n".join(own))
    yield from (Part(line) for line in own)


def _of_json(value: str) -> list[Part] | None:
    """Return the secrets in an object or list of JSON; None if it is no such, or nested too deeply."""
    try:
        content = json.loads(value)
        return list(_fields(content)) if isinstance(content, Mapping | list) else None
    except (ValueError, RecursionError):
        return None


def _fields(content: Any, name: str = "") -> Iterator[Part]:
    if isinstance(content, Mapping):
        for key, item in content.items():
            yield from _fields(item, str(key))
    elif isinstance(content, list):
        for item in content:
            yield from _fields(item, name)
    elif isinstance(content, str) and (is_secret_name(name) or is_random(content) or "-----BEGIN" in content):
        yield from parts(content)


def _of_url(value: str) -> Iterator[Part]:
    yield from login(value)
    address, _, query = value.partition("?")
    path = address.split("://", 1)[1].partition("/")[2].strip("/")
    words = [word for word in path.split("/") if not (is_plain(word) or is_name(word))]
    yield Part(path, whole=True)
    yield from map(Part, words)
    for assignment in re.split("[&;]", query):
        yield Part(assignment.partition("=")[2] or assignment)
