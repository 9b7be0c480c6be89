"""Save a segment's checkpoints, after an epoch or within one."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import lightning as L

from orchestrator.durable_files import fingerprint
from orchestrator.errors import UsageError
from orchestrator.training import compat_lightning as compat
from orchestrator.training import shared_storage
from orchestrator.training.checkpoint_names import checkpoint_name
from orchestrator.training.checkpoints import DurableCheckpointIO
from orchestrator.training.job import Checkpoint, Job


def epochs_trained(trainer: L.Trainer) -> float:
    """Return the epochs that are trained: an int if the last one is whole, else with its fraction of batches.

    Within an epoch of unknown length it is the number of whole epochs.
    """
    epochs = int(trainer.current_epoch)
    if compat.epoch_is_complete(trainer):
        return epochs + 1
    batches = trainer.num_training_batches
    return epochs if batches == float("inf") else epochs + (trainer.fit_loop.batch_idx + 1) / batches


class CheckpointSaver:
    """Writes checkpoints by the Trainer, and says what was written."""

    def __init__(self, job: Job, writer: DurableCheckpointIO) -> None:
        self._job, self._writer = job, writer

    def save(self, trainer: L.Trainer, epoch: float, *, at_epoch_end: bool) -> Checkpoint | None:
        """Save a checkpoint after ``epoch`` epochs; return None on ranks other than 0, which do not see the file.

        Args:
            trainer: to be saved.
            epoch: as `epochs_trained` gives it.
            at_epoch_end: whether Lightning calls the hooks of an epoch's end, perhaps of one that was cut short.
        """
        complete = compat.epoch_is_complete(trainer)
        batch = 0 if complete else trainer.fit_loop.batch_idx + 1
        path = self._job.checkpoints / checkpoint_name(int(epoch), self._job.segment, batch)
        with compat.within_epoch(trainer) if at_epoch_end and not complete else nullcontext():
            trainer.save_checkpoint(path, weights_only=False)
        if not trainer.is_global_zero:
            return None
        if path.is_dir():
            raise UsageError(
                f"{type(trainer.strategy).__name__} writes a checkpoint as a folder, but a trial's must be one file",
                hint="set `state_dict_type: full` for FSDP, or `save_distributed_checkpoint: false`",
            )
        # A strategy that writes the file itself bypasses the writer; then the file itself is hashed.
        written: Any = self._writer.written
        size, digest = written.pop(str(path)) if str(path) in written else fingerprint(path)
        shared_storage.publish_checkpoint(self._job, path)
        by_default = self._job.trainer.get("precision", "auto") == "auto"
        precision = str(trainer.precision) if by_default else ""
        return Checkpoint(path.relative_to(self._job.run_directory).as_posix(), size, digest, epoch, precision)
