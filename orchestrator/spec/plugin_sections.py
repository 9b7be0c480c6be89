"""The sweep file's sections whose keys are plug-ins: ``tracking``, and each item of ``notify``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar, Literal, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    create_model,
    model_validator,
)

from orchestrator import registry
from orchestrator.spec.parts import Part


class PluginSection(Part):
    """Fields of the section itself, and options by plug-in name, checked by the plug-in's class.

    Only the classes of the plug-ins named are imported. A plug-in without required options may be ``true``; ``false``
    and null are the same as leaving it out.
    """

    model_config = ConfigDict(extra="allow")
    kind: ClassVar[str]

    @property
    def plugins(self) -> dict[str, Any]:
        """The validated options of each plug-in, by its name."""
        return dict(self.__pydantic_extra__ or {})

    @classmethod
    def known_keys(cls) -> list[str]:
        """Return the keys that the section accepts."""
        return [*registry.names(cls.kind), *cls.model_fields]

    @classmethod
    def options_of(cls, name: str) -> Any:
        """Return the type of a plug-in's options; None if there is no such plug-in."""
        return registry.load(cls.kind, name).Options if name in registry.names(cls.kind) else None

    @classmethod
    def examples_of(cls, name: str) -> list[Any]:
        """Return examples of what may stand under a plug-in's name, for hints."""
        plugin = registry.load(cls.kind, name) if name in registry.names(cls.kind) else None
        return list(getattr(plugin, "examples", ()))

    @model_validator(mode="wrap")
    @classmethod
    def _validate_options(cls, value: Any, handler: Any) -> Any:
        if not isinstance(value, Mapping):
            return handler(value)
        fields = {key: item for key, item in value.items() if key in cls.model_fields}
        options = {
            key: {} if item is True else item
            for key, item in value.items()
            if key not in cls.model_fields and item is not None and item is not False
        }
        names = set(registry.names(cls.kind))
        checked = _checker(cls, tuple(name for name in options if name in names)).model_validate(options)
        return handler(fields | {name: getattr(checked, name) for name in options})


@cache
def _checker(section: type[PluginSection], names: tuple[str, ...]) -> type[BaseModel]:
    fields: dict[str, Any] = {name: (registry.load(section.kind, name).Options, ...) for name in names}
    return create_model(section.__name__, __config__=ConfigDict(extra="forbid", strict=True), **fields)


class Tracking(PluginSection):
    """Trackers that receive metrics. A tracker that is slow, broken or unreachable never delays a trial."""

    kind = "trackers"

    @property
    def enabled(self) -> dict[str, dict[str, Any]]:
        """The options of each tracker, by its name, as JSON-like values."""
        return {name: options.model_dump() for name, options in self.plugins.items()}


Occasion = Literal["finished", "failed", "paused", "new_best", "stuck", "many_failures", "disk", "behind_plan", "daily"]
OCCASIONS: tuple[Occasion, ...] = get_args(Occasion)


class Notification(PluginSection):
    """One target: a webhook, a command of this machine, or a notifier of an installed package."""

    kind = "notifiers"

    on: list[Occasion] = Field(
        default=["finished", "failed", "paused", "stuck", "many_failures", "disk", "behind_plan"],
        description="The occasions that are reported.",
        examples=[["finished", "failed", "paused", "new_best"]],
    )

    @model_validator(mode="after")
    def _one_target(self) -> Notification:
        if len(self.plugins) != 1:
            raise ValueError(f"specify one target: {' or '.join(registry.names(self.kind))}")
        if not self.on:
            raise ValueError("`on` is empty: specify at least one occasion")
        return self

    @property
    def notifier(self) -> str:
        """The name of the notifier."""
        return next(iter(self.plugins))

    @property
    def options(self) -> Any:
        """The validated value under the notifier's name."""
        return self.plugins[self.notifier]
