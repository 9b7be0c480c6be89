"""Encode values to their written form, and decode them."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.codec.array_kinds import ARRAYS
from orchestrator.codec.described import described
from orchestrator.codec.kinds import KINDS, Kind, Reader
from orchestrator.codec.named_kinds import NAMED
from orchestrator.codec.references import Resolve, path_of
from orchestrator.errors import CodecError

Path = tuple[Any, ...]

_TAGS: Mapping[str, Kind] = {kind.tag: kind for kind in (*KINDS, *NAMED, *ARRAYS)}
_BY_TYPE: Mapping[type, Kind] = {cls: kind for kind in (*KINDS, *NAMED) for cls in kind.types}
_BY_TEST = tuple(kind for kind in (*ARRAYS, *NAMED) if kind.test is not None)
_OBJECT_HINT = "pass its arguments, or a class by its import path; keep what only this process can use out of it"


@dataclass(frozen=True)
class Form:
    """What a written form holds as it is.

    Attributes:
        leaf: whether a value without parts needs no tag.
        containers: the types whose objects need no tag, if their keys are leaves.
        is_text: whether keys must be text, and values without parts are those of JSON.
    """

    leaf: Callable[[Any], bool]
    containers: frozenset[type]
    is_text: bool


def _json_leaf(value: Any) -> bool:
    return value is None or type(value) in (bool, int, str) or (type(value) is float and math.isfinite(value))


JSON = Form(_json_leaf, frozenset({list, dict}), is_text=True)
"""Strict JSON: no NaN, no infinities, keys are text."""


def encode(value: Any, form: Form = JSON, at: Path = ()) -> Any:
    """Return the written form of ``value``, from which `decode` makes an equal value of the same type.

    Parts that need no tag are returned as they are, not copied.

    Args:
        value: any value of a known kind.
        form: what needs no tag.
        at: keys and indices that lead to the value, for errors.

    Raises:
        CodecError: A part has no written form; names it by its key path.
    """
    return _Encoder(form, is_lenient=False).run(value, at)


def written(value: Any, at: Path = ()) -> Any:
    """Return the JSON form of a value from a sweep file or from Python: like `encode`, but tags are read as such.

    So ``{"$tuple": [1, 2]}`` means a tuple in a sweep file and in Python alike, and writing a written form changes
    nothing. A class under ``class_path`` becomes its import path, and an object that its arguments describe becomes its
    ``{class_path, init_args}`` (see `orchestrator.codec.described`).

    Raises:
        CodecError: As `encode`.
    """
    return _Encoder(JSON, is_lenient=True).run(value, at)


class _Encoder:
    def __init__(self, form: Form, *, is_lenient: bool) -> None:
        self.form, self._is_lenient = form, is_lenient
        self._open: set[int] = set()

    def run(self, value: Any, at: Path) -> Any:
        try:
            return self(value, at)
        except RecursionError:
            raise CodecError("it is nested too deeply", at=key_path(at)) from None

    def __call__(self, value: Any, at: Path) -> Any:
        """Return the written form of a part."""
        if self.form.leaf(value):
            return value
        if id(value) in self._open:
            raise CodecError("it holds itself", at=key_path(at))
        self._open.add(id(value))
        try:
            return self._container(value, at) if type(value) in self.form.containers else self._tagged(value, at)
        finally:
            self._open.discard(id(value))

    def _container(self, value: Any, at: Path) -> Any:
        if isinstance(value, dict):
            return self._mapping(value, at)
        if isinstance(value, set):
            return value if all(map(self.form.leaf, value)) else self._tagged(value, at)
        items = [self(item, (*at, index)) for index, item in enumerate(value)]
        return value if _identical(items, value) else type(value)(items)

    def _mapping(self, value: dict[Any, Any], at: Path) -> Any:
        key = next(iter(value), None) if len(value) == 1 else None
        is_marked = isinstance(key, str) and key.startswith("$")
        if self._is_lenient and isinstance(key, str) and key in _TAGS:
            return _checked({key: self(value[key], at)}, at)
        if (is_marked and (not self._is_lenient)) or not all(map(self._plain_key, value)):
            return self._tagged(value, at)
        items = {key: self._item(key, item, at) for key, item in value.items()}
        return value if _identical(items.values(), value.values()) else _like(value, items)

    def _item(self, key: Any, item: Any, at: Path) -> Any:
        if self._is_lenient and key == "class_path" and isinstance(item, type):
            try:
                return path_of(item)
            except ValueError as error:
                raise CodecError(str(error), at=key_path((*at, key))) from None
        return self(item, (*at, key))

    def _plain_key(self, key: Any) -> bool:
        return type(key) is str if self.form.is_text else self.form.leaf(key)

    def _tagged(self, value: Any, at: Path) -> dict[str, Any]:
        kind = _BY_TYPE.get(type(value)) or next((kind for kind in _BY_TEST if kind.test and kind.test(value)), None)
        if kind is None and self._is_lenient and (form := described(value, encode)) is not None:
            return {"class_path": form["class_path"], "init_args": self(form["init_args"], (*at, "init_args"))}
        if kind is None:
            raise CodecError(_refusal(value), at=key_path(at), hint=_object_hint(value))
        try:
            return {kind.tag: kind.write(value, lambda part, *keys: self(part, (*at, *keys)))}
        except ValueError as error:
            raise CodecError(str(error), at=key_path(at), hint=_OBJECT_HINT) from None


def _refusal(value: Any) -> str:
    cls = type(value)
    name = cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    return f"an object of {name} has no plain form"


def _object_hint(value: Any) -> str:
    cls = type(value)
    try:
        is_importable = cls.__module__ != "builtins" and bool(path_of(cls))
    except ValueError:
        is_importable = False
    if not is_importable:
        return _OBJECT_HINT
    return f'write {{"class_path": {cls.__name__}, "init_args": {{…}}}}: each trial makes an object of its own'


def decode(value: Any, resolve: Resolve | None = None, build: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """Return the value that `encode` or `written` has written.

    Args:
        value: the written form.
        resolve: returns the object at an import path; it is used only for what is then checked to be of the kind that
            the tag says. Without it a class, function, enum, dataclass or named tuple is refused.
        build: makes an object of each mapping that has a ``class_path``; without it the mapping stays.

    Raises:
        CodecError: The form is damaged, or names something of another kind.
    """
    try:
        return _Decoder(resolve, build)(value)
    except RecursionError:
        raise CodecError("a written value is nested too deeply") from None


class _ImportNeeded(CodecError):
    """Whether the form can be read shows only where imports are allowed."""


def _checked(tagged: dict[str, Any], at: Path) -> dict[str, Any]:
    """Return a tagged form. Raises CodecError if it is damaged, as far as that shows without an import."""
    try:
        decode(tagged)
    except _ImportNeeded:
        pass
    except CodecError as error:
        raise CodecError(str(error), at=key_path(at)) from None
    return tagged


class _Decoder(Reader):
    def __init__(self, resolve: Resolve | None, build: Callable[[dict[str, Any]], Any] | None) -> None:
        self._resolve, self._build = resolve, build

    def __call__(self, value: Any) -> Any:
        if is_tagged(value):
            return self._read(*next(iter(value.items())))
        if type(value) in (dict, OrderedDict, Counter):
            if self._build is not None and "class_path" in value:
                return self._build(value)
            items = {key: self(item) for key, item in value.items()}
            return value if self._build is None and _identical(items.values(), value.values()) else _like(value, items)
        if type(value) in (list, tuple):
            parts = [self(item) for item in value]
            return value if self._build is None and _identical(parts, value) else type(value)(parts)
        return value

    def _read(self, tag: str, content: Any) -> Any:
        try:
            return _TAGS[tag].read(content, self)
        except CodecError:
            raise
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError) as error:
            raise CodecError(f"{tag} cannot be read: {error}") from None

    def resolve(self, path: Any) -> Any:
        """Return the object at an import path. Raises CodecError if the caller allows no imports."""
        if not isinstance(path, str):
            raise CodecError(f"an import path is text, but got {path!r}")
        if self._resolve is None:
            raise _ImportNeeded(f"{path} would have to be imported, which is not allowed here")
        return self._resolve(path)


def _like(original: dict[Any, Any], items: dict[Any, Any]) -> Any:
    """Return the items in a mapping of the original's type, with its attributes (a state_dict has ``_metadata``)."""
    if type(original) is dict:
        return items
    copy = type(original)(items)
    vars(copy).update(vars(original))
    return copy


def _identical(parts: Iterable[Any], others: Iterable[Any]) -> bool:
    return all(new is old for new, old in zip(parts, others, strict=True))


def is_tagged(value: Any) -> bool:
    """Return whether it is the tagged form of a value, and no plain mapping."""
    return type(value) is dict and len(value) == 1 and next(iter(value)) in _TAGS


def tagged_inside(value: Any) -> bool:
    """Return whether it is tagged, or a part of it at any depth is."""
    if is_tagged(value):
        return True
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return any(map(tagged_inside, parts))


def readable(value: Any, resolve: Resolve | None = None) -> Any:
    """Return a written value for people and programs that look at results: a tuple is a tuple, numpy's 0.1 is 0.1.

    A class or function is the object if ``resolve`` finds it, else its import path. What cannot be read stays as it is.
    """
    if not is_tagged(value):
        if isinstance(value, dict):
            return {key: readable(item, resolve) for key, item in value.items()}
        return [readable(item, resolve) for item in value] if isinstance(value, list) else value
    try:
        decoded = decode(value, resolve)
    except (CodecError, ValueError):
        return next(iter(value.values()))
    return decoded.item() if "$scalar" in value else decoded


def display(value: Any) -> Any:
    """Return a written value as JSON for people: a number of numpy as a number, any other tagged value as text."""
    if not tagged_inside(value):
        return value
    shown = readable(value)
    return shown if shown is None or type(shown) in (bool, int, float, str) else str(shown)


def key_path(path: Path) -> str:
    """Return keys and indices as code has them: ``trainer.callbacks[0].init_args.x``."""
    text = ""
    for part in path:
        if isinstance(part, str) and part.replace(".", "_").isidentifier():
            text += f".{part}" if text else part
        else:
            text += f"[{part!r}]"
    return text
