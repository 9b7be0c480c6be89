"""W&B: one run for each trial and one for the sweep, written offline by W&B itself, and uploaded in online mode."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from orchestrator.progress import axis
from orchestrator.rundir import RunDirectory
from orchestrator.secrets import wandb_mode
from orchestrator.spec.parts import Part
from orchestrator.state import ENDED, SweepState, Trial
from orchestrator.tracking import wandb_transaction_log
from orchestrator.tracking.metric_stream import STEP, Point, config, points, summary, tags
from orchestrator.tracking.tracker import Tracker
from orchestrator.tracking.wandb_offline_runs import Ledger, Written, parts, unsent
from orchestrator.tracking.wandb_summary import sweep_values
from orchestrator.tracking.wandb_sync import WandbSync
from orchestrator.training.job import Job, tracking_options
from orchestrator.training.loggers import QUIET

_SNAPSHOT_SECONDS = 60.0
"""How often a running trial is written; an ended one is written at once."""


class WandbTracking(Part):
    """Weights & Biases."""

    project: str = Field(min_length=1, description="The project of the runs.", examples=["cifar10"])
    mode: Literal["auto", "online", "offline", "disabled"] = Field(
        default="auto", description="auto: online if a login is configured, else offline.", examples=["auto"]
    )
    entity: str | None = Field(default=None, description="The user or team that owns the project.", examples=["team"])
    log_model: Literal["best"] | None = Field(
        default=None, description="best: the winner's checkpoint goes there as an artifact.", examples=["best"]
    )


class Wandb(Tracker):
    """Weights & Biases. Only the tracker's process beside the driver writes the parts of a sweep's runs."""

    name = "wandb"
    summary = "Log to Weights & Biases."
    Options = WandbTracking
    examples = ({"project": "cifar10"},)
    uploads = True

    def __init__(self, run: RunDirectory, *, send: bool = False) -> None:
        self._run, self._ledger, self._send = run, Ledger(run), send
        self._ledger.clean()
        self._sync: WandbSync | None = None
        self._last: dict[int, float] = {}
        self._busy: set[str] = set()

    def follow(self, state: SweepState, *, ended: bool) -> None:
        """Write what is new of each trial; in online mode, start to send it."""
        options = state.spec["tracking"]["wandb"]
        for number in sorted(state.trials):
            self._follow_trial(state, state.trials[number], options, ended)
        if ended:
            self._write_sweep(state, options)
        if self._send or wandb_mode(options["mode"]) == "online":
            self._sync = self._sync or WandbSync(self._run, self._ledger, options)
            self._busy = set() if ended else {self._named(state, n, options)["id"] for n in state.running}
            self._sync.begin(self._busy)

    def settle(self) -> bool:
        """Send the rest in batches, until a batch sends nothing. Return whether everything was sent."""
        if self._sync is not None:
            for part in parts(self._run):
                if not part.sent and part.kind == "segment":
                    wandb_transaction_log.wait_for_end(part.log, patience=1.0)
            self._sync.finish()
        return all(part.sent for part in parts(self._run))

    @classmethod
    def is_enabled(cls, options: dict[str, Any]) -> bool:
        """Return False if the mode is ``disabled``."""
        return bool(options["mode"] != "disabled")

    @classmethod
    def logger(cls, job: Job, options: dict[str, Any]) -> Any:
        """Return a logger that starts W&B, offline, when the user's code uses it."""
        from orchestrator.training.loggers import wandb

        return wandb.logger(job, options)

    @classmethod
    def finish(cls, logger: Any) -> None:
        """End the segment's W&B run, if there is one."""
        logger.finish()

    @classmethod
    def not_uploaded(cls, run: RunDirectory, command: str) -> str:
        """Return how many W&B runs wait, and the command that sends them."""
        return unsent(run)

    def _follow_trial(self, state: SweepState, trial: Trial, options: dict[str, Any], ended: bool) -> None:
        named = self._named(state, trial.number, options)
        written = self._ledger.of(named["id"])
        status = f"{trial.status} {len(trial.failures)} {trial.stopped_by.get('rule', '')}"
        if status == written.status and not set(trial.reports) - set(written.epochs):
            return
        running = trial.status == "running" and not ended
        if running and time.monotonic() - self._last.setdefault(trial.number, time.monotonic()) < _SNAPSHOT_SECONDS:
            return
        self._last[trial.number] = time.monotonic()
        new_points = points(self._run, trial, state.objective.metric, written.epochs)
        self._write(
            named,
            written,
            new_points,
            config=config(state, trial),
            tags=tags(trial),
            summary=summary(state, trial),
            failed=trial.status == "failed",
            unit=state.unit,
        )
        written.epochs, written.status = sorted(trial.reports), status
        self._ledger.save()

    def _write(
        self,
        named: dict[str, Any],
        written: Written,
        new_points: list[Point],
        *,
        config: dict[str, object],
        tags: list[str],
        summary: dict[str, object],
        failed: bool,
        unit: str,
    ) -> None:
        """Write new points; a report's own values are drawn over ``unit``."""
        progress = axis(unit)
        run = begin(self._run.root, named, written, config=config, tags=tags, job_type="trial")
        run.define_metric("epoch", hidden=True)
        run.define_metric(STEP, hidden=True)
        run.define_metric(progress, hidden=True)
        reported = {name for point in new_points if point.of_report for name in point.values}
        for name in sorted({name for point in new_points for name in point.values} - {progress}):
            run.define_metric(name, step_metric=progress if name in reported else STEP)
        for step, point in enumerate(new_points, written.rows):
            position = {"epoch": point.epoch} | ({STEP: point.step} if point.step is not None else {})
            position |= {progress: point.progress} if point.of_report else {}
            run.log(point.values | position, step=step)
        run.summary.update(summary)
        end(run, exit_code=1 if failed else 0)
        written.rows, written.parts = written.rows + len(new_points), written.parts + 1

    def _write_sweep(self, state: SweepState, options: dict[str, Any]) -> None:
        """Write the sweep's own run when it ends; a resumed sweep writes another part at its next end."""
        named = self._named(state, "sweep", options)
        written, status = self._ledger.of(named["id"]), f"{state.status} {state.seq}"
        if written.status == status or not any(trial.status in ENDED for trial in state.trials.values()):
            return
        run = begin(
            self._run.root, named, written, config={"sweep": state.spec["name"]}, tags=[state.status], job_type="sweep"
        )
        logged, result = sweep_values(self._run, state)
        run.log(logged, step=written.rows)
        run.summary.update(result)
        if options["log_model"]:
            _log_best(self._run, state, run, named)
        end(run)
        written.rows, written.parts, written.status = written.rows + 1, written.parts + 1, status
        self._ledger.save()

    def _named(self, state: SweepState, trial: int | str, options: dict[str, Any]) -> dict[str, Any]:
        return tracking_options({"wandb": options}, self._run, state.started, trial)["wandb"]


def begin(root: Path, named: dict[str, Any], written: Written, **arguments: Any) -> Any:
    """Start the next part of a W&B run, offline. ``arguments`` are those of ``wandb.init``."""
    import wandb

    return wandb.init(
        project=named["project"],
        entity=named["entity"],
        id=named["id"],
        name=named["name"],
        group=named["group"],
        dir=str(root),
        mode="offline",
        resume="allow",
        settings=wandb.Settings(**QUIET, x_sync_dir_suffix=f"part-{written.parts}"),
        **arguments,
    )


def end(run: Any, exit_code: int = 0) -> None:
    """End a part, and wait until its log is complete on disk. Raises OSError if it is not."""
    log = Path(run.settings.sync_file)
    run.finish(exit_code=exit_code)
    if not wandb_transaction_log.wait_for_end(log):
        raise OSError(f"W&B has not completed {log}")


def _log_best(folder: RunDirectory, state: SweepState, run: Any, named: dict[str, Any]) -> None:
    """Log the checkpoint of the best trial's best report, if it exists."""
    import wandb

    trial = state.winner()
    best = state.objective.best(trial) if trial else None
    checkpoint = trial.checkpoints.get(best.progress) if trial and best else None
    if trial is None or best is None or checkpoint is None or not folder.fetch(checkpoint.path).is_file():
        return
    metadata = {
        "trial": trial.number,
        "epoch": trial.reports[best.progress].epoch,
        state.objective.metric: best.value,
        "sha256": checkpoint.sha256,
    }
    artifact = wandb.Artifact(f"{named['id']}-best", type="model", metadata=metadata)
    artifact.add_file(str(folder.resolve(checkpoint.path)), name="model.ckpt")
    run.log_artifact(artifact, aliases=["best"])
