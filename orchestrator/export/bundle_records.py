"""The records of a bundle: config.json (how the model was trained) and MANIFEST.json (its origin and files)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from orchestrator.bundle.bundle_manifest import FORMAT, LIGHTNING
from orchestrator.results.winner import Winner, lineage, settings
from orchestrator.seeds import trial_seed
from orchestrator.spec.progress_options import job_progress
from orchestrator.state import SweepState, spec_in_force
from orchestrator.training.machine_info import hardware, versions

if TYPE_CHECKING:
    from orchestrator.export.write_formats import Exported

_PACKAGES = (
    "sweep-orchestrator",
    "torch",
    "torchvision",
    "lightning",
    "numpy",
    "pillow",
    "safetensors",
    "onnx",
    "onnxscript",
    "onnxruntime",
)


def config(winner: Winner) -> dict[str, Any]:
    """Return the content of config.json: classes, parameters, seed and reports, enough to train the model again.

    ``reports`` (epoch → metrics) end at the exported epoch; NaN and infinities are null. ``threads`` is the number of
    CPU threads of a trial. ``lineage`` lists the stages to train for the weights (see `orchestrator.results.winner`).
    """
    spec = spec_in_force(winner.state)
    trial, at = winner.trial, winner.best.progress
    model, data, trainer = settings(winner)
    reports = {
        report.epoch: finite(report.metrics) for progress, report in sorted(trial.reports.items()) if progress <= at
    }
    return {
        "model": model,
        "data": data,
        "trainer": trainer,
        "progress": job_progress(spec),
        "params": trial.params_at(at),
        "trial": trial.number,
        "epoch": winner.epoch,
        "metrics": finite(trial.reports[at].metrics),
        "objective": winner.state.spec["objective"],
        "metric": winner.state.objective.metric,
        "required": winner.state.objective.metrics[1:],
        "seed": trial_seed(spec.seed, trial.number),
        "resources": spec.resources.model_dump(),
        "threads": winner.state.machine.get("threads"),
        "lineage": [asdict(stage) for stage in lineage(winner)],
        "reports": {str(number): metrics for number, metrics in reports.items()},
    }


def finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """Return the metrics for strict JSON: NaN and infinities become None."""
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}


def manifest_content(
    state: SweepState, winner: Winner, exported: Exported, files: Mapping[str, tuple[int, str]]
) -> dict[str, Any]:
    """Return the content of MANIFEST.json without its own digest. ``files``: name → size and SHA-256."""
    validation = exported.validation
    return {
        "format": FORMAT,
        "files": {name: {"size": size, "sha256": sha256} for name, (size, sha256) in files.items()},
        "sweep": state.spec["name"],
        "journal": state.seq,
        "trial": {"number": winner.trial.number, "epoch": winner.epoch, "confirmed": winner.confirmed},
        **{name: state.created.get(name) for name in ("seed", "versions", "git")},
        "hardware": winner.state.machine.get("hardware"),
        "exported": {"versions": versions(_PACKAGES), "hardware": hardware()},
        "data": {
            "validation": validation.validation,
            "training": validation.training,
            "validation_sha256": validation.sha256,
        },
        "parity": {name: parity.as_json() for name, parity in exported.parity.items()},
        "load_from_checkpoint": exported.loads or True,
        **({"holds_code": [LIGHTNING]} if exported.has_own else {}),
        "missing": exported.missing,
    }
