"""What a shell command of a cluster file sets and starts, read as the shell would read it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_HOME = re.compile(r"^(?:\$HOME|\$\{HOME\}|~)(?=/|$)")


@dataclass(frozen=True)
class Start:
    """A ``ray start``: in which command of its list, with which environment, with which options.

    An option without a value (``--head``) is there as an empty text.
    """

    index: int
    environment: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)


def starts(commands: Sequence[str]) -> list[Start]:
    """Every ``ray start`` in a list of commands. Raises ValueError where a command's quotes are not closed."""
    return [start for index, command in enumerate(commands) for start in _starts(index, command)]


def unreadable(command: str) -> str:
    """Why a shell could not read a command; empty where it could."""
    try:
        list(_simple_commands(command))
    except ValueError as error:
        return str(error)
    return ""


def at_home(path: str) -> str:
    """A path below the home directory, however that is written, as ``~/…``; any other as it is."""
    return _HOME.sub("~", path).rstrip("/") or path


def _starts(index: int, command: str) -> Iterator[Start]:
    exported: dict[str, str] = {}
    for words in _simple_commands(command):
        if words[0] == "export":
            exported |= _assignments(words[1:])
            continue
        ahead = _assignments(words, leading=True)
        rest = words[len(ahead) :]
        for place in range(len(rest) - 1):
            if rest[place + 1] == "start" and rest[place].rpartition("/")[2] == "ray":
                yield Start(index, {**exported, **ahead}, _options(rest[place + 2 :]))
                break


def _simple_commands(command: str) -> Iterator[list[str]]:
    """The words of each command between ``;``, ``&&`` and the like."""
    lexer = shlex.shlex(command.replace("\n", " ; "), posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    words: list[str] = []
    for word in lexer:
        if set(word) <= set("();|&"):
            if words:
                yield words
            words = []
        else:
            words.append(word)
    if words:
        yield words


def _assignments(words: Sequence[str], *, leading: bool = False) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in words:
        assignment = _ASSIGNMENT.fullmatch(word)
        if assignment:
            found[assignment[1]] = assignment[2]
        elif leading:
            break
    return found


def _options(words: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    last = ""
    for word in words:
        if word.startswith("--"):
            last, _, value = word.partition("=")
            found[last] = value
        elif set(word) & set("<>"):
            break
        elif last and not found[last]:
            found[last] = word
    return found
