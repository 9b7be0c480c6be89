"""What runs in a worker process: one segment after another, each as one Tune trial."""

from __future__ import annotations

import json
from dataclasses import asdict

from orchestrator.engine.tune import oom_detection
from orchestrator.engine.tune.worker_group import together
from orchestrator.training import Checkpoint, Job, Report


def run_segment(config: dict[str, str]) -> None:
    """Run one segment. A stop comes as SystemExit out of ``tune.report``."""
    import ray
    from ray import tune

    from orchestrator.engine.segment_runner import attempt
    from orchestrator.secrets import guard_streams
    from orchestrator.training.class_loading.import_paths import import_from

    guard_streams()

    import_from(json.loads(config["roots"]))

    node = ray.get_runtime_context().get_node_id()

    def report(epoch: Report) -> bool:
        tune.report({"report": json.dumps(asdict(epoch)), "node": node})
        return True

    job = Job(**json.loads(config["job"]))
    oom_detection.note(job, node)
    failed = together(job, config["roots"], report) if job.workers > 1 else attempt(job, report)
    if failed:
        tune.report({"failed": json.dumps(asdict(failed))})


def read_report(text: str) -> Report:
    """The report as the driver reads it."""
    fields = json.loads(text)
    checkpoint = fields["checkpoint"]
    return Report(fields["epoch"], fields["metrics"], Checkpoint(**checkpoint) if checkpoint else None)
