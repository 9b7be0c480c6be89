"""What a segment reports that is trained in the test's process."""

from __future__ import annotations

from orchestrator.engine.segment_runner import attempt
from orchestrator.training import Job, Report


def reports_of(job: Job, most: int = 99) -> list[Report]:
    """Return the reports of a segment that ends without a failure, or after that many."""
    reports: list[Report] = []

    def report(each: Report) -> bool:
        reports.append(each)
        return len(reports) < most

    assert attempt(job, report) is None
    return reports
