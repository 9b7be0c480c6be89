"""Resolve references to built objects: ``${data.num_classes}``, ``${objects.dataset}``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.spec.interpolation import Unresolved, replaced

Build = Callable[[Mapping[str, Any]], Any]


class Parts:
    """Objects that others refer to, each built when it is first needed, and once.

    Args:
        sections: those of the objects by their names, and that of the data.
        build: builds an object of its section.
        build_data: builds the data.
    """

    def __init__(self, sections: Mapping[str, Any], build: Build, build_data: Build) -> None:
        self._sections, self._build, self._build_data = sections, build, build_data
        self._built: dict[str, Any] = {}
        self._open: list[str] = []

    def get(self, name: str) -> Any:
        """Return what a reference names. Raises UsageError if a built object has no such attribute."""
        root, *attributes = name.split(".")
        value = self.data() if root == "data" else self._object(attributes.pop(0)) if root == "objects" else None
        if root not in ("data", "objects"):
            raise Unresolved(name)
        for attribute in attributes:
            if isinstance(value, Mapping) and attribute in value:
                value = value[attribute]
            elif hasattr(value, attribute):
                value = getattr(value, attribute)
            else:
                hint = f"set it in the constructor of {type(value).__name__}, or make it a property"
                raise UsageError(f"${{{name}}}: {type(value).__name__} has no attribute {attribute!r}", hint=hint)
        return value

    def data(self) -> Any:
        """Return the data, built."""
        if "data" not in self._built:
            if "data" not in self._sections:
                raise UsageError(
                    "a reference to data, but there is no section `data`", hint="add it, or write the value"
                )
            with self._opened("data"):
                self._built["data"] = self._build_data(self._sections["data"])
        return self._built["data"]

    def _object(self, name: str) -> Any:
        key = f"objects.{name}"
        if key not in self._built:
            if key not in self._sections:
                raise UsageError(f"${{{key}}} names no object", hint=f"objects: {{{name}: …}} is missing")
            with self._opened(key):
                self._built[key] = self._build(self._sections[key])
        return self._built[key]

    @contextmanager
    def _opened(self, name: str) -> Iterator[None]:
        if name in self._open:
            raise UsageError(f"${{{name}}} needs itself, by {' → '.join(self._open)}", hint="write one of them out")
        self._open.append(name)
        try:
            yield
        finally:
            self._open.pop()


_PARTS: ContextVar[Parts | None] = ContextVar("parts", default=None)


@contextmanager
def parts_of(component: Mapping[str, Any], build: Build, build_data: Build) -> Iterator[Parts]:
    """Resolve the references in a component within the block; an outer block's objects are kept."""
    current = _PARTS.get()
    if current is not None:
        yield current
        return
    data = component.get("data")
    objects = {**((data or {}).get("objects") or {}), **(component.get("objects") or {})}
    sections = {f"objects.{name}": part for name, part in objects.items()} | ({"data": data} if data else {})
    parts = Parts(sections, build, build_data)
    token = _PARTS.set(parts)
    try:
        yield parts
    finally:
        _PARTS.reset(token)


def linked(value: Any) -> Any:
    """Return a text with its references to built objects resolved."""
    parts = _PARTS.get()
    return value if parts is None else replaced(value, parts.get)
