"""A bundle's model trained again, from the bundle alone, and compared with what it holds."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from orchestrator.bundle.manifest import CHECKPOINT, CONFIG, Manifest
from orchestrator.errors import UsageError
from orchestrator.training import Checkpoint, Job, Report, fit
from orchestrator.training.class_loading.import_paths import import_from
from orchestrator.training.machine_info import versions

Verdict = Literal["identical", "within tolerance", "differs"]
WEIGHTS = 1e-3
"""Of the largest weight of a tensor: by how much others may differ and still be within tolerance."""
OBJECTIVE = 0.01
"""By how much the objective may, of its own size."""


@dataclass
class Replayed:
    """What came of it.

    ``identical``: all weights and all of the objective's values, bit for bit. ``within tolerance``: each weight within
    ``WEIGHTS`` of its tensor's largest, and the objective within ``OBJECTIVE``. ``where`` says in sentences what
    differs, the first epoch and the worst tensor first; ``environment`` what else is not as it was.
    """

    verdict: Verdict
    epochs: int
    objective: tuple[float, float]
    where: list[str] = field(default_factory=list)
    environment: list[str] = field(default_factory=list)


def replay(manifest: Manifest, changed: Mapping[str, Any] | None = None) -> Replayed:
    """Train the model again in a temporary folder, as config.json says, and compare weights and metrics.

    ``changed`` are arguments for the DataModule, such as where its files lie here. This builds the classes that
    config.json names, as launching a sweep file does: only for bundles you trust.

    Raises UsageError where the bundle does not say how it was trained, and whatever the training raises.
    """
    config = manifest.read_json(CONFIG)
    if not config.get("lineage"):
        raise UsageError(f"{manifest.folder} does not say how it was trained", hint="export it again")
    import_from([str(Path.cwd())])
    with tempfile.TemporaryDirectory(prefix="replay-") as folder:
        trained = _Training(config, Path(folder), changed or {})
        trained.run()
        weights = dict(_compared(manifest.folder / CHECKPOINT, Path(folder) / trained.last.path))
    return _judged(manifest, config, trained.values, weights)


class _Training:
    """The stages of the bundle's lineage, one after another."""

    def __init__(self, config: Mapping[str, Any], folder: Path, changed: Mapping[str, Any]) -> None:
        self._config, self._folder, self._changed = config, folder, changed
        self.values: dict[int, float] = {}
        self._checkpoint: Checkpoint | None = None

    @property
    def last(self) -> Checkpoint:
        if self._checkpoint is None:
            raise UsageError("the training reported no epoch", hint="does the DataModule give any data?")
        return self._checkpoint

    def run(self) -> None:
        for segment, stage in enumerate(self._config["lineage"]):
            self._until = stage["until"]
            fit(self._job(segment, stage), self._report)

    def _job(self, segment: int, stage: Mapping[str, Any]) -> Job:
        data = stage["data"]
        if data is not None:
            data = {**data, "init_args": {**data["init_args"], **self._changed}}
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
        )

    def _report(self, report: Report) -> bool:
        self.values[report.epoch] = report.metrics[self._config["metric"]]
        self._checkpoint = report.checkpoint
        return bool(report.epoch < self._until)


def _compared(one: Path, other: Path) -> Iterator[tuple[str, float]]:
    """Of each tensor that differs, by how much of its largest weight; infinity where only one has it, or a shape."""
    held, trained = (_weights(path) for path in (one, other))
    for name in held.keys() | trained.keys():
        if name not in held or name not in trained or held[name].shape != trained[name].shape:
            yield name, math.inf
        elif not torch.equal(held[name], trained[name]):
            yield name, _distance(held[name], trained[name])


def _weights(path: Path) -> dict[str, Tensor]:
    found: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    return found


def _distance(held: Tensor, trained: Tensor) -> float:
    a, b = held.double(), trained.double()
    found = float((a - b).abs().max() / a.abs().max().clamp_min(1e-12))
    return found if math.isfinite(found) else math.inf


def _judged(
    manifest: Manifest, config: Mapping[str, Any], values: Mapping[int, float], weights: Mapping[str, float]
) -> Replayed:
    metric, epoch = config["metric"], config["epoch"]
    known = _recorded(config)
    then, now = known[epoch], values.get(epoch, math.nan)
    where = [*_first_epoch(metric, known, values), *_worst(weights)]
    close = max(weights.values(), default=0.0) <= WEIGHTS and abs(now - then) <= OBJECTIVE * max(abs(then), 1e-12)
    verdict: Verdict = "identical" if not where else "within tolerance" if close else "differs"
    environment = list(_environment(manifest)) if where else []
    return Replayed(verdict, len(values), (then, now), where, environment)


def _recorded(config: Mapping[str, Any]) -> dict[int, float]:
    """The objective by epoch, of those that the last stage trained: the trial's own before a takeover led nowhere."""
    since = config["lineage"][-2]["until"] if len(config["lineage"]) > 1 else 0
    found = {int(epoch): metrics.get(config["metric"]) for epoch, metrics in config["reports"].items()}
    return {epoch: math.nan if value is None else value for epoch, value in found.items() if epoch > since}


def _first_epoch(metric: str, known: Mapping[int, float], values: Mapping[int, float]) -> Iterator[str]:
    for number in sorted(known):
        then, now = known[number], values.get(number, math.nan)
        if then != now and not (math.isnan(then) and math.isnan(now)):
            yield f"{metric} differs from epoch {number} on: {then:.9g} then, {now:.9g} now"
            return


def _worst(weights: Mapping[str, float]) -> Iterator[str]:
    if weights:
        name, by = max(weights.items(), key=lambda found: found[1])
        how = f"by {by:.2g} of its largest" if by < math.inf else "in shape, or it is there once only"
        yield f"{len(weights)} tensors differ, most of all {name}: {how}"


def _environment(manifest: Manifest) -> Iterator[str]:
    """Versions that are not those of the training."""
    recorded = manifest.content.get("versions") or {}
    here = versions(recorded)
    for package, then in recorded.items():
        now = here.get(package, "not installed")
        if now != then and package != "python":
            yield f"{package} was {then} and is {now}"
