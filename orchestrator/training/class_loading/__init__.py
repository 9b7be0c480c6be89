"""The classes that a sweep file names: imported, their arguments checked, and objects built of them."""

from __future__ import annotations

from orchestrator.training.class_loading.argument_checks import check
from orchestrator.training.class_loading.building_objects import build, refusing
from orchestrator.training.class_loading.import_paths import import_class, import_roots

__all__ = ["build", "check", "import_class", "import_roots", "refusing"]
