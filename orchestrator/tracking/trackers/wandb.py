"""W&B: a run a trial and one for the sweep, written offline by W&B itself, and sent where it is online."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from orchestrator.rundir import RunDirectory
from orchestrator.secrets import wandb_mode
from orchestrator.spec.parts import Part
from orchestrator.state import ENDED, SweepState, Trial
from orchestrator.tracking import wandb_transaction_log
from orchestrator.tracking.metric_stream import STEP, Point, config, points, summary, tags
from orchestrator.tracking.tracker import Tracker
from orchestrator.tracking.wandb_offline_runs import Ledger, Told, parts, unsent
from orchestrator.tracking.wandb_summary import sweep_values
from orchestrator.tracking.wandb_sync import Shipping
from orchestrator.training.job import Job, tracking_options
from orchestrator.training.loggers import QUIET

_SNAPSHOT_SECONDS = 60.0
"""A trial that runs is written so often; one that has come to an end, at once."""


class WandbTracking(Part):
    """Weights & Biases."""

    project: str = Field(min_length=1, description="The project that runs go to.", examples=["cifar10"])
    mode: Literal["auto", "online", "offline", "disabled"] = Field(
        default="auto", description="auto: online if a login is configured, else offline.", examples=["auto"]
    )
    entity: str | None = Field(default=None, description="The user or team that owns the project.", examples=["team"])
    log_model: Literal["best"] | None = Field(
        default=None, description="best: the winner's checkpoint goes there as an artifact.", examples=["best"]
    )


class Wandb(Tracker):
    """Weights & Biases. One process at a time writes the parts of a sweep: the one beside its driver."""

    name = "wandb"
    summary = "Log to Weights & Biases."
    Options = WandbTracking
    examples = ({"project": "cifar10"},)
    uploads = True

    def __init__(self, run: RunDirectory, *, send: bool = False) -> None:
        self._run, self._ledger, self._send = run, Ledger(run), send
        self._ledger.clean()
        self._shipping: Shipping | None = None
        self._last: dict[int, float] = {}
        self._busy: set[str] = set()

    def follow(self, state: SweepState, *, over: bool) -> None:
        """Write what is new of each trial, then send it where that is wanted and a server answers."""
        options = state.spec["tracking"]["wandb"]
        for number in sorted(state.trials):
            self._follow_trial(state, state.trials[number], options, over)
        if over:
            self._write_sweep(state, options)
        if self._send or wandb_mode(options["mode"]) == "online":
            self._shipping = self._shipping or Shipping(self._run, self._ledger, options)
            self._busy = set() if over else {self._named(state, n, options)["id"] for n in state.running}
            self._shipping.begin(self._busy)

    def settle(self) -> bool:
        """Send the rest, one batch after another, while something arrives."""
        if self._shipping is not None:
            for part in parts(self._run):
                if not part.sent and part.kind == "segment":
                    wandb_transaction_log.settled(part.log, patience=1.0)
            self._shipping.finish()
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

    def _follow_trial(self, state: SweepState, trial: Trial, options: dict[str, Any], over: bool) -> None:
        named = self._named(state, trial.number, options)
        told = self._ledger.of(named["id"])
        status = f"{trial.status} {len(trial.failures)} {trial.stopped_by.get('rule', '')}"
        if status == told.status and not set(trial.reports) - set(told.epochs):
            return
        running = trial.status == "running" and not over
        if running and time.monotonic() - self._last.setdefault(trial.number, time.monotonic()) < _SNAPSHOT_SECONDS:
            return
        self._last[trial.number] = time.monotonic()
        fresh = points(self._run, trial, state.objective.metric, told.epochs)
        self._write(
            named,
            told,
            fresh,
            config=config(state, trial),
            tags=tags(trial),
            summary=summary(state, trial),
            failed=trial.status == "failed",
        )
        told.epochs, told.status = sorted(trial.reports), status
        self._ledger.save()

    def _write(
        self,
        named: dict[str, Any],
        told: Told,
        fresh: list[Point],
        *,
        config: dict[str, object],
        tags: list[str],
        summary: dict[str, object],
        failed: bool,
    ) -> None:
        run = begin(self._run.root, named, told, config=config, tags=tags, job_type="trial")
        run.define_metric("epoch", hidden=True)
        run.define_metric(STEP, hidden=True)
        by_epoch = {name for point in fresh if point.of_epoch for name in point.values}
        for name in sorted({name for point in fresh for name in point.values}):
            run.define_metric(name, step_metric="epoch" if name in by_epoch else STEP)
        for step, point in enumerate(fresh, told.rows):
            at = {"epoch": point.epoch} | ({STEP: point.step} if point.step is not None else {})
            run.log(point.values | at, step=step)
        run.summary.update(summary)
        end(run, exit_code=1 if failed else 0)
        told.rows, told.parts = told.rows + len(fresh), told.parts + 1

    def _write_sweep(self, state: SweepState, options: dict[str, Any]) -> None:
        """The sweep's own run, once it has ended: written anew for each end that it comes to."""
        named = self._named(state, "sweep", options)
        told, status = self._ledger.of(named["id"]), f"{state.status} {state.seq}"
        if told.status == status or not any(trial.status in ENDED for trial in state.trials.values()):
            return
        run = begin(
            self._run.root, named, told, config={"sweep": state.spec["name"]}, tags=[state.status], job_type="sweep"
        )
        logged, verdict = sweep_values(self._run, state)
        run.log(logged, step=told.rows)
        run.summary.update(verdict)
        if options["log_model"]:
            _log_best(self._run, state, run, named)
        end(run)
        told.rows, told.parts, told.status = told.rows + 1, told.parts + 1, status
        self._ledger.save()

    def _named(self, state: SweepState, trial: int | str, options: dict[str, Any]) -> dict[str, Any]:
        return tracking_options({"wandb": options}, self._run, state.started, trial)["wandb"]


def begin(root: Path, named: dict[str, Any], told: Told, **about: Any) -> Any:
    """A W&B run that waits for no network: the next part of the run of that id."""
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
        settings=wandb.Settings(**QUIET, x_sync_dir_suffix=f"part-{told.parts}"),
        **about,
    )


def end(run: Any, exit_code: int = 0) -> None:
    """Let it come to its end on the disk. Raises OSError where that does not happen."""
    log = Path(run.settings.sync_file)
    run.finish(exit_code=exit_code)
    if not wandb_transaction_log.settled(log):
        raise OSError(f"W&B has not written {log} to its end")


def _log_best(folder: RunDirectory, state: SweepState, run: Any, named: dict[str, Any]) -> None:
    """The checkpoint of the best trial's best epoch, if it is there."""
    import wandb

    trial = state.winner()
    best = state.objective.best(trial) if trial else None
    held = trial.checkpoints.get(best.epoch) if trial and best else None
    if trial is None or best is None or held is None or not folder.fetch(held.path).is_file():
        return
    about = {"trial": trial.number, "epoch": best.epoch, state.objective.metric: best.value, "sha256": held.sha256}
    artifact = wandb.Artifact(f"{named['id']}-best", type="model", metadata=about)
    artifact.add_file(str(folder.resolve(held.path)), name="model.ckpt")
    run.log_artifact(artifact, aliases=["best"])
