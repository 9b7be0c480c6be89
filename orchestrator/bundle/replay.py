"""Train a bundle's model again, from the bundle alone, and compare weights and metrics with the recorded ones."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from orchestrator.bundle.bundle_manifest import CHECKPOINT, CONFIG, Manifest
from orchestrator.errors import UsageError
from orchestrator.training import Checkpoint, Job, Report, fit
from orchestrator.training.class_loading.import_paths import import_from
from orchestrator.training.machine_info import versions

Verdict = Literal["identical", "within tolerance", "differs"]
WEIGHTS = 1e-3
"""Tolerance of a weight, relative to the largest weight of its tensor."""
OBJECTIVE = 0.01
"""Relative tolerance of the objective."""


@dataclass
class Replayed:
    """The result of a replay.

    Attributes:
        verdict: ``identical`` if all weights and all values of the objective are equal bit for bit; ``within
            tolerance`` if each weight is within ``WEIGHTS`` and the objective within ``OBJECTIVE``; else ``differs``.
        epochs: number of epochs trained.
        objective: the recorded value and the new one.
        where: sentences on what differs, the first epoch and the worst tensor first.
        environment: sentences on versions that differ from those of the training.
    """

    verdict: Verdict
    epochs: int
    objective: tuple[float, float]
    where: list[str] = field(default_factory=list)
    environment: list[str] = field(default_factory=list)


def replay(manifest: Manifest, data_arguments: Mapping[str, Any] | None = None) -> Replayed:
    """Train the model again in a temporary folder, as config.json describes, and compare weights and metrics.

    This builds the classes that config.json names, as launching a sweep file does: use it only for bundles you trust.

    Args:
        manifest: the verified bundle.
        data_arguments: arguments of the DataModule to override, such as the folder of its files.

    Raises:
        UsageError: the bundle does not describe its training. Errors of the training are passed on.
    """
    config = manifest.read_json(CONFIG)
    if not config.get("lineage"):
        raise UsageError(f"{manifest.folder} does not say how it was trained", hint="export it again")
    import_from([str(Path.cwd())])
    with tempfile.TemporaryDirectory(prefix="replay-") as folder:
        training = _Training(config, Path(folder), data_arguments or {})
        training.run()
        differences = dict(_differences(manifest.folder / CHECKPOINT, Path(folder) / training.checkpoint.path))
    return _result(manifest, config, training.values, differences)


class _Training:
    """The stages of the bundle's lineage, trained one after another."""

    def __init__(self, config: Mapping[str, Any], folder: Path, data_arguments: Mapping[str, Any]) -> None:
        self._config, self._folder, self._data_arguments = config, folder, data_arguments
        self.values: dict[float, float] = {}
        self._checkpoint: Checkpoint | None = None

    @property
    def checkpoint(self) -> Checkpoint:
        """The last checkpoint. Raises UsageError if there is none."""
        if self._checkpoint is None:
            raise UsageError("the training reported no epoch", hint="check that the DataModule provides data")
        return self._checkpoint

    def run(self) -> None:
        for segment, stage in enumerate(self._config["lineage"]):
            self._until = stage["until"]
            fit(self._job(segment, stage), self._report)

    def _job(self, segment: int, stage: Mapping[str, Any]) -> Job:
        data = stage["data"]
        if data is not None:
            data = {**data, "init_args": {**data["init_args"], **self._data_arguments}}
        return Job(
            trial=stage["trial"],
            segment=segment,
            seed=stage["seed"],
            metric=self._config["metric"],
            required=self._config["required"],
            model=stage["model"],
            data=data,
            trainer=stage["trainer"],
            folder=str(self._folder / "trials" / f"{stage['trial']:04d}"),
            checkpoint=asdict(self._checkpoint) if self._checkpoint else None,
            new_params=segment > 0,
            threads=self._config["threads"],
            progress=self._config.get("progress", {}),
        )

    def _report(self, report: Report) -> bool:
        self.values[report.epoch] = report.metrics[self._config["metric"]]
        self._checkpoint = report.checkpoint
        return bool(report.epoch < self._until)


def _differences(recorded: Path, trained: Path) -> Iterator[tuple[str, float]]:
    """Yield each tensor that differs, with the difference relative to its largest weight.

    The difference is infinite if the shapes differ or only one checkpoint has the tensor.
    """
    old, new = _weights(recorded), _weights(trained)
    for name in old.keys() | new.keys():
        if name not in old or name not in new or old[name].shape != new[name].shape:
            yield name, math.inf
        elif not torch.equal(old[name], new[name]):
            yield name, _relative_difference(old[name], new[name])


def _weights(path: Path) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    return weights


def _relative_difference(recorded: Tensor, trained: Tensor) -> float:
    old, new = recorded.double(), trained.double()
    difference = float((old - new).abs().max() / old.abs().max().clamp_min(1e-12))
    return difference if math.isfinite(difference) else math.inf


def _result(
    manifest: Manifest, config: Mapping[str, Any], values: Mapping[float, float], differences: Mapping[str, float]
) -> Replayed:
    metric, epoch = config["metric"], config["epoch"]
    recorded = _recorded_values(config)
    then, now = recorded[epoch], values.get(epoch, math.nan)
    where = [*_first_epoch(metric, recorded, values), *_worst_tensor(differences)]
    close = max(differences.values(), default=0.0) <= WEIGHTS and abs(now - then) <= OBJECTIVE * max(abs(then), 1e-12)
    verdict: Verdict = "identical" if not where else "within tolerance" if close else "differs"
    environment = list(_changed_versions(manifest)) if where else []
    return Replayed(verdict, len(values), (then, now), where, environment)


def _recorded_values(config: Mapping[str, Any]) -> dict[float, float]:
    """Return the objective by epoch of the last stage: earlier epochs are not those of the exported weights."""
    start = config["lineage"][-2]["until"] if len(config["lineage"]) > 1 else 0
    values = {float(epoch): metrics.get(config["metric"]) for epoch, metrics in config["reports"].items()}
    return {epoch: math.nan if value is None else value for epoch, value in values.items() if epoch > start}


def _first_epoch(metric: str, recorded: Mapping[float, float], values: Mapping[float, float]) -> Iterator[str]:
    for epoch in sorted(recorded):
        then, now = recorded[epoch], values.get(epoch, math.nan)
        if then != now and not (math.isnan(then) and math.isnan(now)):
            yield f"{metric} differs from epoch {epoch:g} on: {then:.9g} then, {now:.9g} now"
            return


def _worst_tensor(differences: Mapping[str, float]) -> Iterator[str]:
    if differences:
        name, difference = max(differences.items(), key=lambda item: item[1])
        amount = f"by {difference:.2g} of its largest" if difference < math.inf else "in shape, or only one has it"
        yield f"{len(differences)} tensors differ, most of all {name}: {amount}"


def _changed_versions(manifest: Manifest) -> Iterator[str]:
    recorded = manifest.content.get("versions") or {}
    installed = versions(recorded)
    for package, then in recorded.items():
        now = installed.get(package, "not installed")
        if now != then and package != "python":
            yield f"{package} was {then} and is {now}"
