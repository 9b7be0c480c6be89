"""A driver and its workers in memory, on a virtual clock. `orchestrator.testing` adds faults to each part.

`World` outlives a driver; `MemoryStore`, `MemoryLease` and `VirtualHost` are one driver's view of it.
"""

from __future__ import annotations

import heapq
import io
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from orchestrator.engine.controller import Observer, SweepController
from orchestrator.engine.driver_host import DriverHost
from orchestrator.engine.learning_curves import Curve
from orchestrator.errors import UsageError
from orchestrator.journal import Journal
from orchestrator.journal.records import Line
from orchestrator.journal.store import Store
from orchestrator.policies.numerics import numerics
from orchestrator.progress import COUNTER, EPOCHS, noun, whole
from orchestrator.rundir import RunDirectory
from orchestrator.spec import SweepSpec
from orchestrator.spec.progress_section import end_of, trainer_limit
from orchestrator.state import Checkpoint as RecordedCheckpoint
from orchestrator.training import Checkpoint, Job, Report

_RUN = RunDirectory(Path("/simulated"))
_START = 1_700_000_000.0  # Unix seconds
_CHECKPOINT_BYTES = 1000
BETWEEN_REPORTS = "-batch="
"""Is in the name of a checkpoint that was saved on the way to a report, whose number is then that of the one before."""
_HALVINGS = 3  # of a batch, before it cannot be made smaller

Places = Callable[[Mapping[str, Any], int], float]
"""Where a trial reports for the n-th time, in spans, by its parameters and n: a function that increases with n."""


def every_span(params: Mapping[str, Any], number: int) -> float:
    """Return ``number``: one report a span."""
    return number


def simulated_span(spec: SweepSpec, end: float) -> float:
    """Return the progress between two reports of a simulated trial; a twentieth of the training if it is not known."""
    return spec.report_span or (1 if spec.progress.unit == EPOCHS else end / 20)


Seconds = Callable[[Mapping[str, Any], int], float]
"""Seconds until a trial's n-th report, since the one before, by its parameters and n."""


class World:
    """Clock, journal and checkpoints.

    Attributes:
        files: maps a checkpoint's path to its size and SHA-256.
        saved_at: maps it to the progress that it was saved at, whether or not the file is still there.
    """

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.clock = _START
        self.journal = bytearray()
        self.epoch = 0
        self.files: dict[str, tuple[int, str]] = {}
        self.saved_at: dict[str, float] = {}

    def pass_time(self, seconds: float) -> None:
        """Advance the clock."""
        self.clock += seconds


class MemoryLease:
    """The right to write the journal; nothing contends for it here. ``proven``: the holder before is dead."""

    def __init__(self, world: World) -> None:
        world.epoch += 1
        self.epoch, self.proven = world.epoch, True

    def require(self) -> None:
        """Do nothing: the lease is held."""

    def release(self) -> None:
        """Do nothing: no other process waits for it."""

    def discard(self) -> None:
        """Do nothing: there is no file."""


class MemoryStore(Store):
    """The journal's lines in memory."""

    waits = False

    def __init__(self, world: World) -> None:
        self._world = world

    @property
    def _content(self) -> bytearray:
        return self._world.journal

    def lines(self) -> Iterator[Line]:
        """Yield every line."""
        end = 0
        for content in io.BytesIO(bytes(self._content)):
            place = f"the journal is damaged at byte {end}"
            end += len(content)
            yield Line(content, place, end)

    def empty(self) -> bool:
        """Return whether nothing was written yet."""
        return not self._content

    def start(self, seq: int, end: int, *, proven: bool) -> int:
        """Cut off a torn tail and return its length."""
        torn = len(self._content) - end
        del self._content[end:]
        return torn

    def append(self, line: bytes, *, sync: bool) -> None:
        """Add a line."""
        self._content.extend(line)

    def close(self) -> None:
        """Do nothing: every line is there."""

    def discard(self) -> None:
        """Do nothing: there is no file."""


class VirtualHost(DriverHost):
    """The machine that one driver runs on: without requests, and with room for everything."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.name, self.pid = "simulated", world.epoch

    def hardware(self) -> dict[str, Any]:
        """Return nothing: the record must not depend on this machine."""
        return {}

    def environment(self) -> Mapping[str, Any]:
        """Return this machine's arithmetic, by which the searcher suggests."""
        return {"numerics": numerics()}

    def now(self) -> float:
        """Return virtual seconds."""
        return self._world.clock

    def stop_reason(self) -> str:
        """Return nothing: no stop is requested."""
        return ""

    def draining(self) -> bool:
        """Return False: no stop is requested."""
        return False

    def trials_to_stop(self) -> Iterable[int]:
        """Return no trial."""
        return ()

    def trial_stopped(self, trial: int) -> None:
        """Do nothing: there are no requests."""

    def trials_to_promote(self) -> Iterable[int]:
        """Return no trial."""
        return ()

    def trial_promoted(self, trial: int) -> None:
        """Do nothing: there are no requests."""

    def is_intact(self, checkpoint: RecordedCheckpoint) -> bool:
        """Return whether the file has its full size."""
        return self._world.files.get(checkpoint.path, (-1, ""))[0] == checkpoint.size

    def delete(self, paths: Iterable[str]) -> None:
        """Delete files."""
        for path in paths:
            self._world.files.pop(path, None)

    def delete_unrecorded(self, recorded: Iterable[str]) -> None:
        """Delete checkpoints that the journal does not name."""
        names = set(recorded)
        self.delete([path for path in self._world.files if path not in names])

    def storage_fault(self, needed: int) -> str:
        """Return nothing: there is always room."""
        return ""

    def smaller_batches(
        self, model: Mapping[str, Any], data: Mapping[str, Any] | None, trainer: Mapping[str, Any], halvings: int
    ) -> tuple[dict[str, Any], dict[str, Any] | None, dict[str, Any]] | None:
        """Return the components as they are; None after a few halvings."""
        return None if halvings > _HALVINGS else (dict(model), dict(data) if data else None, dict(trainer))

    def trial_folder(self, trial: int) -> Path:
        """Return a path that does not exist."""
        return Path("/simulated") / trial_path(trial)


@dataclass
class Cluster:
    """What a driver is given: the sweep, its world, and how trials behave there."""

    spec: SweepSpec
    world: World
    curve: Curve
    seconds: Seconds
    slots: int
    observer: Observer | None
    place: Places = every_span
    startup: float = 0.0


@dataclass(eq=False)
class Worker:
    """A running segment.

    Args:
        job: the segment.
        params: the trial's parameters, with ``repeat`` for a further seed of a configuration.
        node: the number of its node.
        reports: how many it has sent since the trial's beginning.
        first: that number at the segment's start.
        start: the progress of the checkpoint that it started from.
        pending: the checkpoint that it is writing: path, size and SHA-256.
    """

    job: Job
    params: Mapping[str, Any]
    node: int
    reports: int = 0
    first: int = 0
    start: float = 0.0
    pending: tuple[str, tuple[int, str]] | None = None


class Driver:
    """One driver: a controller, its workers, and their messages in order of arrival."""

    def __init__(self, cluster: Cluster, journal: Journal, host: VirtualHost) -> None:
        self._cluster, self._world, self._rng = cluster, cluster.world, cluster.world.rng
        self.controller = SweepController(cluster.spec, _RUN, journal, host, cluster.observer)
        self._workers: list[Worker] = []
        self._queue: list[tuple[float, int, Callable[[], object]]] = []
        self._order = itertools.count()
        self.closes = False
        """Whether the driver has come to its end, and closes the journal."""

    @property
    def complete(self) -> bool:
        """Whether the sweep has completed."""
        state = self.controller.state
        return state.status == "completed" and not state.interrupted

    def run(self) -> None:
        """Run the sweep until nothing is left to run or `is_overdue`."""
        self.controller.start("simulated", self._cluster.slots)
        self._fill()
        while self._queue and not self.is_overdue():
            at, _, arrive = heapq.heappop(self._queue)
            self._world.pass_time(max(0.0, at - self._world.clock))
            arrive()
            self.after_event()
            self._fill()
        self.closes = True
        self.controller.close()

    def is_overdue(self) -> bool:
        """Return whether the driver ends although workers run."""
        return False

    def after_event(self) -> None:
        """Do nothing; called after each message of a worker."""

    def free_node(self) -> int | None:
        """Return the number of a node with a free slot; None if there is none."""
        return 0 if len(self._workers) < self._cluster.slots else None

    def schedule(self, seconds: float, arrive: Callable[[], object]) -> None:
        """Call ``arrive`` in so many seconds."""
        heapq.heappush(self._queue, (self._world.clock + seconds, next(self._order), arrive))

    def delay(self) -> float:
        """Return the seconds that a message takes."""
        return 0.01 * self._rng.random()

    def begin(self, worker: Worker) -> None:
        """Start a segment from its checkpoint."""
        if worker.job.checkpoint is not None:
            self._set_back(worker, worker.job.checkpoint["path"])
        if self._cluster.startup:
            self.schedule(self._cluster.startup * self._rng.uniform(0.9, 1.1), partial(self.train, worker))
        else:
            self.train(worker)

    def _set_back(self, worker: Worker, path: str) -> None:
        """Let a segment start from a checkpoint.

        A trial that ends before the place of its next report reports there. It has yet to come to that place if it is
        extended.
        """
        number, worker.start = _number(path), self._world.saved_at[path]
        is_of_a_report = path.startswith(trial_path(worker.job.trial) + "/") and BETWEEN_REPORTS not in path
        is_ahead = is_of_a_report and self._place(worker, number) > worker.start
        worker.first = worker.reports = number - is_ahead

    def train(self, worker: Worker) -> None:
        """Train until the next report, or end the segment after its last."""
        number = worker.reports + 1
        if self._reached(worker, worker.reports) >= self._end(worker):
            self.schedule(self.delay(), partial(self.end, worker))
            return
        seconds = self._cluster.seconds(worker.params, number) * self._rng.uniform(0.9, 1.1)
        name = f"epoch={number:04d}-segment={worker.job.segment}"
        path = f"{trial_path(worker.job.trial)}/checkpoints/{name}.ckpt"
        # Unique to this writer, and of full length.
        sha256 = f"{self.controller.journal.lease}-{worker.job.trial}-{name}".ljust(64, "0")
        worker.pending = (path, (_CHECKPOINT_BYTES, sha256))
        self._world.saved_at[path] = self._place(worker, number)
        measures = {"epoch": number, **self._measures(worker, number)}
        saved = Checkpoint(path, _CHECKPOINT_BYTES, sha256, measures["epoch"])
        spans = whole(round(self._place(worker, number) / self._span(worker), 9))
        report = Report(metrics=self._cluster.curve(worker.params, spans), checkpoint=saved, **measures)
        worker.reports = number
        self.schedule_checkpoint(worker, report, seconds)

    def _end(self, worker: Worker) -> float:
        """Return where the segment's trial ends."""
        unit, job = self._cluster.spec.progress.unit, worker.job
        end = job.progress.get("until") or trainer_limit(job.trainer, unit)
        if end is None:
            raise UsageError(
                f"the simulator needs to know where trials end in {noun(unit)}", hint=f"give {end_of(unit)}"
            )
        return end

    def _place(self, worker: Worker, number: int) -> float:
        """Return the progress of a trial's report by its number; the last lies at the end."""
        place = self._cluster.place(worker.params, number) * self._span(worker)
        return whole(round(min(self._end(worker), place), 6))

    def _reached(self, worker: Worker, number: int) -> float:
        """Return the progress after so many reports, the last of which may be beside the checkpoint it started from.

        That may be another trial's, which reports at other places.
        """
        return worker.start if number == worker.first else self._place(worker, number)

    def _span(self, worker: Worker) -> float:
        return simulated_span(self._cluster.spec, self._end(worker))

    def _measures(self, worker: Worker, number: int) -> dict[str, Any]:
        """Return how far a report is in the sweep's unit, beside its epoch."""
        return self.measures(self._place(worker, number))

    def between(self, worker: Worker) -> float:
        """Return a progress between the worker's last report and the one that it trains for."""
        before = self._reached(worker, worker.reports - 1)
        return whole(round((before + self._place(worker, worker.reports)) / 2, 6))

    def measures(self, progress: float) -> dict[str, Any]:
        """Return a progress as what a training reports in the sweep's unit."""
        unit = self._cluster.spec.progress.unit
        if unit == EPOCHS:
            return {"epoch": progress}
        if unit.startswith(COUNTER):
            return {"counters": {noun(unit): progress}}
        return {"step" if unit == "steps" else unit: progress}

    def schedule_checkpoint(self, worker: Worker, report: Report, seconds: float) -> None:
        """Write the report's checkpoint in so many seconds."""
        self.schedule(seconds, partial(self.write_checkpoint, worker, report))

    def write_checkpoint(self, worker: Worker, report: Report) -> float:
        """Write the pending checkpoint and send its report; return the seconds that the report takes."""
        assert worker.pending
        self._world.files[worker.pending[0]] = worker.pending[1]
        worker.pending = None
        delay = self.delay()
        self.schedule(delay, partial(self.report, worker, report))
        return delay

    def report(self, worker: Worker, report: Report) -> None:
        """Pass a report to the controller, and continue or end as it answers."""
        if self.controller.on_report(worker.job.trial, worker.job.segment, report):
            self.train(worker)
        else:
            self.schedule(self.delay(), partial(self.end, worker))

    def end(self, worker: Worker) -> None:
        """End a segment that returned."""
        self._workers.remove(worker)
        self.controller.on_end(worker.job.trial, worker.job.segment)

    def _fill(self) -> None:
        """Start a segment in every free slot."""
        while (node := self.free_node()) is not None:
            job = self.controller.next_job()
            if isinstance(job, str):
                return
            worker = Worker(job, self._params(job.trial), node)
            self._workers.append(worker)
            self.begin(worker)

    def _params(self, number: int) -> Mapping[str, Any]:
        trial = self.controller.state.trials[number]
        repeat = number - trial.configuration
        return {**trial.params, "repeat": repeat} if repeat else trial.params


def trial_path(trial: int) -> str:
    """Return a trial's folder in the run directory."""
    return f"trials/{trial:04d}"


def _number(path: str) -> int:
    """Return the number of the report beside a checkpoint, which its name holds."""
    return int(path.rpartition("/")[2].split("-")[0].removeprefix("epoch="))
