"""A module that tells what it should not: its error and its metrics' names hold a key of the environment."""

from __future__ import annotations

import os
from typing import Any

from tests.support.tiny import Tiny


class Secretive(Tiny):
    """Raises with the value of ``$SERVICE_TOKEN`` in the message, a cause that holds it and a URL with a password."""

    def training_step(self, batch: Any, index: int) -> Any:
        token = os.environ["SERVICE_TOKEN"]
        try:
            raise KeyError(token)
        except KeyError as error:
            raise RuntimeError(f"401 for token {token} at https://user:pass-of-user@host/x") from error
