"""Parse the ``ray start`` in a shell command: its environment and its options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_HOME = re.compile(r"^(?:\$HOME|\$\{HOME\}|~)(?=/|$)")


@dataclass(frozen=True)
class Start:
    """A ``ray start``.

    Attributes:
        index: The command's index in its list.
        environment: The variables that the command sets for it.
        options: Its options; one without a value (``--head``) maps to an empty text.
    """

    index: int
    environment: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)


def ray_starts(commands: Sequence[str]) -> list[Start]:
    """Return every ``ray start`` in a list of commands. Raises ValueError if a command's quotes are not closed."""
    return [start for index, command in enumerate(commands) for start in _starts(index, command)]


def syntax_error(command: str) -> str:
    """Return why a shell could not parse a command; empty if it could."""
    try:
        list(_simple_commands(command))
    except ValueError as error:
        return str(error)
    return ""


def normalize_home(path: str) -> str:
    """Return a path below the home directory (``$HOME``, ``${HOME}`` or ``~``) as ``~/…``, any other unchanged."""
    return _HOME.sub("~", path).rstrip("/") or path


def _starts(index: int, command: str) -> Iterator[Start]:
    exported: dict[str, str] = {}
    for words in _simple_commands(command):
        if words[0] == "export":
            exported |= _assignments(words[1:])
            continue
        assigned = _assignments(words, leading=True)
        rest = words[len(assigned) :]
        for position in range(len(rest) - 1):
            if rest[position + 1] == "start" and rest[position].rpartition("/")[2] == "ray":
                yield Start(index, {**exported, **assigned}, _options(rest[position + 2 :]))
                break


def _simple_commands(command: str) -> Iterator[list[str]]:
    """Yield the words of each command between ``;``, ``&&`` and the like."""
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
    variables: dict[str, str] = {}
    for word in words:
        assignment = _ASSIGNMENT.fullmatch(word)
        if assignment:
            variables[assignment[1]] = assignment[2]
        elif leading:
            break
    return variables


def _options(words: Sequence[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    name = ""
    for word in words:
        if word.startswith("--"):
            name, _, value = word.partition("=")
            options[name] = value
        elif set(word) & set("<>"):  # a redirection
            break
        elif name and not options[name]:
            options[name] = word
    return options
