"""Build objects of the classes that a sweep file names.

This runs between trials, so plain values are passed directly, and tagged ones are decoded (see `orchestrator.codec`).
jsonargparse converts only plain values for annotations that are not plain JSON (tuples, enums, paths, factories).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from orchestrator import codec
from orchestrator.errors import SweepError, UsageError, describe
from orchestrator.training.class_loading import argument_types
from orchestrator.training.class_loading.argument_types import signature
from orchestrator.training.class_loading.import_paths import import_class, import_object, refuse_run_data

_VALUE_MODULES = ("datetime", "decimal", "fractions", "collections")
"""Modules of the standard library whose classes only hold values."""
_COMPUTING = (*_VALUE_MODULES, "enum", "functools", "itertools", "math", "operator", "pathlib", "statistics", "typing")
_BUILTINS = ("abs", "all", "any", "divmod", "len", "max", "min", "pow", "round", "sorted", "sum", "fromkeys")
"""What a tag may name of the standard library."""


def build(class_spec: Mapping[str, Any], bases: tuple[type, ...] = ()) -> Any:
    """Build the object that ``{class_path, init_args}`` describes, after the objects among its arguments.

    Arguments are built in the order of the signature, so that random initial weights do not depend on their order in a
    file. Errors of the constructors pass through.

    A run directory or a bundle may name any class, so nothing is called before it is known to be of the right kind.

    Args:
        class_spec: the class's import path and arguments.
        bases: what the class must be, such as ``(LightningModule,)``; empty for an argument without an annotation,
            where a class of the standard library is refused.

    Raises:
        UsageError: the class cannot be imported, is of another kind, or takes no such argument.
    """
    cls = import_class(class_spec["class_path"])
    require_kind(cls, class_spec["class_path"], bases)
    init_args = class_spec.get("init_args") or {}
    accepted = signature(cls)
    arguments = accepted.arguments
    if unknown := [name for name in init_args if name not in arguments and not accepted.open]:
        hint = f"it takes {', '.join(arguments)}" if arguments else "it takes no arguments"
        raise UsageError(f"{class_spec['class_path']} takes no argument {unknown[0]!r}", hint=hint)
    named = {
        name: argument_types.like_default(argument, _build_value(argument.annotation, init_args[name]))
        for name, argument in arguments.items()
        if name in init_args
    }
    extra = {name: _build_value(Any, value) for name, value in init_args.items() if name not in arguments}
    return cls(**named, **extra)


def build_data(class_spec: Mapping[str, Any]) -> Any:
    """Build a LightningDataModule. Raises UsageError as `build` does."""
    from lightning import LightningDataModule

    return build(class_spec, (LightningDataModule,))


def require_kind(cls: type, class_path: str, bases: tuple[type, ...]) -> None:
    """Raise UsageError if a class is none of ``bases``, or without them belongs to the standard library."""
    if bases and not issubclass(cls, bases):
        names = " or ".join(base.__name__ for base in bases)
        raise UsageError(f"{class_path} is not a {names}", hint=_base_hint(cls, names))
    library = cls.__module__.partition(".")[0]
    if not bases and library in sys.stdlib_module_names and library not in _VALUE_MODULES:
        raise UsageError(
            f"{class_path} is a class of Python's standard library ({cls.__module__}), which is no part of a model",
            hint="name a class of the model, its data or a library for training",
        )


def _base_hint(cls: type, names: str) -> str:
    if any(base.__module__.startswith("pytorch_lightning") for base in cls.__mro__):
        return "it is built on pytorch_lightning; import `lightning` there instead, whose Trainer a sweep uses"
    return f"name a subclass of {names}"


def component_kinds(owner: type, name: str) -> tuple[type, ...]:
    """Return the classes of which an argument takes objects, alone or in a list; empty if its annotation names none."""
    argument = signature(owner).arguments.get(name)
    annotation = argument.annotation if argument else Any
    classes = argument_types.component_classes(annotation)
    return classes + argument_types.component_classes(argument_types.element(annotation))


@contextmanager
def constructor_errors(class_path: str) -> Iterator[None]:
    """Turn any error of a user's constructor into a UsageError that names the class."""
    try:
        yield
    except SweepError:
        raise
    except (Exception, SystemExit) as error:  # a user's code may raise any error
        raise UsageError(f"{class_path} cannot be built: {describe(error)}") from error


def as_component(annotation: Any, value: Any) -> dict[str, Any] | None:
    """Return ``value`` as ``{class_path, init_args}`` if it describes an object; None for a plain value.

    If the annotation names one class, a mapping without ``class_path`` holds arguments of that class. Text with a dot
    is an import path.
    """
    if codec.is_tagged(value):
        return None
    if isinstance(value, dict) and "class_path" in value:
        return value if value.keys() <= {"class_path", "init_args"} else None
    if not isinstance(value, dict | str) or argument_types.fits(annotation, value):
        return None
    classes = argument_types.component_classes(annotation)
    if isinstance(value, str):
        return {"class_path": value} if classes and "." in value else None
    if len(classes) != 1:
        return None
    arguments = value["init_args"] if set(value) == {"init_args"} else value
    return {"class_path": f"{classes[0].__module__}.{classes[0].__qualname__}", "init_args": arguments}


def has_objects(annotation: Any, value: Any) -> bool:
    """Return whether there are objects among the items of a list or mapping, so that each item is built alone."""
    classes = argument_types.component_classes(argument_types.element(annotation)) if isinstance(value, list) else ()
    return bool(classes) or holds_components(value)


def holds_components(value: Any) -> bool:
    """Return whether a list or mapping holds a ``{class_path, …}``, at any depth."""
    return any(
        (isinstance(item, dict) and "class_path" in item) or holds_components(item)
        for _, item in argument_types.items_of(value)
    )


def build_value(value: Any, bases: tuple[type, ...] = ()) -> Any:
    """Return a written value with its tagged parts decoded and each ``{class_path, init_args}`` built.

    Args:
        value: the written form.
        bases: what the objects in it must be, as `build` takes them.

    Raises:
        CodecError: a tag cannot be read.
        UsageError: something cannot be imported, or is of another kind.
    """
    return codec.decode(value, named_object, lambda component: build(component, bases))


def named_object(path: str) -> Any:
    """Return the class or function at ``path``, which a tag names.

    Raises:
        UsageError: it cannot be imported, or is of a part of the standard library that does more than to compute.
    """
    value = import_object(path)
    library, name = path.partition(".")[0], path.rpartition(".")[2]
    is_allowed = library in _COMPUTING or (library == "builtins" and (isinstance(value, type) or name in _BUILTINS))
    if library in sys.stdlib_module_names and not is_allowed:
        raise UsageError(
            f"{path} belongs to Python's standard library, and is no part of a model",
            hint="name a class or function of the model, its data or a library for training",
        )
    return value


def _build_value(annotation: Any, value: Any) -> Any:
    if codec.is_tagged(value):
        return build_value(value, argument_types.component_classes(argument_types.element(annotation)))
    if argument_types.is_factory(annotation) and not argument_types.fits(annotation, value):
        _require_callable_kind(value)
        return argument_types.instantiate_value(annotation, value)
    component = as_component(annotation, value)
    if component is not None:
        return build(component, argument_types.component_classes(annotation))
    if has_objects(annotation, value):
        return _build_items(annotation, value)
    if codec.tagged_inside(value):
        return build_value(value)
    value = argument_types.as_floats(annotation, value)
    if argument_types.fits(annotation, value) or argument_types.is_plain(annotation):
        return value
    return argument_types.instantiate_value(annotation, value)


def _require_callable_kind(value: Any) -> None:
    """Raise UsageError if a value that jsonargparse imports lies in a run directory, or is of the standard library."""
    if isinstance(value, str) and value.isascii() and all(map(str.isidentifier, value.split("."))):
        refuse_run_data(value)
    if isinstance(value, dict) and isinstance(value.get("class_path"), str):
        require_kind(import_class(value["class_path"]), value["class_path"], ())
    for _, item in argument_types.items_of(value):
        _require_callable_kind(item)


def _build_items(annotation: Any, value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _build_value(Any, item) for name, item in value.items()}
    items = [_build_value(argument_types.element(annotation), item) for item in value]
    is_tuple = any(getattr(member, "__origin__", member) is tuple for member in argument_types.alternatives(annotation))
    return tuple(items) if is_tuple else items
