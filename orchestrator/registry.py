"""Find plug-ins by kind and name: those built in and those that installed packages declare as entry points.

A plug-in is one class in one file, with a class attribute ``name``. Its kind is a key of `KINDS`.

Built-in plug-in: add ``<folder of the kind>/<name>.py`` (say ``orchestrator/policies/schedulers/asha.py``) that defines
one subclass of the kind's base class with ``name = "asha"``. No other edit: the folder is listed, not imported. A
module that is not a plug-in belongs elsewhere, or its name begins with an underscore.

Third-party plug-in: the package declares an entry point under the kind's name and names the class::

    [project.entry-points."sweep_orchestrator.schedulers"]
    threshold = "sweep_threshold:ThresholdScheduler"

Using it: ``registry.names("schedulers")`` lists the names and imports nothing, ``registry.load("schedulers", "asha")``
imports the named plug-in alone and returns its class, ``registry.load_all("schedulers", warn)`` skips those that do not
load and passes ``warn`` one sentence for each. A class with ``offered = False`` is left out of that and of every hint,
and loads by its name alone: files and journals may name it. Wrap `load` where the class is used, so that the type is
known::

    def scheduler_class(name: str) -> type[Scheduler]:
        return cast(type[Scheduler], registry.load("schedulers", name))

A plug-in is refused, and only if it is named, where its import fails, where the object is not a class derived from the
kind's base class, where it lacks ``name`` or an attribute that the kind requires or its ``name`` is another, and where
two plug-ins of a kind share a name. Import heavy libraries inside methods: a spec is parsed before a plug-in is used.

To add a kind, add a row to `KINDS`. Every error is a UsageError that names the package, the entry point and the cause.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from pathlib import Path
from typing import Any, cast

from orchestrator.errors import UsageError, describe

_PACKAGE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Kind:
    """Where plug-ins of a kind are, and what they must be.

    Attributes:
        noun: one of them, for messages.
        package: the package whose modules are the built-in ones.
        base: the base class, as ``module:Class``; it is imported when a plug-in is loaded.
        required: class attributes beyond ``name``.
    """

    noun: str
    package: str
    base: str
    required: tuple[str, ...] = ()


KINDS: dict[str, Kind] = {
    "searchers": Kind(
        "searcher", "orchestrator.policies.searchers", "orchestrator.policies.searcher:Searcher", ("Options",)
    ),
    "schedulers": Kind(
        "scheduler", "orchestrator.policies.schedulers", "orchestrator.policies.scheduler:Scheduler", ("Options",)
    ),
    "trackers": Kind("tracker", "orchestrator.tracking.trackers", "orchestrator.tracking.tracker:Tracker"),
    "notifiers": Kind("notifier", "orchestrator.notify.notifiers", "orchestrator.notify.target:Target"),
    "cluster_providers": Kind(
        "cluster provider", "orchestrator.cluster.providers", "orchestrator.cluster.provider:Provider"
    ),
    "manifests": Kind("manifest", "orchestrator.cluster.manifests", "orchestrator.cluster.manifest:Manifest"),
    "export_formats": Kind("export format", "orchestrator.export.formats", "orchestrator.export.format:Format"),
}


def group(kind: str) -> str:
    """Return the entry-point group of a kind, such as ``sweep_orchestrator.schedulers``."""
    return f"sweep_orchestrator.{kind}"


def names(kind: str, *, installed: bool = True) -> list[str]:
    """Return the names of a kind's plug-ins, sorted, without importing any.

    Args:
        kind: a key of `KINDS`.
        installed: include the plug-ins of installed packages.
    """
    declared = {point.name for point in _declared(kind)} if installed else set()
    return sorted(_built_in(kind) | declared)


def load(kind: str, name: str) -> type[Any]:
    """Import one plug-in and return its class.

    Raises:
        UsageError: there is no plug-in of that name, two share it, or it cannot be used.
    """
    points = [point for point in _declared(kind) if point.name == name]
    built_in = name in _built_in(kind)
    if not points and not built_in:
        raise UsageError(f"there is no {KINDS[kind].noun} {name!r}", hint=nearest(kind, name))
    if len(points) + built_in > 1:
        owners = (["sweep-orchestrator"] if built_in else []) + [_owner(point) for point in points]
        raise UsageError(
            f"{KINDS[kind].noun} {name!r} is provided more than once: by {' and by '.join(owners)}",
            hint=f"uninstall {_distribution(points[-1])}, or rename its plug-in",
        )
    if built_in:
        return _only_class(kind, name)
    return _from_entry_point(kind, points[0])


def load_all(kind: str, warn: Callable[[str], object], *, installed: bool = True) -> dict[str, type[Any]]:
    """Load every plug-in of a kind that is offered, by name. Skip each that cannot be used, with a call of ``warn``."""
    classes: dict[str, type[Any]] = {}
    for name in names(kind, installed=installed):
        try:
            plugin = load(kind, name) if installed else _only_class(kind, name)
        except UsageError as error:
            warn(f"skipped: {error.message}")
        else:
            if getattr(plugin, "offered", True):
                classes[name] = plugin
    return classes


def offered(kind: str) -> list[str]:
    """Return the names of a kind's plug-ins that can be used and are offered, sorted. Imports all of them."""
    return list(load_all(kind, lambda sentence: None))


def nearest(kind: str, name: str) -> str:
    """Return a hint for a name that no plug-in has: the nearest one, or all."""
    available = offered(kind)
    close = get_close_matches(name, available, n=1)
    return f"did you mean {close[0]}?" if close else f"available: {', '.join(available) or 'none'}"


def _built_in(kind: str) -> frozenset[str]:
    return _modules(KINDS[kind].package)


@cache
def _modules(package: str) -> frozenset[str]:
    folder = _PACKAGE.joinpath(*package.split(".")[1:])
    return frozenset(module.name for module in pkgutil.iter_modules([str(folder)]) if not module.name.startswith("_"))


def _declared(kind: str) -> tuple[EntryPoint, ...]:
    return _selected(tuple(sys.path), group(kind))


@cache
def _selected(path: tuple[str, ...], group: str) -> tuple[EntryPoint, ...]:
    return tuple(_installed(path).select(group=group))  # a search of all entry points


@cache
def _installed(path: tuple[str, ...]) -> EntryPoints:
    """Return all entry points of installed packages; ``path`` is what they were searched on."""
    return cast(EntryPoints, entry_points())


@cache
def _only_class(kind: str, name: str) -> type[Any]:
    """Return the class of a built-in plug-in: the one of its module that has the plug-in's name."""
    module = importlib.import_module(f"{KINDS[kind].package}.{name}")
    classes = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and value.__module__ == module.__name__ and value.__dict__.get("name") == name
        if issubclass(value, _base(kind))
    ]
    if len(classes) != 1:
        raise TypeError(f"{module.__name__} must define one {KINDS[kind].noun} with name = {name!r}")
    return classes[0]


def _from_entry_point(kind: str, point: EntryPoint) -> type[Any]:
    try:
        plugin: type[Any] = point.load()
    except (Exception, SystemExit) as error:  # whatever a foreign module raises while it is imported
        raise _unusable(kind, point, describe(error)) from error
    if defect := _defect(kind, point.name, plugin):
        raise _unusable(kind, point, defect)
    return plugin


def _defect(kind: str, name: str, plugin: Any) -> str:
    """Return why the object is no plug-in of that kind and name; empty if it is one."""
    if not isinstance(plugin, type) or not issubclass(plugin, _base(kind)):
        return f"it must be a subclass of {KINDS[kind].base.replace(':', '.')}"
    attributes = {attribute: getattr(plugin, attribute, None) for attribute in ("name", *KINDS[kind].required)}
    missing = [attribute for attribute, value in attributes.items() if value is None]
    if missing:
        return f"the class has no attribute {missing[0]!r}"
    if attributes["name"] != name:
        return f"the class's name is {attributes['name']!r}, the entry point's is {name!r}"
    undefined = sorted(getattr(plugin, "__abstractmethods__", ()))
    return f"the class does not define {', '.join(undefined)}" if undefined else ""


def _base(kind: str) -> type[Any]:
    base: type[Any] = pkgutil.resolve_name(KINDS[kind].base)
    return base


def _unusable(kind: str, point: EntryPoint, cause: str) -> UsageError:
    return UsageError(
        f"{KINDS[kind].noun} {point.name!r} of {_owner(point)} cannot be used: {cause}",
        hint=f"update or uninstall {_distribution(point)}, or use another {KINDS[kind].noun}",
    )


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist else "an unknown package"


def _owner(point: EntryPoint) -> str:
    version = f" {point.dist.version}" if point.dist else ""
    return f"package {_distribution(point)}{version} (entry point {point.group}: {point.name} = {point.value})"
