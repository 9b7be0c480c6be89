"""The sweep file's ``notify`` section: where a sweep's end is reported."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import Field, model_validator

from orchestrator import registry
from orchestrator.spec.plugin_section import PluginSection

Occasion = Literal["finished", "failed", "paused", "new_best"]
OCCASIONS: tuple[Occasion, ...] = get_args(Occasion)


class Notification(PluginSection):
    """One target: a webhook, a command of this machine, or a notifier of an installed package."""

    kind = "notifiers"

    on: list[Occasion] = Field(
        default=["finished", "failed", "paused"],
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
