"""Notifications: who receives which of a sweep's occasions."""

from __future__ import annotations

import re
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from orchestrator.secrets import register_variable
from orchestrator.spec.parts import Part

Occasion = Literal["finished", "failed", "paused", "new_best"]
OCCASIONS: tuple[Occasion, ...] = get_args(Occasion)
_VARIABLE = re.compile(r"\$[A-Za-z_][A-Za-z0-9_]*")


def _variable(value: str) -> str:
    """Return the variable. The error does not quote the value, which may be a secret address."""
    if not _VARIABLE.fullmatch(value):
        raise ValueError(
            "the address is a secret, which the journal would keep: put it into an environment variable, "
            "and write the variable's name"
        )
    register_variable(value[1:])
    return value


Variable = Annotated[
    str, AfterValidator(_variable), WithJsonSchema({"type": "string", "pattern": f"^{_VARIABLE.pattern}$"})
]


class Notification(Part):
    """One receiver: a webhook, or a command of this machine."""

    webhook: Variable | None = Field(
        default=None,
        description='Environment variable that holds the address of an incoming webhook; it gets {"text": …}.',
        examples=["$SLACK_WEBHOOK"],
    )
    command: list[str] | None = Field(
        default=None,
        min_length=1,
        description="Program and arguments, run as they stand and without a shell. The text is on its standard input, "
        "and all there is to say in environment variables SWEEP_….",
        examples=[["mail", "-s", "sweep", "me@example.com"]],
    )
    on: list[Occasion] = Field(
        default=["finished", "failed", "paused"],
        description="Of what it is told.",
        examples=[["finished", "failed", "paused", "new_best"]],
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Notification:
        if (self.webhook is None) == (self.command is None):
            raise ValueError("specify either a webhook or a command")
        if not self.on:
            raise ValueError(f"of what is {self.title} to be told? `on` is empty")
        return self

    @property
    def title(self) -> str:
        """A name for messages that holds no secret."""
        return self.webhook or (self.command or [""])[0]
