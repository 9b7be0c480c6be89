"""Record that the process in which a sweep's trials trained has ended without recording anything."""

from __future__ import annotations

from orchestrator.engine.controller import SweepController
from orchestrator.engine.driver_host import DriverHost
from orchestrator.engine.failure_policy import SegmentFailure
from orchestrator.engine.stop_requests import StopRequests
from orchestrator.journal import Journal
from orchestrator.rundir import RunDirectory
from orchestrator.spec import spec_of_record
from orchestrator.state import SweepState, recorded_spec


def record_loss(run: RunDirectory, failure: SegmentFailure) -> dict[int, int]:
    """Record the failure of each segment that was running, and of its trial if it has no retry left.

    Returns:
        The trials that were running, each with its segment.

    Raises:
        RunHeldError: Another process runs the sweep.
        JournalError: The journal is damaged.
        OSError: It cannot be written.
    """
    journal = Journal.open(run.journal)
    try:
        state = SweepState(journal.events())
        running = {number: state.trials[number].segments - 1 for number in sorted(state.running)}
        lost = {number: segment for number, segment in running.items() if segment >= 0}
        if lost:
            spec = spec_of_record(recorded_spec(state.created["spec"]), 0)
            controller = SweepController(spec, run, journal, DriverHost(run, StopRequests()))
            for number, segment in lost.items():
                controller.on_failure(number, segment, failure)
        return lost
    finally:
        journal.close()
