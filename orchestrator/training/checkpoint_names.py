"""The names of checkpoint files."""

from __future__ import annotations

PATTERN = "epoch=*-segment=*.ckpt"


def checkpoint_name(epoch: int, segment: int, batch: int = 0) -> str:
    """Return the file name of the trial's checkpoint after ``epoch`` whole epochs, and ``batch`` batches of the next.

    The segment is in the name so that no two processes write the same file: a process that lost its sweep to another
    one may still be training.
    """
    within = f"-batch={batch:06d}" if batch else ""
    return f"epoch={epoch:04d}{within}-segment={segment}.ckpt"
