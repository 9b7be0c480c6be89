"""``Trainer.validate`` with a bundle's checkpoint: the part of its evaluation that needs torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.bundle.manifest import CHECKPOINT, CONFIG, Manifest
from orchestrator.errors import UsageError
from orchestrator.training.class_loading.import_paths import import_from
from orchestrator.training.evaluation import Evaluation


def validated(manifest: Manifest, class_path: str | None, arguments: Mapping[str, Any]) -> dict[str, float]:
    config = manifest.read_json(CONFIG)
    import_from([str(Path.cwd())])
    data = _data(config, class_path, arguments)
    evaluation = Evaluation("validate", config["model"], data, config["trainer"], config["seed"])
    return evaluation.run(manifest.folder / CHECKPOINT)


def _data(config: Mapping[str, Any], class_path: str | None, arguments: Mapping[str, Any]) -> Mapping[str, Any] | None:
    named: Any = {"class_path": class_path} if class_path else config["data"]
    if named is None and arguments:
        raise UsageError("the bundle has no DataModule to set arguments of", hint="--data IMPORT.PATH names one")
    return None if named is None else {**named, "init_args": {**(named.get("init_args") or {}), **arguments}}
