"""A bundle handed on: into a folder of versions, or to Weights & Biases as an artifact."""

from __future__ import annotations

import shutil
from pathlib import Path

from orchestrator.bundle.manifest import CONFIG, MANIFEST, Manifest, verify_bundle
from orchestrator.errors import SweepError, UsageError
from orchestrator.export.atomic_folder import write_as_one, written
from orchestrator.rundir import run_at

_TRIES = 100  # of version numbers that others take at the same time


def publish_to_folder(manifest: Manifest, registry: Path, name: str = "") -> Path:
    """Copy a bundle to ``registry/<name>/<version>``, and return that folder.

    ``name`` is the sweep's by default; versions count from 1. Each is whole or not there. A bundle whose newest version
    is this very one is left as it is. Raises UsageError for a name that could leave the folder.
    """
    model = run_at(name or manifest.content["sweep"], registry).root
    newest = max(_versions(model), default=0)
    if newest and (model / str(newest) / MANIFEST).read_bytes() == (manifest.folder / MANIFEST).read_bytes():
        return model / str(newest)
    for version in range(newest + 1, newest + _TRIES):
        target = model / str(version)
        try:
            with write_as_one(target) as temporary:
                for file in (*manifest.files, MANIFEST):
                    shutil.copyfile(manifest.folder / file, temporary / file)
                written(temporary)
                verify_bundle(temporary)
        except (UsageError, FileExistsError):
            if not target.exists():
                raise
        else:
            return target
    raise SweepError(f"{model}: others take each next version")


def publish_to_wandb(manifest: Manifest, project: str, name: str = "", mode: str = "auto") -> str:
    """Log a bundle as an artifact of type ``model``; returns ``project/name`` and how it went there.

    ``project`` may be ``entity/project``. Offline, unless a key is configured: `wandb sync` sends it later, from the
    folder beside the bundle that W&B writes to. Raises SweepError where W&B refuses.
    """
    import wandb

    from orchestrator.secrets import wandb_mode

    entity, _, last = project.rpartition("/")
    chosen, model = wandb_mode(mode), name or manifest.content["sweep"]
    config = manifest.read_json(CONFIG)
    try:
        with wandb.init(
            project=last,
            entity=entity or None,
            job_type="publish",
            mode=chosen,  # type: ignore[arg-type]
            dir=manifest.folder.parent,
            settings=wandb.Settings(console="off", silent=True),
        ) as run:
            artifact = wandb.Artifact(model, type="model", metadata={**config["metrics"], **config["params"]})
            for file in (*manifest.files, MANIFEST):
                artifact.add_file(str(manifest.folder / file), name=file)
            run.log_artifact(artifact)
    except (wandb.Error, ValueError) as error:
        raise SweepError(f"W&B did not take it: {error}", hint="offline: WANDB_MODE=offline") from error
    return f"{project}/{model} ({chosen})"


def _versions(model: Path) -> list[int]:
    return [int(path.name) for path in model.glob("*/") if path.name.isdecimal()]
