"""The machine that the driver runs on, as a sweep needs it: clock, disk, and requests from users.

Everything that is not a function of the journal goes through `DriverHost`, so the simulator can replace it.
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
from orchestrator.engine.stop_requests import StopRequests
from orchestrator.rundir import RunDirectory
from orchestrator.secrets import masked
from orchestrator.state import Checkpoint
from orchestrator.training.machine_info import hardware

_PROBE_BYTES = 1 << 20
_WAIT_SECONDS = 1.0


class DriverHost:
    """The real machine."""

    def __init__(
        self, run: RunDirectory, stop_requests: StopRequests, environment: Mapping[str, Any] | None = None
    ) -> None:
        self._run, self._stop_requests = run, stop_requests
        self._environment = environment or {}
        self.name = socket.gethostname()
        self.pid = os.getpid()
        self._printed_fault = ""

    def hardware(self) -> dict[str, Any]:
        """Return CPUs, memory and GPUs, for the record."""
        return hardware()

    def environment(self) -> Mapping[str, Any]:
        """Return code, libraries and arithmetic that the driver runs with, for the record."""
        return self._environment

    def now(self) -> float:
        """Return seconds of a clock that never runs backwards."""
        return time.monotonic()

    def stop_reason(self) -> str:
        """Return why the sweep is to stop; empty if no stop was requested."""
        return self._stop_requests.reason

    def draining(self) -> bool:
        """Return whether each running segment is to end at its next report, and no other may start."""
        return self._stop_requests.draining

    def trials_to_stop(self) -> Iterable[int]:
        """Return the trials with an open stop request."""
        return self._stop_requests.trials_to_stop

    def trial_stopped(self, trial: int) -> None:
        """Close a trial's stop request."""
        self._stop_requests.close_stop(trial)

    def trials_to_promote(self) -> Iterable[int]:
        """Return the trials with an open promotion request."""
        return self._stop_requests.trials_to_promote

    def trial_promoted(self, trial: int) -> None:
        """Close a trial's promotion request, whether it was promoted or cannot be."""
        self._stop_requests.close_promotion(trial)

    def is_intact(self, checkpoint: Checkpoint) -> bool:
        """Return whether the file has its full size. Loading it checks its SHA-256.

        Raises:
            OSError: The storage does not answer.
        """
        return self._run.size(checkpoint.path) == checkpoint.size

    def delete(self, paths: Iterable[str]) -> None:
        """Delete files of the run directory; the next launch deletes what cannot be deleted now."""
        for path in paths:
            with contextlib.suppress(OSError):
                self._run.remove(path)

    def delete_unrecorded(self, recorded: Iterable[str]) -> None:
        """Delete checkpoints that the journal does not name: their process died before it could report them."""
        names = set(recorded)
        for path in self._run.checkpoints():
            if path not in names:
                with contextlib.suppress(OSError):
                    self._run.remove(path)

    def storage_fault(self, needed: int) -> str:
        """Return why ``needed`` bytes cannot be written now; empty if they can."""
        try:
            self._run.probe(max(needed, _PROBE_BYTES))
        except OSError as error:
            return storage_fault(error) or str(error)
        return ""

    def wait_for_storage(self, fault: str) -> bool:
        """Wait a second for the storage. False if a stop is requested instead."""
        if fault != self._printed_fault:
            print(
                masked(f"{self._run.where}: {fault}; the sweep waits until it can be written (Ctrl-C stops it)"),
                file=sys.stderr,
            )
            self._printed_fault = fault
        until = time.monotonic() + _WAIT_SECONDS
        while time.monotonic() < until and not self.stop_reason():
            time.sleep(0.1)
        return not self.stop_reason()

    def storage_recovered(self) -> None:
        """Print that the storage can be written again, if a fault was printed."""
        if self._printed_fault:
            print(masked(f"{self._run.where}: the storage can be written again"), file=sys.stderr)
        self._printed_fault = ""

    def smaller_batches(
        self, model: Mapping[str, Any], data: Mapping[str, Any] | None, trainer: Mapping[str, Any], halvings: int
    ) -> tuple[dict[str, Any], dict[str, Any] | None, dict[str, Any]] | None:
        """Return the components with micro-batches halved ``halvings`` times; None if they cannot be made smaller."""
        from orchestrator.training.class_loading.micro_batches import smaller_batches

        return smaller_batches(dict(model), dict(data) if data else None, dict(trainer), halvings)

    def trial_folder(self, trial: int) -> Path:
        """Return the trial's folder."""
        return self._run.trial(trial)
