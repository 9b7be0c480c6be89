"""The machine that the driver runs on, as far as a sweep needs it: a clock, a disk, and who asks for what.

The simulator has one of its own, so everything that is not a function of the journal goes through here.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from orchestrator.durable_files import storage_fault
from orchestrator.engine.stop_requests import Stopping
from orchestrator.rundir import RunDirectory
from orchestrator.state import Checkpoint
from orchestrator.training.machine_info import hardware

_PROBE_BYTES = 1 << 20
_WAIT_SECONDS = 1.0


class Host:
    """The real one."""

    def __init__(self, run: RunDirectory, stopping: Stopping) -> None:
        self._run, self._stopping = run, stopping
        self.name = socket.gethostname()
        self.pid = os.getpid()
        self._told = ""

    def hardware(self) -> dict[str, Any]:
        return hardware()

    def now(self) -> float:
        """Seconds on a clock that only goes forward."""
        return time.monotonic()

    def asked(self) -> str:
        """Why the sweep is to stop; empty while nobody has asked."""
        return self._stopping.asked

    def trials_to_stop(self) -> Iterable[int]:
        """Trials that somebody wants ended."""
        return self._stopping.trials

    def trial_stopped(self, trial: int) -> None:
        """It was done."""
        self._stopping.done(trial)

    def trials_to_promote(self) -> Iterable[int]:
        """Trials that were set aside and that somebody wants to go on."""
        return self._stopping.promotions

    def trial_promoted(self, trial: int) -> None:
        """It was done, or cannot be."""
        self._stopping.promoted(trial)

    def whole(self, checkpoint: Checkpoint) -> bool:
        """Whether the file is there at its full size; its SHA-256 is checked by who loads it.

        Raises OSError where the storage cannot say.
        """
        return self._run.size(checkpoint.path) == checkpoint.size

    def remove(self, paths: Iterable[str]) -> None:
        """Remove files of the run directory; what cannot be removed now goes at the next launch."""
        for path in paths:
            with contextlib.suppress(OSError):
                self._run.remove(path)

    def remove_unknown(self, known: Iterable[str]) -> None:
        """Remove checkpoints that the journal does not know: their process died before it could tell of them."""
        names = set(known)
        for path in self._run.checkpoints():
            if path not in names:
                with contextlib.suppress(OSError):
                    self._run.remove(path)

    def fault(self, wanted: int) -> str:
        """What keeps the storage from taking ``wanted`` bytes now; empty where nothing does."""
        try:
            self._run.probe(max(wanted, _PROBE_BYTES))
        except OSError as error:
            return storage_fault(error) or str(error)
        return ""

    def wait(self, fault: str) -> bool:
        """Wait a moment for the storage to come back. False where somebody asks for a stop instead."""
        if fault != self._told:
            print(f"{self._run.where}: {fault}; the sweep waits until there is (Ctrl-C stops it)", file=sys.stderr)
            self._told = fault
        until = time.monotonic() + _WAIT_SECONDS
        while time.monotonic() < until and not self.asked():
            time.sleep(0.1)
        return not self.asked()

    def recovered(self) -> None:
        """The storage is there again."""
        if self._told:
            print(f"{self._run.where}: the storage is there again", file=sys.stderr)
        self._told = ""

    def smaller_batches(
        self, model: Mapping[str, Any], data: Mapping[str, Any] | None, trainer: Mapping[str, Any], halvings: int
    ) -> tuple[dict[str, Any], dict[str, Any] | None, dict[str, Any]] | None:
        """The same trial with ``halvings`` times smaller micro-batches; None where they cannot be made smaller."""
        from orchestrator.training.class_loading.micro_batches import smaller_batches

        return smaller_batches(dict(model), dict(data) if data else None, dict(trainer), halvings)

    def folder(self, trial: int) -> Path:
        return self._run.trial(trial)
