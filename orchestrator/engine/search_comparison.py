"""What a search would have cost and found on curves that are on record, over many seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from orchestrator.engine.recorded_curves import Recorded
from orchestrator.engine.simulator import simulate
from orchestrator.errors import UsageError
from orchestrator.journal import Event
from orchestrator.policies import foreign_searcher
from orchestrator.spec import SweepSpec, from_mapping, plugin_of
from orchestrator.state import SweepState

Say = Callable[[str], None]


@dataclass(frozen=True)
class Figures:
    """One search: medians over its ``seeds``. ``hours`` are None where nobody knows how long an epoch takes.

    ``best`` is the objective's best value, ``found`` the share of seeds that saw the best on record, ``to_best`` how
    many epochs had been spent until then (of those that did), ``regret`` how much worse than it the best is, and
    ``past_end`` the share of epochs that lie past the end of a curve on record.
    """

    search: str
    workers: int
    seeds: int
    trials: float
    epochs: float
    hours: float | None
    best: float | None
    found: float
    to_best: float | None
    regret: float | None
    past_end: float


@dataclass
class _Run:
    """One seed's, as it is told of it. Losses: lower is better."""

    recorded: Recorded
    trials: int = 0
    epochs: int = 0
    best: float = math.inf
    best_at: int = 0
    hours: float = 0.0
    past_end: float = 0.0

    def observe(self, state: SweepState, event: Event) -> None:
        if event.type == "trial.suggested":
            self.trials += 1
        elif event.type == "segment.reported":
            self.epochs += 1
            objective = self.recorded.objective
            loss = objective.loss(objective.value(event["metrics"]))
            if math.isfinite(loss) and loss < self.best:
                self.best, self.best_at = loss, self.epochs


def compare(recorded: Recorded, asked: Sequence[str], workers: int, seeds: int, say: Say) -> list[Figures]:
    """Random search without early stopping, the search on record and the one asked for (``key=value``), in this order.

    Args:
        recorded: the curves, and the search as it was.
        asked: fields of the spec, as ``--set`` takes them; none for the search as it was.
        workers: trials at once. The search on record is tried with as many.
        seeds: each search runs under so many.
        say: told of each search before it begins.

    Raises SpecError where the fields make no valid spec, UsageError where the searcher is one that only the journal
    names.
    """
    random = from_mapping(recorded.spec, ["searcher=random", "scheduler=fifo", *_bounds(asked)])
    was = None if recorded.durations is None else from_mapping(recorded.spec)
    wanted = from_mapping(recorded.spec, asked)
    if foreign_searcher(wanted) and not any(text.startswith("searcher=") for text in asked):
        raise UsageError(
            f"{foreign_searcher(wanted)} is named by the run directory alone, and nothing there is imported",
            hint=f"name it yourself: --searcher {foreign_searcher(wanted)}",
        )
    listed = [random]
    if was is not None and not foreign_searcher(was) and was not in listed:
        listed.append(was)
    if wanted not in listed:
        listed.append(wanted)
    return [figures(recorded, spec, workers, seeds, say) for spec in listed]


def _bounds(asked: Sequence[str]) -> list[str]:
    """What is asked for beside the searcher and the scheduler."""
    return [text for text in asked if not text.startswith(("searcher", "scheduler"))]


def figures(recorded: Recorded, spec: SweepSpec, workers: int, seeds: int, say: Say) -> Figures:
    """One search under so many seeds."""
    name = search_name(spec)
    say(f"simulating {name}: {seeds} seeds, {workers} at once")
    runs = [_run(recorded, spec, workers, seed) for seed in range(seeds)]
    bests = [run.best for run in runs]
    found = [run for run in runs if run.best <= recorded.best < math.inf]
    best = median(bests)
    known = math.isfinite(best)
    return Figures(
        name,
        workers,
        seeds,
        median(run.trials for run in runs),
        median(run.epochs for run in runs),
        None if recorded.durations is None else median(run.hours for run in runs),
        recorded.objective.loss(best) if known else None,
        len(found) / seeds,
        median(run.best_at for run in found) if found else None,
        best - recorded.best if known else None,
        sum(run.past_end for run in runs) / seeds,
    )


def _run(recorded: Recorded, spec: SweepSpec, workers: int, seed: int) -> _Run:
    recorded.past_end, run = 0, _Run(recorded)
    ran = simulate(
        spec.model_copy(update={"seed": seed}),
        curve=recorded.curve,
        seconds=recorded.seconds,
        slots=workers,
        seed=seed,
        observer=run.observe,
    )
    run.hours = ran.seconds / 3600
    run.past_end = recorded.past_end / max(1, run.epochs)
    return run


def search_name(spec: SweepSpec) -> str:
    """Its searcher and scheduler: ``tpe + asha``."""
    labels = [plugin_of(options).label(options) for options in (spec.searcher, spec.scheduler)]
    return " + ".join(labels)


def as_it_was(recorded: Recorded, state: SweepState) -> Figures:
    """The sweep itself: what it cost and found, by its journal."""
    objective = state.objective
    reports = [report for trial in state.trials.values() for report in trial.reports.values()]
    winner = state.winner()
    best = objective.best(winner) if winner else None
    seen = winner.reports[best.epoch].time if winner and best else 0.0
    return Figures(
        f"as it was: {search_name(from_mapping(state.spec))}",
        state.slots,
        1,
        len(state.trials),
        len(reports),
        state.active_seconds / 3600,
        best.value if best else None,
        float(best is not None and objective.loss(best.value) <= recorded.best),
        sum(report.time <= seen for report in reports) if best else None,
        objective.loss(best.value) - recorded.best if best else None,
        0.0,
    )
