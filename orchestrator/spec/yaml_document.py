"""Read YAML 1.2 into plain JSON values, with the position of every key and value.

The values are built from the events of ruamel's parser, not by a loader: no object is constructed, duplicate keys are
reported, plain scalars follow YAML 1.2's core schema (``1e-4`` is a number, ``no`` is text), and expanded aliases count
towards the limits. A loader of ruamel's would lose the positions of aliases, and read the whole file before a limit
acts.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from orchestrator import codec
from orchestrator.errors import Problem, SpecError
from orchestrator.secrets import masked
from orchestrator.space import Value

Path = tuple[str | int, ...]

SIZE_LIMIT = 1 << 18
"""Bytes of a sweep file."""
NODE_LIMIT = 3_000
"""Keys and values of a sweep file, aliases expanded. Reading takes some 0.1 ms for each."""
DEPTH_LIMIT = 50
PROBLEM_LIMIT = 100
"""Problems that one error shows."""
DIGIT_LIMIT = 250
"""Characters of an integer: more than these, in base 16, are beyond the range of floats."""

_INT = re.compile(r"[-+]?[0-9]+")
_SURROGATE = re.compile("[\ud800-\udfff]")
_NO_CHARACTER = re.compile(r"\\U(?!000|0010)[0-9a-fA-F]{8}")
_BASED = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"([-+]?)\.(inf|Inf|INF)")
_WORDS: dict[str, Value] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}
_PLAIN_TAGS = ("!", *(f"tag:yaml.org,2002:{name}" for name in ("map", "seq", "str")))


@dataclass(frozen=True)
class Document:
    """A file's values and their positions. Two documents compare as equal, so that specs compare by their values."""

    file: str = field(default="", compare=False)
    data: Value = field(default=None, compare=False)
    keys: dict[Path, tuple[int, int]] = field(default_factory=dict, compare=False)
    values: dict[Path, tuple[int, int]] = field(default_factory=dict, compare=False)
    overridden: dict[Path, str] = field(default_factory=dict, compare=False)
    """The paths that the command line has set, with their sources: ``--set budget.trials=4``."""

    def locate(self, path: Path, *, key: bool = False) -> dict[str, Any]:
        """Return the position of ``path`` as the fields ``file``, ``line`` and ``column`` of a Problem.

        If the file does not have the path, its nearest enclosing entry is used. With ``key``, the position is that of
        the key rather than its value.
        """
        marks = self.keys if key else self.values
        for end in range(len(path), -1, -1):
            near = path[:end]
            if near in self.overridden:
                return {"file": self.overridden[near]}
            if near in marks or near in self.values:
                line, column = marks.get(near) or self.values[near]
                return {"file": self.file, "line": line, "column": column}
            marks = self.keys  # an enclosing entry is shown by its key
        return {"file": self.file}


def read(content: bytes, file: str) -> tuple[Document, list[Problem]]:
    """Return the document in ``content``, and its duplicate keys as problems. Raises SpecError if it is not YAML."""
    if len(content) > SIZE_LIMIT:
        raise SpecError([_at(file, 1, 1, f"the limit is {SIZE_LIMIT:,} bytes, and the file has more",
                             "a sweep file holds settings, not data")])  # fmt: skip
    text = _decode(content, file)
    composer = _Composer(file)
    data = composer.compose(_events(text, file))
    return Document(file, data, composer.keys, composer.values), composer.problems


def _at(file: str, line: int, column: int, message: str, hint: str) -> Problem:
    return Problem(brief(message), brief(hint), (), file, line, column)


def readable(problems: Sequence[Problem]) -> list[Problem]:
    """Return the problems in the order of the file, shortened, at most `PROBLEM_LIMIT` of them."""
    ordered = sorted(problems, key=lambda problem: (problem.line == 0, problem.line, problem.column))
    shown = [
        replace(p, message=brief(masked(p.message)), hint=brief(masked(p.hint)), file=masked(p.file))
        for p in ordered[:PROBLEM_LIMIT]
    ]
    omitted = len(ordered) - len(shown)
    return [*shown, Problem(f"and {omitted:,} more problems", "correct these first")] if omitted else shown


def brief(text: str) -> str:
    """Return the text for a screen: control characters escaped, the middle of a long text left out."""
    if not text.isprintable():
        text = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
    return text if len(text) <= 600 else f"{text[:400]} … {text[-150:]}"


def _decode(content: bytes, file: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8", "replace")
        line, column = _line_column(before, len(before))
        message = f"the file is not UTF-8 (byte {content[error.start]:#04x})"
        raise SpecError([_at(file, line, column, message, "save it as UTF-8")]) from None


def _line_column(text: str, offset: int) -> tuple[int, int]:
    before = text[:offset]
    return before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1


def _events(text: str, file: str) -> Iterator[Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError
    from ruamel.yaml.reader import ReaderError

    try:
        yield from YAML(typ="safe", pure=True).parse(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        message = f"not YAML: {error.problem or error.context}"
        raise SpecError([_at(file, line, column, message, _syntax_hint(message, text, line))]) from None
    except ReaderError as error:
        line, column = _line_column(text, error.position)
        message = f"not YAML: the character {chr(error.character)!r} is not allowed"
        raise SpecError([_at(file, line, column, message, "take it out, or write it as an escape in quotes")]) from None
    except (ValueError, OverflowError):  # an escape beyond Unicode, which the parser does not check
        escape = _NO_CHARACTER.search(text)
        line, column = _line_column(text, escape.start() if escape else 0)
        message = f"not YAML: {escape[0] if escape else 'an escape'} is no character"
        raise SpecError([_at(file, line, column, message, "the last one is \\U0010FFFF")]) from None


def whole_characters(text: str) -> str | None:
    """Return the text with each surrogate pair as one character, as JSON writes some; None if it holds half a pair."""
    if text.isprintable() or not _SURROGATE.search(text):
        return text
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        return None


def _syntax_hint(message: str, text: str, line: int) -> str:
    written = text.splitlines()[line - 1] if line <= len(text.splitlines()) else ""
    if "\t" in written:
        return "indent with spaces: YAML does not allow tabs"
    if "alias" in message:
        return "an alias (*name) needs its anchor (&name) earlier in the file; quote a text that begins with *"
    if "mapping values are not allowed" in message:
        return "is a line above not closed, or does a text with a colon need quotes?"
    return "check brackets, quotes and indentation here and on the line above"


@dataclass
class _Composer:
    """Build plain values from events, and record positions, duplicate keys and the extent of anchors."""

    file: str
    keys: dict[Path, tuple[int, int]] = field(default_factory=dict)
    values: dict[Path, tuple[int, int]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    anchors: dict[str, tuple[Value, int, int]] = field(default_factory=dict)
    """Each anchor's value, with its number of nodes and levels."""
    nodes: int = 0

    def compose(self, events: Iterator[Any]) -> Value:
        data, documents = None, 0
        self.values[()] = (1, 1)
        for event in events:
            kind = type(event).__name__
            if kind == "DocumentStartEvent":
                documents += 1
            elif kind not in ("StreamStartEvent", "StreamEndEvent", "DocumentEndEvent", "CommentEvent"):
                if documents > 1:
                    self._stop(event, "the file holds more than one YAML document", "keep one sweep a file")
                data = self._value(event, events, ())
        return data

    def _stop(self, event: Any, message: str, hint: str) -> NoReturn:
        raise SpecError([*self.problems[: PROBLEM_LIMIT - 1], self._problem(event, message, hint)])

    def _problem(self, event: Any, message: str, hint: str, path: Path = ()) -> Problem:
        return Problem(brief(message), brief(hint), path, self.file, *_mark(event))

    def _value(self, event: Any, events: Iterator[Any], path: Path) -> Value:
        self.values.setdefault(path, _mark(event))
        self._count(event, 1)
        self._nest(event, len(path))
        kind = type(event).__name__
        if kind == "AliasEvent":
            return self._alias(event, path)
        self._check_tag(event)
        if kind == "ScalarEvent":
            value = self._scalar(event)
        else:
            value = (self._mapping if kind == "MappingStartEvent" else self._sequence)(events, path)
        if event.anchor:
            self.anchors[event.anchor] = (value, *extent(value))
        return value

    def _scalar(self, event: Any) -> Value:
        text = whole_characters(str(event.value))
        if text is None:
            self._stop(event, "a text holds half a surrogate pair", "write the character itself, or \\U and 8 digits")
        if event.style is not None or str(getattr(event, "tag", None) or "").endswith(":str"):
            return text
        if len(text) > DIGIT_LIMIT and (_INT.fullmatch(text) or _BASED.fullmatch(text)):
            self._stop(event, f"a number of {len(text):,} digits is not read", "put a text of digits in quotes")
        return scalar(text)

    def _count(self, event: Any, nodes: int) -> None:
        self.nodes += nodes
        if self.nodes > NODE_LIMIT:
            self._stop(event, f"more than {NODE_LIMIT:,} keys and values, aliases expanded",
                       "a sweep file holds settings, not data")  # fmt: skip

    def _nest(self, event: Any, levels: int) -> None:
        if levels > DEPTH_LIMIT:
            self._stop(event, f"nested deeper than {DEPTH_LIMIT} levels", "a sweep file has no use for that")

    def _alias(self, event: Any, path: Path) -> Value:
        if event.anchor not in self.anchors:
            self._stop(event, f"unknown alias *{event.anchor}", "its anchor (&name) must end before it is used")
        value, nodes, levels = self.anchors[event.anchor]
        self._count(event, nodes)
        self._nest(event, len(path) + levels - 1)
        return copy.deepcopy(value)

    def _check_tag(self, event: Any) -> None:
        tag = str(getattr(event, "tag", None) or "!")
        if tag not in _PLAIN_TAGS:
            shown = tag.replace("tag:yaml.org,2002:", "!!")
            self._stop(event, f"the tag {shown} is not read", "name a class by class_path; a sweep file builds nothing")

    def _sequence(self, events: Iterator[Any], path: Path) -> list[Value]:
        items: list[Value] = []
        for event in events:
            if type(event).__name__ == "SequenceEndEvent":
                break
            items.append(self._value(event, events, (*path, len(items))))
        return items

    def _mapping(self, events: Iterator[Any], path: Path) -> dict[str, Value]:
        entries: dict[Any, Value] = {}
        for event in events:
            if type(event).__name__ == "MappingEndEvent":
                break
            key = self._key(event, typed=_holds_arguments(path))
            if key in entries:
                self._duplicate(event, key, path)
                self._value(next(events), events, (*path, key, "again"))
                continue
            self.keys[*path, key] = _mark(event)
            entries[key] = self._value(next(events), events, (*path, key))
        has_typed_keys = any(not isinstance(key, str) for key in entries)
        return codec.written(entries) if has_typed_keys else entries

    def _key(self, event: Any, *, typed: bool) -> Any:
        if type(event).__name__ != "ScalarEvent":
            self._stop(event, "a key must be plain text", "a mapping or a list cannot be a key")
        key = self._scalar(event)
        if not isinstance(key, str) and not typed:
            self._stop(event, f"a key must be text, but got {event.value or 'nothing'}", "put it in quotes")
        if key == "<<" and event.style is None:
            self._stop(event, "merge keys (<<) are not part of YAML 1.2", "write the keys out, or alias a whole value")
        return key

    def _duplicate(self, event: Any, key: str, path: Path) -> None:
        line = self.keys[*path, key][0]
        hint = f"it is on line {line} already; keep one of the two"
        self.problems.append(self._problem(event, f"duplicate key {key!r}", hint, (*path, key)))


def _holds_arguments(path: Path) -> bool:
    """Return whether a mapping there is a value for the user's code, whose keys may be numbers as well as text."""
    return "init_args" in path or (len(path) > 1 and path[0] in ("space", "trainer"))


def _mark(event: Any) -> tuple[int, int]:
    return event.start_mark.line + 1, event.start_mark.column + 1


def extent(value: Value) -> tuple[int, int]:
    """Return the number of values in ``value``, itself included, and of levels: 1 for a plain value."""
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    inside = [extent(child) for child in children]
    return 1 + sum(nodes for nodes, _ in inside), 1 + max((levels for _, levels in inside), default=0)


def scalar(text: str) -> Value:
    """Return a plain scalar's value by YAML 1.2's core schema."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    if infinite := _INFINITE.fullmatch(text):
        return float(f"{infinite[1]}inf")
    return float(text) if _FLOAT.fullmatch(text) else text
