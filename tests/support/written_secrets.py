"""Secrets, and the forms in which programs write them."""

from __future__ import annotations

import base64
import html
import json
import os
import re
import shlex
import textwrap
import traceback
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest

from orchestrator.secrets import SHORTEST, known_secrets
from orchestrator.secrets.plain_words import is_number, is_wordlike
from orchestrator.secrets.secret_names import is_secret_name

PEM = (
    "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\n"
    "MzEfYyjiWA4R4/M2bS1GB4t7NXp98C3SC6dVMvDuictGeurT8jNbvJZHtCSuYEvu\n-----END PRIVATE KEY-----"
)
KEY = "q7Zp/3xW+kT9vLm2RnB8yUcD4eHs6JgA"
PASSWORD = "p@ss/w:rd with \"space\" & 'quotes' \\ ü!"
HEX = "0123456789abcdef" * 2 + "01234567"
SECRETS = {"SERVICE_API_KEY": KEY, "DB_PASSWORD": PASSWORD, "WANDB_API_KEY": HEX, "DEPLOY_PRIVATE_KEY": PEM}

ESCAPES: dict[str, Callable[[str], str]] = {
    "as it is": lambda value: value,
    "in single quotes": lambda value: f"'{value}'",
    "repr of a dict": lambda value: repr({"key": value}),
    "repr of bytes": lambda value: repr(value.encode()),
    "JSON": lambda value: json.dumps({"key": value}),
    "JSON, not only ASCII": lambda value: json.dumps({"key": value}, ensure_ascii=False),
    "JSON in JSON": lambda value: json.dumps(json.dumps({"key": value})),
    "HTML": html.escape,
    "URL": lambda value: "?pw=" + quote(value, safe=""),
    "URL, slashes kept": quote,
    "URL, spaces as +": quote_plus,
    "URL, encoded twice": lambda value: quote(quote(value, safe=""), safe=""),
    "URL, escapes in lower case": lambda value: re.sub("%..", lambda m: m[0].lower(), quote(value, safe="")),
    "a shell's quotes": shlex.quote,
    "a shell's backslashes": lambda value: re.sub(r"([^\w@%+=:,./-])", r"\\\1", value),
    "YAML": lambda value: "key: '" + value.replace("'", "''") + "'",
    "user and password in a URL": lambda value: f"postgres://me:{quote(value, safe='')}@db.example.com/x",
    "token of a URL": lambda value: f"https://{quote(value, safe='')}@github.com/me/x.git",
}
ENCODINGS: dict[str, Callable[[str], str]] = {
    "base64": lambda value: base64.b64encode(value.encode()).decode(),
    "base64, second alignment": lambda value: base64.b64encode(b"a" + value.encode() + b"tail").decode(),
    "base64, third alignment": lambda value: base64.b64encode(b"ab" + value.encode() + b"t").decode(),
    "base64 for URLs": lambda value: base64.urlsafe_b64encode(value.encode()).decode(),
    "base64 in lines": lambda value: base64.encodebytes(b"api:" + value.encode()).decode(),
    "HTTP Basic": lambda value: "Authorization: Basic " + base64.b64encode(b"api:" + value.encode()).decode(),
    "hex": lambda value: value.encode().hex(),
    "hex in capitals": lambda value: value.encode().hex().upper(),
    "hex with colons": lambda value: value.encode().hex(":"),
    "Bearer": lambda value: f"Authorization: Bearer {value}",
}
SPLITS: dict[str, Callable[[str], str]] = {
    "argv words": lambda value: repr([value[:9], value[9:]]),
    "short argv words": lambda value: repr([value[place : place + 5] for place in range(0, len(value), 5)]),
    "wrapped": lambda value: "\n".join(textwrap.wrap(value, 12, drop_whitespace=False)),
    "wrapped narrowly and indented": lambda value: "\n    ".join(textwrap.wrap(value, 6, drop_whitespace=False)),
    "a table's cell": lambda value: " │\n│ ".join(textwrap.wrap(value, 7, drop_whitespace=False)),
    "colours between": lambda value: "\x1b[1;31m".join(re.findall("(?s).{1,3}", value)),
    "escaped colours between": lambda value: r"\x1b[0m".join(re.findall("(?s).{1,3}", value)),
    "Python's strings in a row": lambda value: '"' + '"\n    "'.join(re.findall("(?s).{1,6}", value)) + '"',
    "first 30": lambda value: value[:30] + "...",
    "first 8": lambda value: f"{value[:8]}…",
    "last 8": lambda value: f"…{value[-8:]}",
    "both ends": lambda value: f"{value[:8]}...{value[-8:]}",
    "a traceback with its source line": lambda value: traceback_of(value),
}
TEXT = "Epoch 12: val_loss 0.53125, the key of layer1.0.conv.weight is missing (2026-11-29 12:00:01); "


def traceback_of(value: str) -> str:
    """A traceback with the value in a line of source, in the message, and in a cause."""
    source = f"connect(key={value!r})"
    try:
        try:
            raise KeyError({"key": value})
        except KeyError as error:
            raise RuntimeError(f"401 for {value}") from error
    except RuntimeError:
        return traceback.format_exc() + f'  File "train.py", line 3, in f\n    {source}\n'


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No secret but those of the test."""
    for name in list(os.environ):
        if is_secret_name(name):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path_factory.getbasetemp() / "no-home"))
    monkeypatch.setattr(known_secrets, "_vocabulary", set())
    monkeypatch.setattr(known_secrets, "_seen", set())
    monkeypatch.setattr(known_secrets, "_known", None)


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


def pieces_in(text: str, value: str) -> list[str]:
    """The pieces of a value that are in a text, without words, numbers and a PEM's own first and last line."""
    lines = [line for line in value.splitlines() if "-----" not in line] if "-----" in value else [value]
    windows = [line[place : place + SHORTEST] for line in lines for place in range(len(line) - SHORTEST + 1)]
    return [piece for piece in windows if piece in text and not is_ordinary(piece)]


def is_ordinary(piece: str) -> bool:
    return is_wordlike(piece) or is_number(piece)
