"""Save and restore the state of every random number generator that training draws from."""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities.combined_loader import CombinedLoader

CPUState = tuple[bytes, bytes, float | None, bytes, int, int, float]
"""The state of torch's, Python's and NumPy's generators: bytes and numbers that compare fast."""


def random_state(generators: Iterable[torch.Generator] = ()) -> dict[str, Any]:
    """Return the state of Python's, NumPy's, torch's and CUDA's generators, and of ``generators``, as plain values."""
    state: dict[str, Any] = {"cpu": cpu_state(), "generators": [generator.get_state() for generator in generators]}
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def set_random_state(state: dict[str, Any], generators: Iterable[torch.Generator] = ()) -> None:
    """Restore what `random_state` returned. On another number of CUDA devices theirs is left as it is."""
    set_cpu_state(state["cpu"])
    for generator, saved in zip(generators, state["generators"], strict=False):
        generator.set_state(saved)
    if "cuda" in state and torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def cpu_state() -> CPUState:
    """Return the state of torch's, Python's and NumPy's generators."""
    _, python, gauss = random.getstate()
    numpy: Any = np.random.get_state(legacy=False)
    mt = numpy["state"]
    return (
        torch.get_rng_state().numpy().tobytes(),
        array("Q", python).tobytes(),
        gauss,
        mt["key"].tobytes(),
        int(mt["pos"]),
        int(numpy["has_gauss"]),
        float(numpy["gauss"]),
    )


def set_cpu_state(state: CPUState) -> None:
    """Restore what `cpu_state` returned."""
    of_torch, python, gauss, keys, position, has_gauss, cached = state
    torch.set_rng_state(torch.frombuffer(bytearray(of_torch), dtype=torch.uint8))
    random.setstate((3, tuple(array("Q", python)), gauss))
    np.random.set_state(("MT19937", np.frombuffer(keys, dtype=np.uint32), position, has_gauss, cached))


def loader_generators(loaders: Any) -> Iterator[torch.Generator]:
    """Yield the generators of training loaders and their samplers, each once, in the loaders' order."""
    seen: set[int] = set()
    for loader in CombinedLoader(loaders).flattened if loaders is not None else ():
        batch_sampler = getattr(loader, "batch_sampler", None)
        owners = (loader, getattr(loader, "sampler", None), batch_sampler, getattr(batch_sampler, "sampler", None))
        for owner in owners:
            generator = getattr(owner, "generator", None)
            if isinstance(generator, torch.Generator) and id(generator) not in seen:
                seen.add(id(generator))
                yield generator
