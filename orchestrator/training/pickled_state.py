"""State of a user's hooks that has no plain form: pickled inside a checkpoint, and signed under the user's key.

Loading a checkpoint unpickles nothing that the key has not signed: a process that writes into a run directory can
replace a checkpoint and its hash, and would otherwise run code as the user.
"""

from __future__ import annotations

import hmac
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from orchestrator.errors import CheckpointError, CodecError
from orchestrator.trust import user_key

_CONTENT, _SIGNATURE = "orchestrator.pickled", "signature"


def pickled(value: Any, refusal: CodecError) -> dict[str, Any]:
    """Return a value as bytes with their signature.

    Raises:
        CodecError: ``refusal``, if the value cannot be pickled or the user has no key.
    """
    key, buffer = user_key.create(), io.BytesIO()
    try:
        torch.save(value, buffer)
    except Exception as error:  # a lambda, an open file; a user's __reduce__ may raise any error
        raise refusal from error
    if not key:
        raise refusal
    content = buffer.getvalue()
    return {_CONTENT: content, _SIGNATURE: user_key.sign(key, content)}


def can_be_pickled(value: Any) -> bool:
    """Return whether a value can be pickled."""
    try:
        torch.save(value, io.BytesIO())
    except Exception:  # as in `pickled`
        return False
    return True


def unpickled(value: Any) -> Any:
    """Return what `pickled` was given; any other value as it is.

    Raises:
        CheckpointError: It was not signed under the present user's key.
    """
    if not is_pickled(value):
        return value
    key, content = user_key.read(), bytes(value[_CONTENT])
    signature = str(value.get(_SIGNATURE)).encode()
    if not key or not hmac.compare_digest(user_key.sign(key, content).encode(), signature):
        raise CheckpointError(
            "the checkpoint holds objects that only unpickling restores, and your key has not signed them",
            hint="resume it as the user and on the machine that trained it, or start the trial afresh",
        )
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=False)


def is_pickled(value: Any) -> bool:
    """Return whether a value of a loaded checkpoint is one of `pickled`."""
    return isinstance(value, Mapping) and isinstance(value.get(_CONTENT), bytes)


def pickled_places(path: Path) -> Iterator[str]:
    """Yield where a checkpoint file holds pickled state, such as ``loss_fn`` or ``callbacks.Own``. Unpickles none."""
    for key, value in torch.load(path, map_location="cpu", weights_only=True).items():
        if is_pickled(value):
            yield str(key)
        elif isinstance(value, Mapping):
            yield from (f"{key}.{name}" for name, item in value.items() if is_pickled(item))
