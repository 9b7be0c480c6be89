"""Import the classes that a sweep file names, check their arguments, and build objects of them."""

from __future__ import annotations

from orchestrator.training.class_loading.argument_checks import check
from orchestrator.training.class_loading.import_paths import import_class, import_roots
from orchestrator.training.class_loading.instantiation import (
    build,
    build_data,
    component_kinds,
    constructor_errors,
    require_kind,
)

__all__ = [
    "build",
    "build_data",
    "check",
    "component_kinds",
    "constructor_errors",
    "import_class",
    "import_roots",
    "require_kind",
]
