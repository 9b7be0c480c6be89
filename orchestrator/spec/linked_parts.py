"""A trial's model and data with all that building them takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from orchestrator.spec.interpolation import needs
from orchestrator.spec.parts import ClassSpec


class LinkedData(ClassSpec):
    """Data, and the objects that its arguments refer to."""

    objects: dict[str, ClassSpec] = Field(default_factory=dict, description="Objects by their names.", examples=[{}])


class TrainedModel(LinkedData):
    """A module with its optimizer and scheduler, and the data and the objects that its arguments refer to."""

    optimizer: ClassSpec | None = Field(default=None, description="The optimizer.", examples=[None])
    lr_scheduler: ClassSpec | None = Field(default=None, description="The scheduler.", examples=[None])
    data: LinkedData | None = Field(default=None, description="The data.", examples=[None])


def with_parts(sections: Mapping[str, Any]) -> tuple[ClassSpec, ClassSpec | None]:
    """Return model and data of resolved sections; each holds only the parts that it needs."""
    objects, data = sections["objects"], sections["data"]
    linked = data and {**data, **_objects(data, objects)}
    own = {name: sections[name] for name in ("optimizer", "lr_scheduler") if sections[name]}
    wanted = needs([sections["model"], own])
    own |= {"data": linked} if "data" in wanted and data else {}
    own |= _objects([sections["model"], own], objects)
    model = {**sections["model"], **own}
    return (
        (TrainedModel if own else ClassSpec).model_validate(model),
        (LinkedData if "objects" in (linked or {}) else ClassSpec).model_validate(linked) if linked else None,
    )


def _objects(part: Any, objects: Mapping[str, Any]) -> dict[str, Any]:
    return {"objects": dict(objects)} if objects and "objects" in needs(part) else {}
