"""Objects of the classes that a sweep file names.

This runs between trials, so plain values go straight in: jsonargparse is asked only where an argument is not plain
JSON (tuples, enums, paths, factories). What it would convert, it converts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from orchestrator.errors import SweepError, UsageError
from orchestrator.training.class_loading import argument_values
from orchestrator.training.class_loading.import_paths import import_class
from orchestrator.training.class_loading.signature import signature


def build(class_spec: Mapping[str, Any]) -> Any:
    """The object that ``{class_path, init_args}`` describes, the objects among its arguments built first.

    These are built in the order of the signature, so that random initial weights do not hang on the order in a file.
    Raises UsageError where the class cannot be imported, and whatever the constructors raise.
    """
    cls = import_class(class_spec["class_path"])
    given = class_spec.get("init_args") or {}
    arguments = signature(cls).arguments
    known = {name: _built(arguments[name].annotation, given[name]) for name in arguments if name in given}
    others = {name: _built(Any, value) for name, value in given.items() if name not in arguments}
    return cls(**known, **others)


@contextmanager
def refusing(class_path: str) -> Iterator[None]:
    """Whatever a user's constructor raises becomes a UsageError that names the class."""
    try:
        yield
    except SweepError:
        raise
    except Exception as error:  # it may raise anything at all
        raise UsageError(f"{class_path} cannot be built: {type(error).__name__}: {error}") from error


def as_component(annotation: Any, value: Any) -> dict[str, Any] | None:
    """``value`` as ``{class_path, init_args}`` if it describes an object; None for a plain value.

    A mapping without ``class_path``, where one class is wanted, holds arguments of that class; text is its import
    path.
    """
    if isinstance(value, dict) and "class_path" in value:
        return value if value.keys() <= {"class_path", "init_args"} else None
    if not isinstance(value, dict | str) or argument_values.fits(annotation, value):
        return None
    classes = argument_values.component_classes(annotation)
    if isinstance(value, str):
        return {"class_path": value} if classes and "." in value else None
    if len(classes) != 1:
        return None
    arguments = value["init_args"] if set(value) == {"init_args"} else value
    return {"class_path": f"{classes[0].__module__}.{classes[0].__qualname__}", "init_args": arguments}


def is_entered(annotation: Any, value: Any) -> bool:
    """Whether the items of a list or mapping are built one by one, since there are objects among them."""
    classes = argument_values.component_classes(argument_values.element(annotation)) if isinstance(value, list) else ()
    return bool(classes) or holds_components(value)


def holds_components(value: Any) -> bool:
    """Whether a list or mapping holds a ``{class_path, …}`` somewhere."""
    return any(
        (isinstance(item, dict) and "class_path" in item) or holds_components(item)
        for _, item in argument_values.parts(value)
    )


def _built(annotation: Any, value: Any) -> Any:
    if argument_values.is_factory(annotation) and not argument_values.fits(annotation, value):
        return argument_values.instantiated(annotation, value)
    component = as_component(annotation, value)
    if component is not None:
        return build(component)
    if is_entered(annotation, value):
        return _built_inside(annotation, value)
    value = argument_values.as_floats(annotation, value)
    if argument_values.fits(annotation, value) or argument_values.is_plain(annotation):
        return value
    return argument_values.instantiated(annotation, value)


def _built_inside(annotation: Any, value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _built(Any, item) for name, item in value.items()}
    items = [_built(argument_values.element(annotation), item) for item in value]
    is_tuple = any(
        getattr(member, "__origin__", member) is tuple for member in argument_values.alternatives(annotation)
    )
    return tuple(items) if is_tuple else items
