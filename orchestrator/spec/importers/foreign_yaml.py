"""Read another tool's file as that tool does: YAML 1.1, where ``yes`` is true and ``<<`` merges."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.errors import Problem, SpecError
from orchestrator.spec.yaml_document import (
    DEPTH_LIMIT,
    DIGIT_LIMIT,
    NODE_LIMIT,
    SIZE_LIMIT,
    Path,
    brief,
    readable,
    whole_characters,
)

_EXPONENT = re.compile(r"[-+]?([0-9][0-9_]*(\.[0-9_]*)?|\.[0-9_]+)[eE][-+]?[0-9]+")
_TEXT_IN_1_1 = re.compile(r"[-+]?[0-9_]+[eE].*|.*[eE][0-9].*")
_PREFIX = "tag:yaml.org,2002:"
_READ = ("null", "bool", "int", "float", "str", "seq", "map", "merge", "set", "timestamp")


@dataclass
class ForeignFile:
    """Another tool's file: its values, and the position of each.

    Attributes:
        file: its path as it was given.
        data: the values, plain ones.
        marks: line and column of each key path.
        exponents: numbers such as ``1e-4``, which YAML 1.1 takes for text, by their key paths.
        before: paths of earlier files, which this one overrides and whose values it holds, too.
    """

    file: str
    data: Any = None
    marks: dict[Path, tuple[int, int]] = field(default_factory=dict)
    exponents: dict[Path, str] = field(default_factory=dict)
    before: tuple[str, ...] = ()

    def refusal(self, message: str, hint: str, path: Path = ()) -> SpecError:
        """Return an error about the entry at ``path``."""
        ends = range(len(path), -1, -1)
        line, column = next((self.marks[path[:end]] for end in ends if path[:end] in self.marks), (1, 1))
        return SpecError(readable([Problem(brief(message), brief(hint), path, self.file, line, column)]))

    def require_writable(self) -> None:
        """Raise SpecError if a value cannot be written into a sweep file."""
        for path, value in leaves(self.data):
            if any(isinstance(text, str) and whole_characters(text) is None for text in (*path, value)):
                message = "a text holds half a surrogate pair"
                raise self.refusal(message, "write the character itself, or \\U and 8 digits", path)
            if isinstance(value, int) and value.bit_length() > 4 * DIGIT_LIMIT:
                raise self.refusal("an integer beyond the range of floats is not read", "put it in quotes", path)


def read_yaml_1_1(content: bytes, file: str) -> ForeignFile:
    """Return the values in ``content``, which is YAML 1.1, or JSON.

    Numbers such as ``1e-4`` are read as numbers, as jsonargparse and OmegaConf do, and dates as text. Raises SpecError
    if it is no YAML, is too large, has a key twice, or has a tag that would build an object.
    """
    import yaml

    source = ForeignFile(file)
    if len(content) > SIZE_LIMIT:
        raise source.refusal(f"the limit is {SIZE_LIMIT:,} bytes, and the file has more", "is it a file of settings?")
    try:
        loader = _loader()(content)
        try:
            if (node := loader.get_single_node()) is not None:
                _Counted(source).check(node, ())
                source.data = loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        source.marks[()] = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        message = f"not YAML: {error.problem or error.context}"
        raise source.refusal(message, "check brackets, quotes and indentation here") from None
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise source.refusal(f"not YAML: {str(error).splitlines()[0]}", "save the file as UTF-8 text") from None
    return source


def _loader() -> Any:
    """Return PyYAML's safe loader, which also reads ``1e-4`` as a number, and a date as text."""
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        pass

    resolvers = {
        first: [(tag, pattern) for tag, pattern in known if not tag.endswith(":timestamp")]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    Loader.yaml_implicit_resolvers = resolvers
    Loader.add_implicit_resolver(f"{_PREFIX}float", re.compile(f"^{_EXPONENT.pattern}$"), list("-+.0123456789"))
    return Loader


class _Counted:
    """A walk over the nodes before any value is built."""

    def __init__(self, source: ForeignFile) -> None:
        self._source, self._count, self._open = source, 0, set[int]()

    def check(self, node: Any, path: Path) -> None:
        """Note the position of each node; refuse what would be too large, or is no plain value."""
        self._source.marks.setdefault(path, (node.start_mark.line + 1, node.start_mark.column + 1))
        self._count += 1
        if self._count > NODE_LIMIT or len(path) > DEPTH_LIMIT:
            limit = f"{NODE_LIMIT:,} keys and values, aliases expanded, and {DEPTH_LIMIT} levels are the limits"
            raise self._source.refusal(limit, "is it a file of settings?", path)
        kind = str(node.tag).removeprefix(_PREFIX)
        if kind not in _READ or id(node) in self._open:
            tag = "an alias of what holds it" if id(node) in self._open else f"the tag {node.tag}"
            raise self._source.refusal(f"{tag.replace(_PREFIX, '!!')} is not read", "write the value out", path)
        self._open.add(id(node))
        if node.id == "scalar":
            node.value = whole_characters(node.value) or node.value
            is_tagged = node.end_mark.index - node.start_mark.index != len(node.value)
            if kind == "float" and node.style is None and not is_tagged and _TEXT_IN_1_1.fullmatch(node.value):
                self._source.exponents[path] = node.value
        elif node.id == "sequence":
            for index, item in enumerate(node.value):
                self.check(item, (*path, index))
        else:
            self._mapping(node, path)
        self._open.discard(id(node))

    def _mapping(self, node: Any, path: Path) -> None:
        seen: set[str] = set()
        for key, item in node.value:
            if key.id != "scalar":
                raise self._source.refusal(
                    "a key must be plain text or a number", "a mapping or a list cannot be a key", path
                )
            key.value = whole_characters(key.value) or key.value
            is_merge = key.tag == f"{_PREFIX}merge"
            if key.value in seen and not is_merge:
                hint = f"it is listed twice, and {key.value!r} would keep the last value only; keep one of the two"
                self._source.marks[(*path, key.value)] = (key.start_mark.line + 1, key.start_mark.column + 1)
                raise self._source.refusal(f"duplicate key {key.value!r}", hint, (*path, key.value))
            seen.add(key.value)
            self.check(item, path if is_merge else (*path, key.value))


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield every value without parts, an empty list or mapping included, with its key path."""
    parts: Any = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    if not isinstance(value, Mapping | list) or not value:
        yield path, value
        return
    for key, item in parts:
        yield from leaves(item, (*path, key))
