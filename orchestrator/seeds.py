"""Derive seeds from names, the same on every machine and Python version."""

from __future__ import annotations

from hashlib import blake2b


def derive_seed(*parts: float | str) -> int:
    """Return a seed in [0, 2**31) that depends on every part: ``derive_seed(sweep_seed, "trial", 7)``."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") % 2**31


def trial_seed(sweep_seed: int, trial: int) -> int:
    """Return the seed of everything random in one trial."""
    return derive_seed(sweep_seed, "trial", trial)
