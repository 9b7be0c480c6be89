"""Measure early stopping within one pass: is the best of eight configurations found after a quarter of their training?

    python -m benchmarks.one_pass [--seeds 30] [--on earlier] [--choose] [--live N]
    python -m benchmarks.one_pass --record RUN… --as reporting

The configurations are drawn from the space of ``search_spaces/tiny_gpt.yaml``, and each was trained once by one pass:
``benchmarks/tiny_gpt_curves.csv`` has their reports. For each seed eight of them are drawn and searched on these
curves by the sweep file's own scheduler in the product's simulator, two trials at a time at the recorded speeds. The
search has a quarter of the optimizer steps, and a quarter of the tokens, that training all eight takes; a trial that
trains towards its next report counts as if it were there. The trial that is the best then is chosen, and its loss after
the whole pass compared with the lowest of the eight.

Held out
  The scheduler's settings were chosen with ``--choose`` on the trainings recorded as ``choosing``, when the space had
  warm-ups of 0.02 to 0.3. Those recorded as ``earlier`` are of that space, too. The figures are of those recorded as
  ``reporting``: configurations of the space as it is, trained later, by which nothing was chosen.
Live
  ``--live N`` also launches the first N eights under Ray on this machine, and takes the chosen trial from their
  journals. Its last loss is still the recorded one, as is that of the best.

Seed noise
  Some configurations were trained under several seeds. Two trainings of one configuration differ, in 19 of 20 pairs, by
  at most ``1.96 · sqrt(2)`` standard deviations: less than that is no difference between configurations. The share
  within one standard deviation of such a difference is printed, too. The standard deviation is that of configurations
  in the better half of the pool: high learning rates have some ten times as much, and are not near the best.
Beside it
  Plain Ray Tune's ASHA (``ray.tune.schedulers.ASHAScheduler``) with the same first rung and reduction factor, given
  the same reports in the same simulator; and sequential training, one configuration after another to its end.
Recording
  ``sweep launch tiny_gpt --set searcher=random --set scheduler=fifo --set budget.trials=N``; for ``--as seeds`` with
  ``repeats.seeds`` and ``searcher.try_first``. The runs replace what was recorded for the same purpose.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import random
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.engine.recorded_curves import Recorded
from orchestrator.engine.search_comparison import simulate_on
from orchestrator.journal import Event
from orchestrator.journal import read as read_journal
from orchestrator.results.run_state import find, read_state
from orchestrator.spec import SweepSpec, load
from orchestrator.state import Objective, SweepState
from orchestrator.sweep import launch

CURVES = Path(__file__).with_name("tiny_gpt_curves.csv")
EIGHT, QUARTER, WORKERS = 8, 0.25, 2
TARGET = 0.9
CONTEXT = 128  # tokens of a sample
PURPOSES = ("choosing", "earlier", "reporting", "seeds")
Params = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Training:
    """One training: its parameters, and of each report tokens, steps, seconds and loss."""

    params: Params
    reports: tuple[tuple[int, int, float, float], ...]

    @property
    def loss(self) -> float:
        """The loss after the whole pass."""
        return self.reports[-1][3]

    @property
    def tokens(self) -> int:
        return self.reports[-1][0]

    def steps(self, tokens: float) -> float:
        return tokens / (CONTEXT * dict(self.params)["data.batch_size"])


@dataclass
class Pool:
    """What was recorded: a training of each configuration for one purpose, and all trainings by configuration."""

    trainings: list[Training] = field(default_factory=list)
    repeats: dict[Params, list[float]] = field(default_factory=lambda: defaultdict(list))

    @property
    def noise(self) -> float:
        """The standard deviation of the last loss between seeds, pooled over `repeated`."""
        groups = self.repeated
        if not groups:
            raise SystemExit("error: no good configuration was trained under several seeds; add runs with --as seeds")
        squares = sum(statistics.variance(losses) * (len(losses) - 1) for losses in groups)
        return math.sqrt(squares / sum(len(losses) - 1 for losses in groups))

    @property
    def repeated(self) -> list[list[float]]:
        """The last losses of each configuration with several seeds that is in the better half of the pool."""
        middle = statistics.median(training.loss for training in self.trainings)
        return [each for each in self.repeats.values() if len(each) > 1 and statistics.mean(each) <= middle]

    def eight(self, seed: int) -> list[Training]:
        """Return the configurations that belong to a seed."""
        return random.Random(f"eight {seed}").sample(self.trainings, EIGHT)


def recorded() -> list[dict[str, Any]]:
    """Return the file's rows, one a report."""
    with CURVES.open(newline="") as lines:
        return list(csv.DictReader(lines))


def read(purpose: str) -> Pool:
    """Return the trainings that were recorded for a purpose."""
    rows: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
    for row in recorded():
        rows[row["purpose"], row["trial"]].append(row)
    pool = Pool()
    for (kind, _), reports in rows.items():
        params = tuple((name, float(reports[0][name])) for name in sorted(reports[0]) if "." in name)
        places = [(int(r["tokens"]), int(r["steps"]), float(r["seconds"]), float(r["val_loss"])) for r in reports]
        training = Training(params, tuple(places))
        if kind == purpose:
            pool.trainings.append(training)
        pool.repeats[params].append(training.loss)
    return pool


def record(runs: Sequence[str], purpose: str) -> None:
    """Write the finished trials of runs for a purpose, in place of those recorded for it before."""
    rows = [row for row in recorded() if row["purpose"] != purpose]
    for name in runs:
        state = read_state(find(name))
        for trial in state.trials.values():
            for at, report in sorted(trial.reports.items()) if trial.status == "finished" else ():
                place = {"purpose": purpose, "trial": f"{name}/{trial.number}", "tokens": int(at), "steps": report.step}
                loss = {"seconds": round(report.seconds or 0, 1), "val_loss": round(trial.value(at, "val_loss"), 5)}
                rows.append(place | loss | {key: f"{value:.6g}" for key, value in sorted(trial.params.items())})
    with CURVES.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"{CURVES}: {len({row['trial'] for row in rows})} trainings, {CURVES.stat().st_size / 1e3:.0f} kB")


@dataclass
class Spent:
    """Notes which trial is the best when a share of the training is spent.

    Args:
        eight: the trainings, by trial.
    """

    eight: Sequence[Training]
    chosen: int | None = None
    share: float = 0.0
    reached: dict[int, float] = field(default_factory=lambda: defaultdict(float))
    under_way: set[int] = field(default_factory=set)
    best: tuple[float, int] = (math.inf, -1)
    is_over: bool = False

    def started(self, trial: int) -> None:
        self.under_way.add(trial)
        self._note()

    def reported(self, trial: int, tokens: float, loss: float) -> None:
        self.reached[trial] = max(self.reached[trial], tokens)
        self.best = min(self.best, (loss, trial))
        self._note()

    def ended(self, trial: int) -> None:
        self.under_way.discard(trial)
        self._note()

    def _note(self) -> None:
        """Take the best trial, as long as the quarter is not spent."""
        places = [self._place(trial) for trial in range(len(self.eight))]
        all_steps = sum(each.steps(each.tokens) for each in self.eight)
        steps = sum(each.steps(place) for each, place in zip(self.eight, places, strict=True)) / all_steps
        tokens = sum(places) / sum(each.tokens for each in self.eight)
        self.share = max(self.share, steps)
        self.is_over |= max(steps, tokens) > QUARTER
        if not self.is_over and self.best[1] >= 0:
            self.chosen = self.best[1]

    def _place(self, trial: int) -> float:
        """Return how far a trial is; on its way to a report, where that will be."""
        places, reached = [report[0] for report in self.eight[trial].reports], self.reached[trial]
        following = [place for place in places if place > reached + 1]
        return following[0] if trial in self.under_way and following else reached

    def observe(self, state: SweepState, event: Event) -> None:
        """Take note of a sweep's event."""
        if event.type == "segment.started":
            self.started(event["trial"])
        elif event.type == "segment.reported":
            self.reported(event["trial"], event.progress, float(event["metrics"]["val_loss"]))
        elif event.type in ("trial.finished", "trial.stopped", "trial.set_aside"):
            self.ended(event["trial"])


def sweep_of(eight: Sequence[Training], seed: int, scheduler: Mapping[str, Any] | None = None) -> SweepSpec:
    """Return the shipped sweep of these configurations."""
    points = [dict(each.params) for each in eight]
    points = [{**point, "data.batch_size": int(point["data.batch_size"])} for point in points]
    searcher = json.dumps({"name": "random", "try_first": points})
    overrides = [f"seed={seed}", f"searcher={searcher}", f"budget={json.dumps({'trials': EIGHT})}"]
    overrides += ["space.model.warmup={uniform: [0.01, 0.3]}"]  # of those by which the settings were chosen, too
    return load("tiny_gpt", overrides + ([f"scheduler={json.dumps(scheduler)}"] if scheduler else []))


def replay(eight: Sequence[Training], seed: int, scheduler: Mapping[str, Any] | None = None) -> Spent:
    """Search eight configurations on their curves."""
    spec = sweep_of(eight, seed, scheduler)
    curves: list[list[dict[float, dict[str, float]]]] = [
        [{tokens: {"val_loss": loss} for tokens, _, _, loss in each.reports}] for each in eight
    ]
    rates = [each.reports[-1][2] / each.tokens for each in eight]
    points = spec.searcher.try_first  # type: ignore[attr-defined]
    recorded = Recorded(
        spec.model_dump(mode="json"), Objective("val_loss", "min"), points, curves, spec.progress.unit, rates
    )
    spent = Spent(eight)
    simulate_on(recorded, spec, WORKERS, seed, spent.observe)
    return spent


def live(eight: Sequence[Training], seed: int) -> Spent:
    """Search eight configurations by training them, under Ray."""
    spent = Spent(eight)
    with tempfile.TemporaryDirectory() as folder:
        outcome = launch(sweep_of(eight, seed), folder)
        for event in read_journal(outcome.run.journal):
            spent.observe(outcome.state, event)
    return spent


def sequential(eight: Sequence[Training], seed: int) -> Spent:
    """Train one configuration after another to its end."""
    spent = Spent(eight)
    for trial, training in enumerate(eight):
        spent.started(trial)
        for tokens, _, _, loss in training.reports:
            spent.reported(trial, tokens, loss)
        spent.ended(trial)
    return spent


def rays_asha(spec: SweepSpec) -> dict[str, Any]:
    """Return Ray's ASHA with the first rung and the reduction factor of a sweep's scheduler."""
    scheduler: Any = spec.scheduler
    arguments = {"time_attr": "tokens_seen", "max_t": int(spec.horizon or 0), "grace_period": int(scheduler.grace)}
    arguments["reduction_factor"] = scheduler.reduction_factor
    return {"name": "ray", "class_path": "ray.tune.schedulers.ASHAScheduler", "init_args": arguments}


def gaps(pool: Pool, seeds: Iterable[int], search: Callable[[Sequence[Training], int], Spent]) -> list[Any]:
    """Return by seed how far the chosen one's last loss is above the lowest, and what the whole search takes."""
    found = []
    for seed in seeds:
        eight = pool.eight(seed)
        spent = search(eight, seed)
        loss = math.inf if spent.chosen is None else eight[spent.chosen].loss
        found.append((loss - min(each.loss for each in eight), spent.share))
    return found


def table(pool: Pool, rows: Mapping[str, list[Any]]) -> dict[str, dict[str, float]]:
    """Print a row for each search, and return the figures."""
    noise = pool.noise
    print(
        f"{len(pool.trainings)} configurations, last losses {min(t.loss for t in pool.trainings):.3f} to "
        f"{max(t.loss for t in pool.trainings):.3f}; standard deviation between seeds {noise:.4f} (of "
        f"{sum(map(len, pool.repeated))} trainings of {len(pool.repeated)} configurations)"
    )
    print(
        f"{'after a quarter of the training':34}{'within noise':>14}{'within 1 sd':>13}{'median gap':>12}{'in all':>9}"
    )
    figures = {}
    for name, found in rows.items():
        losses = [gap for gap, _ in found]
        within = sum(gap <= 1.96 * math.sqrt(2) * noise for gap in losses) / len(losses)
        near = sum(gap <= math.sqrt(2) * noise for gap in losses) / len(losses)
        gap, share = statistics.median(losses), statistics.mean(share for _, share in found)
        print(f"{f'{name}, n = {len(losses)}':34}{within:>14.0%}{near:>13.0%}{gap:>12.4f}{share:>9.0%}")
        figures[name] = {"n": len(losses), "within": within, "within 1 sd": near, "gap": gap, "share": share}
    return figures


_KINDS: dict[str, dict[str, Any]] = {
    "asha": {"name": "asha"},
    "asha promote": {"name": "asha", "promote": True},
    "guarded_asha": {"name": "guarded_asha"},
    "hyperband": {"name": "hyperband"},
}
CHOICES: dict[str, dict[str, Any]] = {
    f"{name}, grace {grace}k, factor {factor}": {**scheduler, "grace": grace * 1000, "reduction_factor": factor}
    for name, scheduler in _KINDS.items()
    for grace in (45, 90)
    for factor in (2, 3, 4)
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--on", choices=PURPOSES[:-1], default="reporting", help="the trainings to draw eights from")
    parser.add_argument("--choose", action="store_true", help="compare settings of the scheduler, on other trainings")
    parser.add_argument("--live", type=int, default=0, metavar="N", help="train the first N eights, some minutes each")
    parser.add_argument("--record", nargs="+", metavar="RUN", default=[])
    parser.add_argument("--as", dest="purpose", choices=PURPOSES, default="reporting")
    args = parser.parse_args()
    if args.record:
        record(args.record, args.purpose)
        return 0
    pool, seeds = read("choosing" if args.choose else args.on), range(args.seeds)
    if args.choose:
        table(pool, {n: gaps(pool, seeds, lambda e, s, c=c: replay(e, s, c)) for n, c in CHOICES.items()})  # type: ignore[misc]
        return 0
    asha = rays_asha(load("tiny_gpt"))
    rows = {
        "this project, the shipped file": gaps(pool, seeds, replay),
        "Ray Tune's ASHA": gaps(pool, seeds, lambda eight, seed: replay(eight, seed, asha)),
        "one after another": gaps(pool, seeds, sequential),
    }
    if args.live:
        rows["this project, live"] = gaps(pool, range(args.live), live)
    figures = table(pool, rows)
    print(json.dumps({"target": TARGET, "noise": pool.noise, "searches": figures}))
    return 0 if figures["this project, the shipped file"]["within"] >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
