"""The lines at the top of a model card, in YAML, that the Hugging Face Hub reads."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.results.winner import Winner
from orchestrator.state import SweepState

if TYPE_CHECKING:
    from orchestrator.export.write_formats import Exported


def front_matter(state: SweepState, won: Winner, about: Mapping[str, Any], exported: Exported) -> str:
    """Between two ``---``. Values are written as JSON, which is YAML too."""
    said: dict[str, Any] = {"library_name": "lightning", "tags": _tags(exported)}
    task = _task(exported)
    if task:
        said["pipeline_tag"] = task
    said["model-index"] = [{"name": state.spec["name"], "results": [_result(state, won, about, task)]}]
    lines = [f"{name}: {json.dumps(value)}" for name, value in said.items()]
    return "\n".join(["---", *lines, "---"])


def _tags(exported: Exported) -> list[str]:
    named = [name for name in exported.present if name != "pt2"]
    return ["lightning", "pytorch", *named, "hyperparameter-search"]


def _task(exported: Exported) -> str:
    found = exported.preprocessing
    return "image-classification" if found and found.channels and found.classifies else ""


def _result(state: SweepState, won: Winner, about: Mapping[str, Any], task: str) -> dict[str, Any]:
    data = about["data"]["class_path"] if about["data"] else about["model"]["class_path"]
    metrics = won.trial.reports[won.best.epoch].metrics
    wanted = [name for name in state.objective.metrics if math.isfinite(metrics.get(name, math.nan))]
    listed = [{"type": _type(name), "name": name, "value": metrics[name], "verified": False} for name in wanted]
    name = data.rsplit(".", 1)[-1]
    dataset = {"name": name, "type": name.lower(), "split": "validation"}
    return {"task": {"type": task or "other"}, "dataset": dataset, "metrics": listed}


def _type(metric: str) -> str:
    """The Hub's word for a metric, where it is plain which one it is."""
    return "accuracy" if metric.removeprefix("val_") in ("acc", "accuracy") else metric.removeprefix("val_")
