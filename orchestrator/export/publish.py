"""Publish a bundle to a folder of versions, or to Weights & Biases as an artifact."""

from __future__ import annotations

import shutil
from pathlib import Path

from orchestrator.bundle.bundle_manifest import CONFIG, MANIFEST, Manifest, verify_bundle
from orchestrator.errors import SweepError, UsageError
from orchestrator.export.atomic_folder import atomic_folder, file_digests
from orchestrator.rundir import run_at

_ATTEMPTS = 100  # version numbers to try while other processes publish


def publish_to_folder(manifest: Manifest, registry: Path, name: str = "") -> Path:
    """Copy a bundle to ``registry/<name>/<version>``, and return that folder.

    Versions count from 1. If the newest version is this bundle, its folder is returned.

    Args:
        manifest: the verified bundle.
        registry: the folder of models.
        name: the model's name; by default the sweep's.

    Raises:
        UsageError: the name could leave the folder.
        SweepError: other processes take every next version.
    """
    model = run_at(name or manifest.content["sweep"], registry).root
    newest = max(_versions(model), default=0)
    if newest and (model / str(newest) / MANIFEST).read_bytes() == (manifest.folder / MANIFEST).read_bytes():
        return model / str(newest)
    for version in range(newest + 1, newest + _ATTEMPTS):
        target = model / str(version)
        try:
            with atomic_folder(target) as temporary:
                for file in (*manifest.files, MANIFEST):
                    shutil.copyfile(manifest.folder / file, temporary / file)
                file_digests(temporary)
                verify_bundle(temporary)
        except (UsageError, FileExistsError):
            if not target.exists():
                raise
        else:
            return target
    raise SweepError(f"other processes took {_ATTEMPTS} versions of {model} in a row")


def publish_to_wandb(manifest: Manifest, project: str, name: str = "") -> str:
    """Log a bundle as an artifact of type ``model``; return ``project/name (mode)``.

    Without a configured key W&B works offline: ``wandb sync`` sends the artifact later, from the folder ``wandb`` next
    to the bundle.

    Args:
        manifest: the verified bundle.
        project: ``project`` or ``entity/project``.
        name: the model's name; by default the sweep's.

    Raises:
        SweepError: W&B refuses the artifact.
    """
    import wandb

    from orchestrator.secrets import wandb_mode

    entity, _, last = project.rpartition("/")
    chosen, model = wandb_mode("auto"), name or manifest.content["sweep"]
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
        raise SweepError(f"W&B refused the artifact: {error}", hint="log it offline: WANDB_MODE=offline") from error
    return f"{project}/{model} ({chosen})"


def _versions(model: Path) -> list[int]:
    return [int(path.name) for path in model.glob("*/") if path.name.isdecimal()]
