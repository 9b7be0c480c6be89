"""Let the processes of a DataLoader tell their random state with each batch, and start from a given one.

A random crop in a loader's process draws from that process's generators. To continue in the middle of an epoch, a new
process has to draw what the old one would have drawn next. So the last call in such a process, the loader's
``collate_fn``, adds the state to the batch if it has changed; the draws themselves are those of a plain loader.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.utils.data import DataLoader, get_worker_info

from orchestrator.training.random_state import CPUState, cpu_state, set_cpu_state

_MARK = "orchestrator.batch"
Batch = tuple[Any, int | None, CPUState | None]
"""A batch, the number of the process that made it, and that process's random state if it has changed."""


class TellingCollate:
    """Collates, and adds the process's number and random state. In the main process it only collates.

    Args:
        collate: the loader's own function.
    """

    def __init__(self, collate: Callable[[Any], Any]) -> None:
        self.collate = collate
        self.states: dict[int, CPUState] = {}  # for each process: where it continues
        self.unused = 0  # so many processes first make a batch that nobody uses
        self.is_empty = False  # whether that batch has no samples
        self._last: CPUState | None = None
        self._begun = False

    def __call__(self, samples: Any) -> Any:
        """Return the batch; in a loader's process with its number and its random state."""
        worker = get_worker_info()
        if worker is None:
            return self.collate(samples)
        begun, self._begun = self._begun, True
        if not begun and worker.id < self.unused and not (self.is_empty and len(samples)):
            self.start(worker.id)
            return (_MARK, worker.id, None, None)
        data = self.collate(samples)
        state = cpu_state()
        changed, self._last = state != self._last, state
        return (_MARK, worker.id, data, state if changed else None)

    def start(self, worker: int) -> None:
        """Set the random state of the process that was told."""
        if worker in self.states:
            set_cpu_state(self.states[worker])


class ToldStart:
    """A loader's ``worker_init_fn``: calls the user's, then sets the random state that the process continues from."""

    def __init__(self, collate: TellingCollate, first: Callable[[int], None] | None) -> None:
        self._collate, self._first = collate, first

    def __call__(self, worker: int) -> None:
        """Initialize a process."""
        if self._first is not None:
            self._first(worker)
        self._collate.start(worker)


def tell_random_state(loader: DataLoader[Any]) -> TellingCollate:
    """Make the loader's processes tell their random state; return what each further process starts from."""
    if isinstance(loader.collate_fn, TellingCollate):  # train_dataloader() returned the same loader again
        return loader.collate_fn
    collate = TellingCollate(loader.collate_fn)
    loader.collate_fn = collate
    loader.worker_init_fn = ToldStart(collate, loader.worker_init_fn)
    return collate


def opened(batch: Any) -> Batch:
    """Return the batch that a loader yields, with what its process told."""
    if isinstance(batch, tuple | list) and len(batch) == 4 and isinstance(batch[0], str) and batch[0] == _MARK:
        return batch[2], batch[1], batch[3]
    return batch, None, None
