"""The reference: the same job by Lightning's own DDP over gloo, one process of it. Run with torch_xla's interpreter.

``python on_cpus.py JOB REPORTS`` in the environment of a rank: JOB and REPORTS are files, of JSON.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from lightning.pytorch.strategies import DDPStrategy

from orchestrator.training import Job, Report, fit


def main() -> None:
    job = Job(**json.loads(Path(sys.argv[1]).read_text()))
    reports = []

    def report(epoch: Report) -> bool:
        reports.append(asdict(epoch))
        return True

    strategy = DDPStrategy(process_group_backend="gloo")
    fit(job, report, {"accelerator": "cpu", "devices": 1, "num_nodes": 2, "strategy": strategy, "precision": "32-true"})
    if reports:
        Path(sys.argv[2]).write_text(json.dumps(reports))


if __name__ == "__main__":
    main()
