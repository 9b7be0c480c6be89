"""Batches of several hosts that XLA takes for one: the same step on every host, whatever each host's share of the data.

Under SPMD all hosts run one program, whose shapes are those of the whole batch. A share that ends in a smaller batch,
or one batch earlier than another host's, would leave the others waiting for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch.distributed as dist
from torch import Tensor, cat
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map_only, tree_unflatten

_NOTHING = object()


class Together:
    """A loader whose batches come in step on all hosts. All rows come, each as often as the hosts' loaders give it.

    Where each host has as many rows, and they divide by its devices, a batch is this host's ``part`` of the whole.
    Where not, which is at the end of an epoch, every host gets the ``whole`` of it: all rows, host after host.

    Args:
        loader: this host's.
        pieces: devices of this host.
        part, whole: put such a tensor on the devices.
    """

    def __init__(
        self, loader: Any, *, pieces: int, part: Callable[[Tensor], Tensor], whole: Callable[[Tensor], Tensor]
    ) -> None:
        self._loader, self._pieces, self._part, self._whole = loader, pieces, part, whole
        self._length: int | None = None
        if hasattr(loader, "__len__"):
            self._length = max(_told(len(loader)))

    def __len__(self) -> int:
        if self._length is None:
            raise TypeError(f"{type(self._loader).__name__} has no length")
        return self._length

    def __getattr__(self, name: str) -> Any:
        """What Lightning looks for: dataset, sampler, batch_size."""
        return getattr(self.__dict__["_loader"], name)

    def __iter__(self) -> Iterator[Any]:
        batches = iter(self._loader)
        while True:
            batch = next(batches, _NOTHING)
            counts = _told(_rows(batch))
            if not any(counts):
                return
            if len(set(counts)) == 1 and counts[0] % self._pieces == 0:
                yield tree_map_only(Tensor, self._part, batch)
            else:
                shares = [share for share, count in zip(_told(_plain(batch)), counts, strict=True) if count]
                yield tree_map_only(Tensor, self._whole, _joined(shares))


def _told(value: Any) -> list[Any]:
    """What each host says, by rank."""
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, value)
    return found


def _plain(batch: Any) -> Any:
    return None if batch is _NOTHING else batch


def _rows(batch: Any) -> int:
    """Rows of a batch, by its first tensor that has any; 0 where there is no batch."""
    if batch is _NOTHING:
        return 0
    return next((len(leaf) for leaf in tree_leaves(batch) if isinstance(leaf, Tensor) and leaf.dim()), 1)


def _joined(shares: list[Any]) -> Any:
    """The rows of all, in their order; what is no tensor, or has no rows, is the first one's."""
    leaves = [tree_flatten(share)[0] for share in shares]
    structure = tree_flatten(shares[0])[1]
    joined = [
        cat(list(same)) if isinstance(same[0], Tensor) and same[0].dim() else same[0]
        for same in zip(*leaves, strict=True)
    ]
    return tree_unflatten(joined, structure)
