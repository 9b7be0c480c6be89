"""Build objects of the classes that a sweep file names.

This runs between trials, so plain values are passed directly, and tagged ones are decoded (see `orchestrator.codec`).
jsonargparse converts only plain values for annotations that are not plain JSON (tuples, enums, paths, factories).
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from orchestrator import codec
from orchestrator.errors import SweepError, UsageError, describe
from orchestrator.spec.interpolation import is_reference
from orchestrator.training.class_loading import argument_types
from orchestrator.training.class_loading.argument_types import signature
from orchestrator.training.class_loading.import_paths import import_class, import_object, refuse_run_data
from orchestrator.training.class_loading.optimizer_sections import set_optimizers
from orchestrator.training.class_loading.part_links import linked, parts_of

_VALUE_MODULES = ("datetime", "decimal", "fractions", "collections")
"""Modules of the standard library whose classes only hold values."""
_COMPUTING = (*_VALUE_MODULES, "enum", "functools", "itertools", "math", "operator", "pathlib", "statistics", "typing")
_BUILTINS = ("abs", "all", "any", "divmod", "len", "max", "min", "pow", "round", "sorted", "sum", "fromkeys")
"""What a tag may name of the standard library."""


def build(class_spec: Mapping[str, Any], bases: tuple[type, ...] = (), *positional: Any) -> Any:
    """Build the object that ``{class_path, init_args}`` describes, after the objects among its arguments.

    Arguments are built in the order of the signature, so that random initial weights do not depend on their order in a
    file. Errors of the constructors pass through.

    A run directory or a bundle may name any class, so nothing is called before it is known to be of the right kind; of
    a function without an annotation that holds for what it returns.

    Args:
        class_spec: import path and arguments; of a model also its optimizer, of model and data what they refer to.
        bases: what the object must be, such as ``(LightningModule,)``; empty for an argument without an annotation,
            where a class of the standard library is refused.
        positional: objects passed before the arguments, such as the parameters of an optimizer.

    Raises:
        UsageError: the class cannot be imported, is of another kind, or takes no such argument.
    """
    path = class_spec["class_path"]
    target = import_target(path, bases)
    init_args, extra = class_spec.get("init_args") or {}, class_spec.get("dict_kwargs") or {}
    accepted = signature(target)
    arguments = accepted.arguments
    if unknown := [name for name in init_args if name not in arguments and not accepted.open]:
        hint = f"it takes {', '.join(arguments)}" if arguments else "it takes no arguments"
        raise UsageError(f"{path} takes no argument {unknown[0]!r}", hint=hint)
    with parts_of(class_spec, build, build_data):
        named = {
            name: argument_types.like_default(argument, _build_value(argument.annotation, init_args[name]))
            for name, argument in arguments.items()
            if name in init_args
        }
        others = {name: value for name, value in init_args.items() if name not in arguments}
        named |= {name: _build_value(Any, value) for name, value in {**others, **extra}.items()}
        if class_spec.get("partial"):
            return functools.partial(target, *positional, **named)
        value = _decompiled(target(*positional, **named), bases)
    _require_result(value, path, bases)
    if class_spec.get("optimizer"):
        set_optimizers(value, class_spec, build)
    return value


def build_data(class_spec: Mapping[str, Any]) -> Any:
    """Build a LightningDataModule, around loaders or Datasets if it makes these. Raises UsageError as `build`."""
    from lightning import LightningDataModule

    from orchestrator.training.class_loading.loaders_data import as_datamodule  # loads Lightning

    path = class_spec["class_path"]
    target = import_target(path)
    require_data(target, path)
    is_module = isinstance(target, type) and issubclass(target, LightningDataModule)
    return as_datamodule(build(class_spec, (LightningDataModule,) if is_module else ()), path)


def build_parts(
    model: Mapping[str, Any],
    data: Mapping[str, Any] | None,
    errors: Callable[[str], AbstractContextManager[Any]] = nullcontext,
) -> tuple[Any, Any]:
    """Build a trial's module and data; objects that both refer to are built once.

    The module is built first, so that its initial weights do not depend on the data, unless it refers to them.
    ``errors`` is entered with the import path of what is being built.
    """
    from lightning import LightningModule

    with parts_of({**model, "data": data}, build, build_data) as parts:
        with errors(model["class_path"]):
            module = build(model, (LightningModule,))
        if not data:
            return module, None
        with errors(data["class_path"]):
            return module, parts.data()


def import_target(path: str, bases: tuple[type, ...] = ()) -> Any:
    """Return the class or function at ``path``.

    Raises:
        UsageError: it cannot be imported, or what it makes is none of ``bases``.
    """
    target = import_object(path)
    if isinstance(target, type):
        require_kind(target, path, bases)
        return target
    if not callable(target):
        kind = type(target).__name__
        raise UsageError(f"{path} is no class or function but a {kind}", hint="name a class or a function")
    owner = getattr(target, "__self__", None)
    library = (owner if isinstance(owner, type) else target).__module__ or "builtins"
    if library.partition(".")[0] in sys.stdlib_module_names:
        message = f"{path} is a function of Python's standard library ({library}), which is no part of a model"
        raise UsageError(message, hint="name a class or function of the model, its data or a library for training")
    made = argument_types.returned(target)
    if (
        bases
        and made is not Any
        and isinstance(made, type)
        and not issubclass(made, bases)
        and not any(issubclass(b, made) for b in bases)
    ):
        names = " or ".join(base.__name__ for base in bases)
        raise UsageError(f"{path} returns a {made.__name__}, not a {names}", hint=_result_hint(made, names))
    return target


def require_data(target: Any, path: str) -> None:
    """Raise UsageError for a class that makes no data, or a function whose annotation says so."""
    from lightning import LightningDataModule
    from torch.utils.data import DataLoader, Dataset

    if isinstance(target, type) and not issubclass(target, DataLoader | Dataset):
        require_kind(target, path, (LightningDataModule,))


def _decompiled(value: Any, bases: tuple[type, ...]) -> Any:
    """Return the LightningModule that `torch.compile` has wrapped, which computes with it; any other value as it is."""
    if isinstance(value, bases) or not isinstance(getattr(value, "_orig_mod", None), bases):
        return value
    from lightning.pytorch.utilities.compile import from_compiled

    return from_compiled(value)


def _require_result(value: Any, path: str, bases: tuple[type, ...]) -> None:
    if bases and not isinstance(value, bases):
        names = " or ".join(base.__name__ for base in bases)
        raise UsageError(
            f"{path} returned a {type(value).__name__}, not a {names}", hint=_result_hint(type(value), names)
        )


def _result_hint(made: type, names: str) -> str:
    if "LightningModule" in names and any(base.__name__ == "Module" for base in made.__mro__):
        return "it has no training_step: pass it to a LightningModule as an argument, {class_path: …} under init_args"
    return f"name a class or function that makes a {names}"


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
        return value if value.keys() <= {"class_path", "init_args", "dict_kwargs", "partial"} else None
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
        (isinstance(item, dict) and "class_path" in item) or is_reference(item) or holds_components(item)
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
    if is_reference(value):
        return linked(value)
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
