"""Run an open sweep on its engine, with its trackers and notifications, and report how it ended."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestrator import tracking
from orchestrator.durable_files import storage_fault
from orchestrator.engine.controller import Observer, SweepController
from orchestrator.engine.driver_host import DriverHost
from orchestrator.engine.stop_requests import REQUESTED, StopRequests
from orchestrator.errors import RunHeldError, describe
from orchestrator.journal import Event, Journal
from orchestrator.notify import Notifier
from orchestrator.plan.time_left import Forecast
from orchestrator.rundir import RunDirectory
from orchestrator.spec import SweepSpec
from orchestrator.state import SweepState
from orchestrator.sweep.code_record import environment

Engine = Callable[[SweepController, StopRequests, list[str]], None]
"""Runs the segments of a controller; the list holds the folders that the user's modules are imported from."""


@dataclass(frozen=True)
class Outcome:
    """How a launch or resume ended.

    Args:
        run: the run directory.
        state: the sweep as it ended.
        exit_code: 0 if a trial has a finite objective and the sweep was not stopped.
        notices: one line for each tracker that has not received everything.
    """

    run: RunDirectory
    state: SweepState
    exit_code: int
    notices: Sequence[str] = ()

    @property
    def finals_due(self) -> bool:
        """Whether the spec asks for finals, which can be run now and have not confirmed a winner yet."""
        state = self.state
        completed = state.status == "completed" and not self.exit_code
        return bool(state.spec.get("finalists")) and completed and not state.confirmation

    @classmethod
    def of(cls, run: RunDirectory, state: SweepState, signal_code: int, notices: Sequence[str] = ()) -> Outcome:
        """Derive the exit code; ``signal_code`` is that of the signal that stopped the sweep, 0 for none."""
        paused_by_failures = state.status == "paused" and state.count("failed") and not signal_code
        # Stopped on request within the first epoch, it has no winner yet, and nothing went wrong.
        stopped = state.status == "paused" and state.reason == REQUESTED
        succeeded = (stopped or state.winner() is not None) and not paused_by_failures
        return cls(run, state, signal_code or (0 if succeeded else 1), notices)


def choose_engine(spec: SweepSpec, *, local: bool, address: str) -> Engine:
    """Return the engine: this process, the TPU slices of a cluster, or Ray Tune."""
    if local:
        from orchestrator.engine import local_engine as in_process

        return lambda controller, stop_requests, roots: in_process.run(controller, stop_requests)
    if spec.resources.tpu:
        from orchestrator.xla import slice_engine

        return lambda controller, stop_requests, roots: slice_engine.run(
            controller, stop_requests, roots=roots, address=address
        )
    from orchestrator.engine import tune

    return lambda controller, stop_requests, roots: tune.run(controller, stop_requests, roots=roots, address=address)


def execute(
    spec: SweepSpec,
    run: RunDirectory,
    journal: Journal,
    roots: list[str],
    stop_requests: StopRequests,
    engine: Engine,
    observer: Observer | None,
) -> Outcome:
    """Run the sweep whose journal is open until it has ended or is stopped; closes the journal."""
    stop_requests.watch(run)
    notifier = Notifier(spec.notify, run.name, run, Forecast(run.journal).until_trials_end)
    trained: set[int] = set()

    def observe(state: SweepState, event: Event) -> None:
        if event.type == "segment.started":
            trained.add(event["trial"])
        notifier(state, event)
        if observer is not None:
            observer(state, event)

    controller = SweepController(spec, run, journal, DriverHost(run, stop_requests, environment(spec, roots)), observe)
    # Workers remove these files; the workers of a driver that was killed, or that Ray has killed, may not have.
    run.remove_live(controller.state.interrupted | controller.state.running)
    with tracking.run_trackers(run, spec) as trackers:
        try:
            _run_engine(controller, stop_requests, roots, engine)
        finally:
            run.remove_live(trained)
            trackers.finish()  # trackers and notifier flush at the same time
            notifier.close(controller.stop_reason)
        notices = trackers.wait()
    return Outcome.of(run, controller.state, stop_requests.exit_code, notices)


def _run_engine(controller: SweepController, stop_requests: StopRequests, roots: list[str], engine: Engine) -> None:
    try:
        engine(controller, stop_requests, roots)
    except BaseException as error:
        controller.stop_reason = controller.stop_reason or stop_requests.reason or describe(error)
        # Another driver may hold the journal, the disk may be full, and a third Ctrl-C does not wait for a slow one.
        with contextlib.suppress(OSError, RunHeldError, KeyboardInterrupt):
            controller.close()
        # A requested stop always exits cleanly: Lightning turns a second Ctrl-C and SIGTERM into SystemExit, and a full
        # disk may leave no room to record the pause.
        if not stop_requests.reason or (isinstance(error, Exception) and not storage_fault(error)):
            raise
    else:
        controller.close()
