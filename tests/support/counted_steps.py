"""A module that leaves a line for each optimizer step, and may ask its own sweep to stop: how much was repeated?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.tiny import Tiny

STEPS = 64  # of an epoch with one point a batch


class CountedSteps(Tiny):
    """Writes the number of each step to ``log``; at each step of ``stop_at`` it asks the sweep in ``run`` to stop.

    ``trial`` is the trial to be stopped instead, if it is not below 0; ``request`` is another request than a stop.
    """

    def __init__(
        self,
        log: str,
        learning_rate: float = 0.1,
        pause: float = 0.0,
        run: str = "",
        stop_at: tuple[int, ...] = (),
        trial: int = -1,
        request: str = "stop",
    ) -> None:
        super().__init__(learning_rate, pause=pause)
        self.log_file, self.run, self.stop_at = Path(log), run, stop_at
        self.request = request if trial < 0 else f"stop-{trial}"

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        if not self.trainer.is_global_zero:
            return
        with self.log_file.open("a") as file:
            print(self.global_step, file=file)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.global_step in self.stop_at:
            requests = Path(self.run) / "requests"
            requests.mkdir(exist_ok=True)
            (requests / self.request).touch()


def steps(log: Path) -> list[int]:
    """Return the steps that were taken, in order."""
    return [int(line) for line in log.read_text().splitlines()] if log.exists() else []
