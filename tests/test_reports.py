"""A report of a worker, and what it says of progress."""

from __future__ import annotations

import json
from dataclasses import asdict

from orchestrator.training import Checkpoint, Report


def test_a_report_arrives_as_it_was_sent() -> None:
    saved = Checkpoint("trials/0000/checkpoints/a.ckpt", 10, "0" * 64, 3)
    sent = Report(3, {"val_loss": 0.5}, saved, {"lr": 0.1}, 40, 1280, 2.5, {"tokens_seen": 1e6})
    assert Report.from_fields(json.loads(json.dumps(asdict(sent)))) == sent
    bare = Report(3, {"val_loss": 0.5}, None)
    assert Report.from_fields(json.loads(json.dumps(asdict(bare)))) == bare
