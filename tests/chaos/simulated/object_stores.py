"""An object store in memory, in the place of obstore's: strongly consistent, as S3, GCS and Azure are.

A request may fail before it has an effect, or after; it may arrive after its error; and obstore repeats a request whose
answer was lost, so that the answer to a conditional create may be that its own object exists.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from obstore.exceptions import AlreadyExistsError, GenericError

from tests.chaos.simulated.scheduler import World


@dataclass
class SimulatedStore:
    """The objects below one URL: bytes, and when they were written on the store's clock."""

    world: World
    objects: dict[str, tuple[bytes, float]] = field(default_factory=dict)

    def put(self, name: str, content: Any, mode: str = "overwrite") -> None:
        """Write an object; with mode ``create`` only if its name is new. Raises AlreadyExistsError, GenericError."""
        world, data, create = self.world, bytes(content), mode == "create"
        world.call("write")
        if world.chance("failed"):
            raise GenericError("timed out")
        if world.chance("late"):
            world.at(world.now + 30.0 * world.rng.random(), partial(self._put_late, name, data, create))
            raise GenericError("timed out")
        created = self._put(name, data, create)
        if world.chance("lost"):
            if create and world.rng.random() < 0.5:
                raise AlreadyExistsError(name)
            raise GenericError("timed out")
        if not created:
            raise AlreadyExistsError(name)

    def get(self, name: str) -> Content:
        """Return an object. Raises FileNotFoundError, GenericError."""
        self._ask(name)
        return Content(self.objects[name][0])

    def head(self, name: str) -> dict[str, Any]:
        """Return an object's size and time. Raises FileNotFoundError, GenericError."""
        self._ask(name)
        return self._entry(name)

    def list(self, prefix: str | None, offset: str | None) -> list[list[dict[str, Any]]]:
        """Return the objects in a folder and after a name, in pages. Raises GenericError."""
        self._ask("")
        names = sorted(name for name in self.objects if not prefix or name.startswith(f"{prefix}/"))
        entries = [self._entry(name) for name in names if not offset or name > offset]
        return [entries[at : at + 1000] for at in range(0, len(entries), 1000)]

    def delete(self, name: str) -> None:
        """Remove an object, if there is one."""
        self._ask("")
        self.objects.pop(name, None)

    def _ask(self, name: str) -> None:
        self.world.call()
        if self.world.chance("failed"):
            raise GenericError("timed out")
        if name and name not in self.objects:
            raise FileNotFoundError(name)

    def _put_late(self, name: str, data: bytes, create: bool) -> None:
        self._put(name, data, create)

    def _put(self, name: str, data: bytes, create: bool) -> bool:
        if create and name in self.objects:
            return False
        self.objects[name] = data, self.world.now
        return True

    def _entry(self, name: str) -> dict[str, Any]:
        data, when = self.objects[name]
        return {"path": name, "size": len(data), "last_modified": datetime.fromtimestamp(1_700_000_000 + when, UTC)}


@dataclass(frozen=True)
class Content:
    """What obstore's ``get`` returns, as far as it is used."""

    content: bytes

    def bytes(self) -> bytes:
        """Return all of it."""
        return self.content
