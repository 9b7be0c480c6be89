"""The same trainings on plain Ray Tune and here, each driver killed at the same points: what is left of what finished?

    python -m tests.chaos.plain_tune [--kills 10] [--seed 0] [--only tune|ours]

Plain Ray Tune is used as its documentation shows: a function that reports and saves a checkpoint each epoch, random
search from a seed, no early stopping; after each ``kill -9`` of the driver ``Tuner.restore(path, trainable,
resume_errored=True)``. Both sides train the same module on two slots for the same epochs, and a driver is killed after
the same number of epochs since it began to report. When a sweep completes, the next begins, until the kills are spent.

A trial is at stake once its last epoch was reported, and the report taken, before a kill. It is lost where it trains
again, or where the completed sweep has no result of its last epoch. Prints both columns, with versions and n.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from orchestrator.engine.process_reaper import MARK, reap
from orchestrator.rundir import run_at
from tests.chaos.drivers import Life, Story, seconds_until_gone, whole_lines
from tests.chaos.forked import ROOT, Forked
from tests.chaos.kills import EPOCHS, SPEC, TRIALS

ATTEMPTS = 3  # drivers in a row that may end with an error before a sweep is given up
PATIENCE = 300.0  # seconds without an epoch
NAME = "plain"


@dataclass
class Column:
    """What became of it. ``work`` counts epochs that were trained."""

    kills: int = 0
    sweeps: int = 0
    at_stake: int = 0
    lost: int = 0
    twice: int = 0
    work: int = 0
    seconds: float = 0.0
    errors: list[str] = field(default_factory=list)


# Plain Ray Tune: this part runs in the driver and its workers


def train(config: dict[str, Any]) -> None:
    """A trial, as the documentation of Ray Tune has it."""
    import lightning as L
    from ray import tune

    from tests.support.tiny import Tiny, TinyData

    class Report(L.Callback):
        def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
            epoch = trainer.current_epoch + 1
            with tempfile.TemporaryDirectory() as folder:
                trainer.save_checkpoint(f"{folder}/checkpoint.ckpt")
                metrics = {"val_loss": float(trainer.callback_metrics["val_loss"]), "epoch": epoch}
                tune.report(metrics, checkpoint=tune.Checkpoint.from_directory(folder))
            _note(config, "reported", epoch)

    _note(config, "started", 0)
    options: dict[str, Any] = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar"), False)
    options |= {"enable_model_summary": False, "accelerator": "cpu", "max_epochs": EPOCHS}
    trainer = L.Trainer(**options, callbacks=[Report()], num_sanity_val_steps=0)
    module = Tiny(learning_rate=config["learning_rate"], **SPEC["model"]["init_args"])
    checkpoint = tune.get_checkpoint()
    if checkpoint is None:
        trainer.fit(module, TinyData())
        return
    with checkpoint.as_directory() as folder:
        trainer.fit(module, TinyData(), ckpt_path=f"{folder}/checkpoint.ckpt", weights_only=True)


def _note(config: dict[str, Any], what: str, epoch: int) -> None:
    """For us who count; one atomic append."""
    line = json.dumps({"trial": config["learning_rate"], "what": what, "epoch": epoch}) + "\n"
    descriptor = os.open(config["ledger"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, line.encode())
    os.close(descriptor)


def drive(folder: Path, seed: int) -> None:
    """Run the sweep in this folder, or go on with it, and write its results."""
    import ray
    from ray import tune
    from ray.tune.search import BasicVariantGenerator

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=os.environ[MARK])
    path = str(folder / NAME)
    trainable = tune.with_resources(train, {"cpu": 0.5})
    if tune.Tuner.can_restore(path):
        tuner = tune.Tuner.restore(path, trainable, resume_errored=True)
    else:
        tuner = tune.Tuner(
            trainable,
            param_space={"learning_rate": tune.loguniform(1e-3, 0.5), "ledger": str(folder / "ledger")},
            tune_config=tune.TuneConfig(
                metric="val_loss",
                mode="min",
                num_samples=TRIALS,
                search_alg=BasicVariantGenerator(max_concurrent=2, random_state=seed),
            ),
            run_config=tune.RunConfig(name=NAME, storage_path=str(folder)),
        )
    results = tuner.fit()
    found = [
        {"trial": (result.config or {}).get("learning_rate"), "epoch": (result.metrics or {}).get("epoch", 0)}
        for result in (results[number] for number in range(len(results)))
    ]
    (folder / "results.json").write_text(json.dumps(found))


# The one who kills


def points(kills: int, seed: int) -> list[tuple[int, float]]:
    """For each kill, the epochs that a driver may see and the seconds it lives on after that."""
    source = random.Random(seed)
    return [(source.randint(1, 16), source.random()) for _ in range(kills)]


def plain(kills: int, seed: int, runs: Path) -> Column:
    column, left = Column(), points(kills, seed)
    began = time.monotonic()
    while left:
        column.sweeps += 1
        _plain_sweep(runs / f"{NAME}-{column.sweeps}", seed, left, column)
    column.seconds = time.monotonic() - began
    return column


def _plain_sweep(folder: Path, seed: int, left: list[tuple[int, float]], column: Column) -> None:
    folder.mkdir()
    ledger, at_stake, failed = folder / "ledger", dict[float, int](), 0
    while not (folder / "results.json").exists() and failed < ATTEMPTS:
        session = Path(tempfile.mkdtemp(prefix="plain-", dir="/tmp"))
        driver = _plain_driver(folder, seed, session)
        try:
            killed = _killed(driver, lambda: whole_lines(ledger).count(b'"reported"'), left[0] if left else None)
        finally:
            driver.kill()
            reap(session, grace=0)
        if killed:
            left.pop(0)
            column.kills += 1
            for trial in _finished(ledger):
                at_stake.setdefault(trial, len(_notes(ledger)))
            failed = 0
        elif driver.returncode:
            failed += 1
            column.errors.append((folder / "stderr").read_text(errors="replace").strip().splitlines()[-1][:200])
    _judge(folder, at_stake, column)


def _plain_driver(folder: Path, seed: int, session: Path) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "SWEEP_"))}
    environment |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", MARK: str(session)}
    command = [sys.executable, "-m", "tests.chaos.plain_tune", "--drive", str(folder), "--seed", str(seed)]
    with (folder / "stdout").open("ab") as out, (folder / "stderr").open("ab") as errors:
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=errors, start_new_session=True)


def _killed(
    driver: Forked | subprocess.Popen[bytes], epochs: Callable[[], int], point: tuple[int, float] | None
) -> bool:
    """Kill the driver at that point. False where it ended first; one that does nothing is killed and has ended."""
    begin = seen = epochs()
    since = time.monotonic()
    while driver.poll() is None:
        if point and epochs() >= begin + point[0]:
            time.sleep(point[1])
            if driver.poll() is None:
                driver.kill()
                driver.wait()
                return True
        if epochs() != seen:
            seen, since = epochs(), time.monotonic()
        if time.monotonic() - since > PATIENCE:
            driver.kill()
        time.sleep(0.01)
    driver.wait()
    return False


def _judge(folder: Path, at_stake: dict[float, int], column: Column) -> None:
    notes = _notes(folder / "ledger")
    results = folder / "results.json"
    found = {row["trial"]: row["epoch"] for row in json.loads(results.read_text())} if results.exists() else {}
    again = {t for t, at in at_stake.items() if any(n["trial"] == t and n["what"] == "started" for n in notes[at:])}
    ends = [note["trial"] for note in notes if note["what"] == "reported" and note["epoch"] == EPOCHS]
    column.at_stake += len(at_stake)
    column.lost += len(again | {trial for trial in at_stake if found.get(trial) != EPOCHS})
    column.twice += len({trial for trial in ends if ends.count(trial) > 1})
    column.work += sum(note["what"] == "reported" for note in notes)


def _notes(ledger: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in whole_lines(ledger).splitlines()]


def _finished(ledger: Path) -> set[float]:
    return {note["trial"] for note in _notes(ledger) if note["what"] == "reported" and note["epoch"] == EPOCHS}


def ours(kills: int, seed: int, runs: Path) -> Column:
    column, left = Column(), points(kills, seed)
    began = time.monotonic()
    while left:
        column.sweeps += 1
        _our_sweep(Story(run_at(f"ours-{column.sweeps}", runs)), left, column)
    column.seconds = time.monotonic() - began
    return column


def _our_sweep(story: Story, left: list[tuple[int, float]], column: Column) -> None:
    run, at_stake, failed = story.run, set[int](), 0
    file = run.root.with_suffix(".yaml")
    file.write_text(json.dumps({**SPEC, "name": run.name}))
    while b'"sweep.completed"' not in story.whole and failed < ATTEMPTS:
        words = ["resume", run.name] if run.exists() else ["launch", str(file)]
        life = Life(words, f"{os.getpid()}-{run.name}", run.root.with_suffix(".stderr"), run.root.parent, fresh=True)
        reported = lambda: whole_lines(Path(run.journal)).count(b'"segment.reported"')  # noqa: E731
        try:
            killed = _killed(life.process, reported, left[0] if left else None)
        finally:
            life.kill()
        if killed:
            left.pop(0)
            column.kills += 1
            story.look()
            at_stake |= set(story.ended)
            failed = 0
        elif life.process.returncode:
            failed += 1
            column.errors.append(life.log.read_text().strip()[-200:])
        seconds_until_gone(life)
        story.verify()
    column.at_stake += len(at_stake)
    column.lost += len((story.lost | story.again) & at_stake)
    column.twice += len(story.again)
    column.work += story.whole.count(b'"segment.reported"')
    column.errors += story.wrong


def table(columns: dict[str, Column], kills: int, seed: int) -> str:
    """Both columns, with n and versions."""
    rows: dict[str, Callable[[Column], str]] = {
        "kill -9 of the driver": lambda c: str(c.kills),
        "sweeps until they were spent": lambda c: str(c.sweeps),
        "trials that had finished before a kill": lambda c: str(c.at_stake),
        "of these lost": lambda c: f"{c.lost} ({100 * c.lost / max(1, c.at_stake):.0f} %)",
        "trials that finished twice": lambda c: str(c.twice),
        "drivers that ended with an error": lambda c: str(len(c.errors)),
        f"epochs trained, {TRIALS * EPOCHS} a sweep needed": lambda c: f"{c.work} of {c.sweeps * TRIALS * EPOCHS}",
        "seconds": lambda c: f"{c.seconds:.0f}",
    }
    lines = [f"n = {kills} kills, seed {seed}; ray {version('ray')}, lightning {version('lightning')}", ""]
    lines += [f"{'':42}" + "".join(f"{name:>18}" for name in columns)]
    lines += [
        f"{label:42}" + "".join(f"{say(column):>18}" for column in columns.values()) for label, say in rows.items()
    ]
    lines += [f"{name}: {error}" for name, column in columns.items() for error in column.errors]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=["tune", "ours"])
    parser.add_argument("--drive", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.drive:
        drive(asked.drive, asked.seed)
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    runs = Path(tempfile.mkdtemp(prefix="beside-"))
    sides = {"plain Ray Tune": plain, "sweep": ours}
    if asked.only:
        sides = {"plain Ray Tune": plain} if asked.only == "tune" else {"sweep": ours}
    columns = {name: side(asked.kills, asked.seed, runs) for name, side in sides.items()}
    print(table(columns, asked.kills, asked.seed))
    mine = columns.get("sweep")
    if mine and (mine.lost or mine.twice or mine.errors):
        print(f"all of it is in {runs}")
        sys.exit(1)
    shutil.rmtree(runs)


if __name__ == "__main__":
    main()
