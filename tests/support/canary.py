"""A module that prints, logs and raises every secret around it: those listed in the file ``$CANARIES``."""

from __future__ import annotations

import base64
import json
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Any

from tests.support.tiny import Tiny


def encoded(value: str) -> list[str]:
    """A secret in base64 with a user before it, in hex, and cut; not of an address, whose start is none."""
    content = value.encode()
    cut = [] if "://" in value else [f"{value[:12]}...", f"...{value[-10:]}"]
    return [base64.b64encode(b"user:" + content).decode(), content.hex(), *cut]


class Canary(Tiny):
    """Trains as ``Tiny`` if ``sings`` is ``softly``; else raises with every secret in the message and in a cause."""

    def __init__(self, learning_rate: float = 0.1, sings: str = "") -> None:
        super().__init__(learning_rate)
        self.sings = sings

    def on_train_start(self) -> None:
        for value in json.loads(Path(os.environ["CANARIES"]).read_text()).values():
            print(f"printed {value}")
            print(f"printed to stderr {value}", file=sys.stderr)
            logging.getLogger("canary").error("logged %s", value)
            warnings.warn(f"warned {value}", RuntimeWarning, stacklevel=1)
            for form in encoded(value):
                print(f"encoded {form}")
                logging.getLogger("canary").error("encoded %s", form)

    def training_step(self, batch: Any, index: int) -> Any:
        if self.sings != "softly":
            values = json.loads(Path(os.environ["CANARIES"]).read_text())
            try:
                raise KeyError(values)
            except KeyError as error:
                forms = [form for value in values.values() for form in encoded(value)]
                raise RuntimeError(f"sang {self.sings}: {' '.join([*values.values(), *forms])}") from error
        return super().training_step(batch, index)
