"""What runs in a worker process: one segment after another, each as one Tune trial."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from orchestrator.training import Checkpoint, Job, Report


def run_segment(config: dict[str, str]) -> None:
    """Run one segment. A stop comes as SystemExit out of ``tune.report``."""
    from ray import tune

    for root in reversed(json.loads(config["roots"])):
        if root not in sys.path:
            sys.path.insert(0, root)
    from orchestrator.engine.segment import attempt

    def report(epoch: Report) -> bool:
        tune.report({"report": json.dumps(asdict(epoch))})
        return True

    failed = attempt(Job(**json.loads(config["job"])), report)
    if failed:
        tune.report({"failed": json.dumps(asdict(failed))})


def read_report(text: str) -> Report:
    """The report as the driver reads it."""
    fields = json.loads(text)
    checkpoint = fields["checkpoint"]
    return Report(fields["epoch"], fields["metrics"], Checkpoint(**checkpoint) if checkpoint else None)
