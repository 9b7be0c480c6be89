"""Join the batches of several hosts, so that every host runs the same XLA step for any share of the data.

Under SPMD all hosts run one program, whose shapes are those of the global batch. A share that ends in a smaller batch,
or one batch earlier than another host's, would make the other hosts wait for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch.distributed as dist
from torch import Tensor, cat
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map_only, tree_unflatten

_END = object()


class GlobalBatches:
    """A loader that yields the same number of batches on all hosts, with all rows of the hosts' loaders.

    If all hosts have the same number of rows, and it is a multiple of their devices, each batch is this host's rows,
    placed by ``shard``. Otherwise, at the end of an epoch, every host gets all rows, host after host, by ``replicate``.

    Args:
        loader: this host's loader.
        devices: the number of this host's devices.
        shard: puts this host's rows of a tensor on its devices.
        replicate: puts the same rows on every device.
    """

    def __init__(
        self, loader: Any, *, devices: int, shard: Callable[[Tensor], Tensor], replicate: Callable[[Tensor], Tensor]
    ) -> None:
        self._loader, self._devices, self._shard, self._replicate = loader, devices, shard, replicate
        self._length: int | None = None
        if hasattr(loader, "__len__"):
            self._length = max(_gather(len(loader)))

    def __len__(self) -> int:
        if self._length is None:
            raise TypeError(f"{type(self._loader).__name__} has no length")
        return self._length

    def __getattr__(self, name: str) -> Any:
        """Return the loader's attribute: Lightning reads dataset, sampler and batch_size."""
        return getattr(self.__dict__["_loader"], name)

    def __iter__(self) -> Iterator[Any]:
        batches = iter(self._loader)
        while True:
            batch = next(batches, _END)
            counts = _gather(_row_count(batch))
            if not any(counts):
                return
            if len(set(counts)) == 1 and counts[0] % self._devices == 0:
                yield tree_map_only(Tensor, self._shard, batch)
            else:
                gathered = _gather(None if batch is _END else batch)
                shares = [share for share, count in zip(gathered, counts, strict=True) if count]
                yield tree_map_only(Tensor, self._replicate, _concatenate(shares))


def _gather(value: Any) -> list[Any]:
    """Return the value of each host, by rank."""
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def _row_count(batch: Any) -> int:
    """Return the rows of a batch's first tensor that has a dimension; 0 at the end."""
    if batch is _END:
        return 0
    return next((len(leaf) for leaf in tree_leaves(batch) if isinstance(leaf, Tensor) and leaf.dim()), 1)


def _concatenate(shares: list[Any]) -> Any:
    """Concatenate the shares' rows; values without rows are those of the first share."""
    leaves = [tree_flatten(share)[0] for share in shares]
    structure = tree_flatten(shares[0])[1]
    concatenated = [
        cat(list(values)) if isinstance(values[0], Tensor) and values[0].dim() else values[0]
        for values in zip(*leaves, strict=True)
    ]
    return tree_unflatten(concatenated, structure)
