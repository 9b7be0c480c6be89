"""The fenced blocks of the pages, what stands before them, and what is wrong with a command line.

An HTML comment before a block (or, for a whole page, at its top) says what a reader of the page need not see:

    <!-- run: sweep -->                              with this fixture of tests/test_blocks.py
    <!-- run by: tests/test_bundles_page.py -->      a test of the page's own runs it
    <!-- not run: why it cannot be -->
"""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(
    r"^(?P<indent> *)(?P<mark>```+|~~~+)(?P<language>\w*)[^\n]*\n(?P<text>.*?)^ *(?P=mark)$", re.M | re.S
)
NOTE = re.compile(r"<!--\s*(?P<kind>run by|not run|run):\s*(?P<what>[^>]*?)\s*-->")
CALLS = re.compile(r"\$\$|\$\{\w+:-(?P<default>[^}]*)\}")
OPERATORS = {"|", ">", ">>", "2>", "&&", "||", ";", "&"}
BUILTINS = {"export", "set", "source", "."}


@dataclass(frozen=True)
class Block:
    """One fenced block; ``kind`` and ``what`` are those of the comment that governs it, or empty."""

    page: str
    line: int
    language: str
    text: str
    kind: str = ""
    what: str = ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    def commands(self) -> list[str]:
        """The command lines in it, without prompt and comment: of a terminal those after ``$``."""
        lines = re.sub(r"\\\n\s*", " ", self.text).splitlines()
        if self.language == "bash":
            return [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
        return [line[2:] for line in lines if line.startswith("$ ")]


def blocks_of(page: Path, root: Path) -> Iterator[Block]:
    """Every fenced block of a page, in order."""
    text, name = page.read_text(encoding="utf-8"), page.relative_to(root).as_posix()
    first = FENCE.search(text)
    top = NOTE.search(text[: text.find("\n## ")] if "\n## " in text else text)
    if top and first and text[top.end() : first.start()].strip() == "":
        top = None  # it stands right before a block, and so is that block's
    end = 0
    for found in FENCE.finditer(text):
        notes = list(NOTE.finditer(text, end, found.start()))
        end = found.end()
        near = notes[-1] if notes and not text[notes[-1].end() : found.start()].strip() else None
        note = near or top
        line = text.count("\n", 0, found.start()) + 1
        body = re.sub(f"^{found['indent']}", "", found["text"], flags=re.M)
        yield Block(name, line, found["language"], body, note["kind"] if note else "", note["what"] if note else "")


def words(command: str) -> list[str]:
    """A command line's words up to the first pipe or redirection, its comment and its variables put aside."""
    line = CALLS.sub(lambda match: match["default"] or "", command.strip()).replace('"$@"', "")
    parts: list[str] = []
    for word in shlex.split(line, comments=True):
        if word in OPERATORS or word.startswith((">", "2>")):
            break
        parts.append(word)
    while parts and re.fullmatch(r"[A-Z_]+=.*", parts[0]):
        del parts[0]
    return parts


def fault(command: str, root: Path) -> str:
    """What is wrong with a command line, found without running it; empty where nothing is."""
    try:
        parts = words(command)
    except ValueError as error:
        return str(error)
    if not parts:
        return ""
    program, *rest = parts
    if Path(program).name == "sweep":
        return sweep_fault(rest)
    if program == "make":
        targets = re.findall(r"^([a-z-]+):", (root / "Makefile").read_text(), re.M)
        return "".join(f"no target {word}" for word in rest if "=" not in word and word not in targets)
    if program == "cd":
        return "" if (root / rest[0]).is_dir() else f"no folder {rest[0]}"
    if program.startswith("python"):
        return python_fault(rest, root)
    return "" if program in BUILTINS or shutil.which(program) or (root / program).is_file() else f"no program {program}"


def sweep_fault(rest: list[str]) -> str:
    """What the command's own parser says to these words; nothing is run."""
    from typer.main import get_command

    from orchestrator.cli import app

    commands = getattr(get_command(app), "commands", {})
    if not rest or rest[0] not in commands:
        return "" if rest and rest[0].startswith("--") else f"no command {' '.join(rest[:1])}"
    if {"--help", "-h"} & set(rest):
        return ""
    command = commands[rest[0]]
    while len(rest) > 1 and rest[1] in getattr(command, "commands", {}):
        command, rest = command.commands[rest[1]], rest[1:]
    if hasattr(command, "commands"):
        return f"no command {' '.join(rest[:2])}"
    try:
        command.make_context(rest[0], rest[1:])
    except Exception as error:
        return str(getattr(error, "format_message", error.__str__)())
    return ""


def python_fault(rest: list[str], root: Path) -> str:
    if rest[:1] == ["-m"]:
        return "" if importlib.util.find_spec(rest[1]) else f"no module {rest[1]}"
    known = not rest or rest[0].startswith("-") or rest[0].startswith("$") or any(root.rglob(Path(rest[0]).name))
    return "" if known else f"no file {rest[0]}"
