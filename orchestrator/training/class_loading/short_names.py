"""Find the class that a sweep file names alone, as LightningCLI does: ``EarlyStopping``, ``AdamW``, ``Data``.

A name counts if exactly one class has it, among those of the right kind that Lightning, torch.optim and the modules
named in the file define or import.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from types import ModuleType
from typing import Any

from orchestrator.errors import Problem, SpecError, UsageError
from orchestrator.spec import SweepSpec
from orchestrator.training.class_loading import argument_types
from orchestrator.training.class_loading.argument_types import signature
from orchestrator.training.class_loading.import_paths import import_from, import_object, import_roots, refuse_run_data
from orchestrator.training.class_loading.optimizer_sections import optimizer_bases, scheduler_bases

_LIBRARIES = ("lightning.pytorch.callbacks", "lightning.pytorch.loggers", "lightning.pytorch.profilers",
              "lightning.pytorch.strategies", "lightning.pytorch.plugins", "lightning.pytorch.cli", "torch.optim",
              "torch.optim.lr_scheduler", "torch.nn", "torchmetrics")  # fmt: skip
_PATHS = ("class_path", "_target_")


def with_full_paths(spec: SweepSpec) -> SweepSpec:
    """Return the spec with the import path of each class that it names alone.

    Imports the modules that the file names, from its import roots. A spec without such names is returned as it is.

    Raises:
        SpecError: a name means no class, or several; with its position.
    """
    written = spec.model_dump(mode="json")
    if not any(path for section in _sections(written) for path, _ in _short(section, ())):
        return spec
    import_from(import_roots(spec))
    finder = _Finder(spec, written)
    for name, bases in _kinds().items():
        if written.get(name):
            written[name] = finder.resolved(written[name], (name,), bases)
    written["objects"] = {
        name: finder.resolved(part, ("objects", name), ()) for name, part in (written.get("objects") or {}).items()
    }
    written["trainer"] = finder.trainer(written["trainer"])
    written["space"] = finder.resolved(written["space"], ("space",), ())
    if finder.problems:
        raise SpecError(finder.problems)
    full = SweepSpec.model_validate(
        {name: part for name, part in written.items() if part or name in type(spec).model_fields}
    )
    full._document = spec._document
    return full


def _sections(written: Mapping[str, Any]) -> Iterator[Any]:
    yield from (written.get(name) for name in (*_kinds(), "objects", "trainer", "space"))


def _kinds() -> dict[str, tuple[type, ...]]:
    from lightning import LightningDataModule, LightningModule

    return {
        "model": (LightningModule,),
        "data": (LightningDataModule,),
        "optimizer": optimizer_bases(),
        "lr_scheduler": scheduler_bases(),
    }


def _short(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Yield each class named without a module, with its place."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key in _PATHS and isinstance(item, str) and "." not in item and item.isidentifier():
                yield (*path, key), item
            yield from _short(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _short(item, (*path, index))


class _Finder:
    """Looks names up, among the libraries' classes and those of the modules that the file names."""

    def __init__(self, spec: SweepSpec, written: Mapping[str, Any]) -> None:
        self._spec = spec
        self.problems: list[Problem] = []
        self._modules = list(_named_modules(list(_sections(written))))

    def trainer(self, trainer: Mapping[str, Any]) -> dict[str, Any]:
        """Return Trainer arguments with full paths."""
        from lightning import Trainer

        known = signature(Trainer).arguments
        return {
            name: self.resolved(
                value, ("trainer", name), _component_bases(known[name].annotation) if name in known else ()
            )
            for name, value in trainer.items()
        }

    def resolved(self, value: Any, path: tuple[Any, ...], bases: tuple[type, ...]) -> Any:
        """Return a value with the full path of each class in it; ``bases`` are the kinds that it may be of."""
        if isinstance(value, list):
            return [self.resolved(item, (*path, index), bases) for index, item in enumerate(value)]
        if not isinstance(value, Mapping):
            return value
        if not isinstance(value.get("class_path"), str):
            return {key: self.resolved(item, (*path, key), ()) for key, item in value.items()}
        name = value["class_path"]
        full = name if "." in name else self._full_path(name, (*path, "class_path"), bases)
        kinds = _argument_kinds(full)
        parts = {
            holder: {
                key: self.resolved(item, (*path, holder, key), kinds.get(key, ())) for key, item in arguments.items()
            }
            for holder in ("init_args", "dict_kwargs")
            if isinstance(arguments := value.get(holder), Mapping)
        }
        return {**value, "class_path": full, **parts}

    def _full_path(self, name: str, path: tuple[Any, ...], bases: tuple[type, ...]) -> str:
        own = {id(found): found for module in self._modules if (found := getattr(module, name, None)) is not None}
        found = [each for each in own.values() if callable(each) and _is_kind(each, bases)]
        found = found or [each for each in _library_classes(name) if _is_kind(each, bases)]
        paths = sorted({_public_path(each, name) for each in found})
        if len(paths) == 1:
            return paths[0]
        if paths:
            message, hint = f"{name} may mean {' or '.join(paths)}", "write one of these"
        else:
            kinds = " or ".join(base.__name__ for base in bases) or "class"
            near = get_close_matches(name, list(self._names(bases)), n=1)
            message = f"no {kinds} is named {name} in Lightning, torch.optim or the modules that this file names"
            hint = f"did you mean {near[0]}?" if near else f"write its import path: my_package.my_module.{name}"
        self.problems.append(Problem(message, hint, path, **self._spec.locate(path)))
        return name

    def _names(self, bases: tuple[type, ...]) -> Iterator[str]:
        for module in (*self._modules, *map(importlib.import_module, _LIBRARIES[:8])):
            yield from (name for name, each in vars(module).items() if isinstance(each, type) and _is_kind(each, bases))


def _library_classes(name: str) -> list[Any]:
    found = {}
    for library in _LIBRARIES:
        try:
            each = getattr(importlib.import_module(library), name, None)
        except ImportError:
            continue
        if isinstance(each, type):
            found[id(each)] = each
    plateau = [each for each in found.values() if each.__module__ == "lightning.pytorch.cli"]
    return plateau or list(found.values())  # LightningCLI prefers its own ReduceLROnPlateau


def _public_path(target: Any, name: str) -> str:
    """Return the shortest public import path of a class: of its library, else where it is defined."""
    for library in _LIBRARIES:
        if target.__module__.startswith(library.split(".")[0]) and (
            getattr(importlib.import_module(library), name, None) is target
        ):
            return f"{library}.{name}"
    return f"{target.__module__}.{target.__qualname__}"


def _is_kind(target: Any, bases: tuple[type, ...]) -> bool:
    if not isinstance(target, type):
        return inspect.isroutine(target)
    return not bases or issubclass(target, bases) or any(base.__module__ == "builtins" for base in bases)


def _component_bases(annotation: Any) -> tuple[type, ...]:
    own, items = annotation, argument_types.element(annotation)
    return tuple(dict.fromkeys([*argument_types.component_classes(own), *argument_types.component_classes(items)]))


def _argument_kinds(path: str) -> dict[str, tuple[type, ...]]:
    """Return for each argument of a class what objects it takes; empty if it cannot be imported."""
    if "." not in path:
        return {}
    try:
        arguments = signature(import_object(path)).arguments
    except (UsageError, TypeError):
        return {}
    return {name: _component_bases(argument.annotation) for name, argument in arguments.items()}


def _named_modules(sections: list[Any]) -> Iterator[ModuleType]:
    """Yield the modules of the classes that the file names by their paths, the user's own first."""
    names: dict[str, None] = {}
    for value in sections:
        for path in _dotted(value):
            names[path.rpartition(".")[0]] = None
    for name in names:
        try:
            refuse_run_data(f"{name}._")
            module: Any = import_object(name) if "." in name else importlib.import_module(name)
        except (UsageError, ImportError, Exception):  # the check that follows explains it
            continue
        if isinstance(module, ModuleType):
            yield module


def _dotted(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key in _PATHS and isinstance(item, str) and "." in item:
                yield item
            yield from _dotted(item)
    elif isinstance(value, list):
        for item in value:
            yield from _dotted(item)
