"""How the processes of a trial find each other: on one host through a file that only their user can open.

PyTorch's own way, a TCPStore, listens on every interface and asks for nothing. A stranger who writes his address to it
becomes a rank, and what ranks send each other is unpickled.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import torch.distributed as dist

_FILE = "SWEEP_RENDEZVOUS_FILE"
_INTERFACES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
_LOOPBACK = ("lo", "lo0")  # of Linux, of macOS

_Handler = Callable[..., Iterator[tuple[Any, int, int]]]


def one_host_environment(folder: str) -> dict[str, str]:
    """Return the variables for processes of one host: a file in a folder of their user, and the loopback interface.

    An interface that the user has named stays.
    """
    loopback = next((name for _, name in socket.if_nameindex() if name in _LOOPBACK), "")
    interfaces = {name: os.environ.get(name, loopback) for name in _INTERFACES}
    return {_FILE: os.path.join(folder, "store"), **{k: v for k, v in interfaces.items() if v}}  # noqa: PTH118


@contextlib.contextmanager
def by_file() -> Iterator[None]:
    """Let ``env://``, which Lightning's strategies use, meet in the file that the environment names, if any."""
    path, handlers = os.environ.get(_FILE), _handlers()
    if not path or not dist.is_available() or "env" not in handlers:
        yield
        return
    before = handlers["env"]
    handlers["env"] = _meet_in(path)
    try:
        yield
    finally:
        handlers["env"] = before


def _meet_in(path: str) -> _Handler:
    count = itertools.count()  # a file serves one group; every rank creates its groups in the same order

    def meet(url: str, timeout: timedelta | None = None, **kwargs: Any) -> Iterator[tuple[Any, int, int]]:
        rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        store = dist.FileStore(f"{path}-{next(count)}", world_size)  # type: ignore[attr-defined]
        if timeout is not None:
            store.set_timeout(timeout)
        yield store, rank, world_size
        raise RuntimeError("the processes of a trial cannot meet again; the trial resumes from its last checkpoint")

    return meet


def _handlers() -> dict[str, _Handler]:
    """Return PyTorch's table of rendezvous handlers; its public function adds to it but replaces nothing."""
    module = sys.modules.get("torch.distributed.rendezvous")
    return getattr(module, "_rendezvous_handlers", {})
