"""Resolve ``precision: auto``: the fastest arithmetic that is safe on the device."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from orchestrator.errors import describe

_TYPES = re.compile(r"BFloat16|Half\b|autocast|dtype")
# Tensor cores, without which half precision gains nothing: compute capability 7.0 (Volta).
_FIRST_TENSOR_CORES = (7, 0)


def resolve_precision(
    precision: str | int | None = "auto", accelerator: str = "auto", earlier: str = ""
) -> str | int | None:
    """Return a value for ``Trainer(precision=...)``; anything but ``auto`` is returned unchanged.

    ``auto`` is the first of these that applies:

    * ``earlier``, which the training had on another machine or before it was interrupted, where it is possible:
      ``16-mixed`` needs CUDA;
    * CUDA with bfloat16 in hardware (Ampere and later): ``bf16-mixed``, which has float32's range and needs no scaler;
    * CUDA with tensor cores but without bfloat16 (Volta, Turing): ``16-mixed``;
    * a CPU with bfloat16 multiplication (x86: AMX_BF16 or AVX512_BF16; Arm: BF16): ``bf16-mixed``. On other CPUs
      oneDNN emulates it, which is slower than float32;
    * ``32-true``.

    Source: https://pytorch.org/docs/stable/amp.html (CUDA and CPU op lists) and oneDNN's table of data types,
    https://oneapi-src.github.io/oneDNN/dev_guide_data_types.html.

    Example:
        >>> from orchestrator.training import resolve_precision
        >>> resolve_precision("16-mixed")
        '16-mixed'
        >>> resolve_precision("auto", accelerator="tpu")
        '32-true'
    """
    if precision != "auto":
        return precision
    if earlier and (earlier != "16-mixed" or torch.cuda.is_available()):
        return earlier
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return _cuda_precision()
    if accelerator == "cpu" or (accelerator == "auto" and not torch.backends.mps.is_available()):
        return "bf16-mixed" if _cpu_multiplies_bfloat16() else "32-true"
    return "32-true"


def _cuda_precision() -> str:
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return "bf16-mixed"
    return "16-mixed" if torch.cuda.get_device_capability() >= _FIRST_TENSOR_CORES else "32-true"


def _cpu_multiplies_bfloat16() -> bool:
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in ("amx_bf16", "avx512_bf16", "bf16", "sve_bf16"))


@contextmanager
def bfloat16_for_numpy() -> Iterator[None]:
    """Let ``Tensor.numpy`` return float32 for bfloat16, which numpy lacks.

    A module that gives its outputs to scikit-learn would fail in every trial, since ``auto`` has chosen bfloat16.
    """
    cls: Any = torch.Tensor
    original, outer = cls.numpy, vars(cls).get("numpy")

    @functools.wraps(original)
    def numpy(self: Any, *args: Any, **kwargs: Any) -> Any:
        return original(self.float() if self.dtype is torch.bfloat16 else self, *args, **kwargs)

    cls.numpy = numpy
    try:
        yield
    finally:
        if outer is None:
            del cls.numpy  # which a base class has
        else:
            cls.numpy = outer


def note_default(error: BaseException, precision: str | int | None) -> None:
    """Add a hint to an error that may come of the precision that ``auto`` has chosen."""
    if str(precision).endswith("-mixed") and _TYPES.search(describe(error)):
        error.add_note(
            f"hint: by default this machine trains in {precision}; `trainer: {{precision: 32-true}}` in the sweep file "
            "trains in float32"
        )
