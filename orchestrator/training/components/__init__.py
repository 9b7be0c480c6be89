"""The classes that a sweep file names: imported, their arguments checked, and objects built of them."""

from __future__ import annotations

from orchestrator.training.components.building import build, refusing
from orchestrator.training.components.checking import check
from orchestrator.training.components.importing import import_class, import_roots

__all__ = ["build", "check", "import_class", "import_roots", "refusing"]
