"""Import the classes that a sweep file names, check their arguments, and build objects of them."""

from __future__ import annotations

from orchestrator.training.class_loading.argument_checks import check, never_logged
from orchestrator.training.class_loading.import_paths import import_class, import_object, import_roots
from orchestrator.training.class_loading.instantiation import (
    build,
    build_data,
    build_parts,
    build_value,
    component_kinds,
    constructor_errors,
    import_target,
    require_kind,
)
from orchestrator.training.class_loading.short_names import with_full_paths

__all__ = [
    "build",
    "build_data",
    "build_parts",
    "build_value",
    "check",
    "component_kinds",
    "constructor_errors",
    "import_class",
    "import_object",
    "import_roots",
    "import_target",
    "never_logged",
    "require_kind",
    "with_full_paths",
]
