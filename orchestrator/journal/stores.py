"""Where a journal is kept, and the store for that place."""

from __future__ import annotations

from pathlib import Path

from orchestrator.journal.file_store import FileStore
from orchestrator.journal.object_store import ObjectStore
from orchestrator.journal.store import Store
from orchestrator.object_storage import objects

__all__ = ["FileStore", "ObjectStore", "Place", "Store", "store_at"]

Place = Path | str
"""Where a journal is: a file, or the URL of a folder in object storage."""


def store_at(place: Place) -> Store:
    """Return the store of the journal at that place."""
    return FileStore(place) if isinstance(place, Path) else ObjectStore(objects(place))
