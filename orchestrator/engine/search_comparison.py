"""Compare searches on recorded curves, over many seeds: what each costs and finds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Any

from orchestrator.engine.controller import Observer
from orchestrator.engine.recorded_curves import Recorded
from orchestrator.engine.simulator import Simulated, simulate
from orchestrator.engine.virtual_cluster import simulated_span
from orchestrator.errors import UsageError
from orchestrator.journal import Event
from orchestrator.policies import foreign_searcher
from orchestrator.progress import counted, whole
from orchestrator.spec import SweepSpec, from_mapping, plugin_of
from orchestrator.state import SweepState

Say = Callable[[str], None]


@dataclass(frozen=True)
class Figures:
    """One search: medians over its seeds.

    Args:
        search: searcher and scheduler.
        workers: trials at once.
        seeds: number of runs.
        trials: of a run.
        unit: of progress.
        trained: by a run, over all trials, in that unit.
        hours: of a run; None if no times are recorded.
        best: the objective's best value.
        found: share of the seeds that reached the best value on record.
        to_best: what was trained until then, by those that did.
        regret: how much worse than the best on record ``best`` is.
        past_end: share of reports past the end of a recorded curve.
    """

    search: str
    workers: int
    seeds: int
    trials: float
    unit: str
    trained: float
    hours: float | None
    best: float | None
    found: float
    to_best: float | None
    regret: float | None
    past_end: float


@dataclass
class _Run:
    """One seed's run, as an observer. Losses: lower is better."""

    recorded: Recorded
    trials: int = 0
    reports: int = 0
    trained: float = 0
    best: float = math.inf
    best_at: float = 0
    hours: float = 0.0
    past_end: float = 0.0
    reached: dict[int, float] = field(default_factory=dict)

    def observe(self, state: SweepState, event: Event) -> None:
        """Count trials and what they train, and keep the best loss."""
        if event.type == "trial.suggested":
            self.trials += 1
        elif event.type == "segment.reported":
            self.reports += 1
            before = self.reached.get(event["trial"], 0)
            self.trained = whole(round(self.trained + max(0, event.progress - before), 6))
            self.reached[event["trial"]] = event.progress
            objective = self.recorded.objective
            loss = objective.loss(objective.value(event["metrics"]))
            if math.isfinite(loss) and loss < self.best:
                self.best, self.best_at = loss, self.trained


def compare(recorded: Recorded, overrides: Sequence[str], workers: int, seeds: int, say: Say) -> list[Figures]:
    """Compare random search without early stopping, the recorded search and the requested one, in this order.

    Args:
        recorded: the curves, and the recorded search.
        overrides: ``key=value``, as ``--set`` takes them; none for the recorded search.
        workers: trials at once.
        seeds: runs of each search.
        say: called with a line before each search.

    Raises:
        SpecError: The overrides make no valid spec.
        UsageError: The searcher's class is named by the journal alone.
    """
    random = from_mapping(recorded.spec, ["searcher=random", "scheduler=fifo", *_without_policies(overrides)])
    original = None if recorded.rates is None else from_mapping(recorded.spec)
    requested = from_mapping(recorded.spec, overrides)
    if foreign_searcher(requested) and not any(text.startswith("searcher=") for text in overrides):
        raise UsageError(
            f"{foreign_searcher(requested)} is named by the run directory alone, and nothing there is imported",
            hint=f"name it yourself: --searcher {foreign_searcher(requested)}",
        )
    specs = [random]
    if original is not None and not foreign_searcher(original) and original not in specs:
        specs.append(original)
    if requested not in specs:
        specs.append(requested)
    return [figures(recorded, spec, workers, seeds, say) for spec in specs]


def _without_policies(overrides: Sequence[str]) -> list[str]:
    """Return the overrides of other fields than the searcher and the scheduler."""
    return [text for text in overrides if not text.startswith(("searcher", "scheduler"))]


def figures(recorded: Recorded, spec: SweepSpec, workers: int, seeds: int, say: Say) -> Figures:
    """Run one search under so many seeds."""
    name = search_name(spec)
    say(f"simulating {name}: {counted(seeds, 'seed')}, {workers} at once")
    runs = [_run(recorded, spec, workers, seed) for seed in range(seeds)]
    bests = [run.best for run in runs]
    successful = [run for run in runs if run.best <= recorded.best < math.inf]
    best = median(bests)
    has_value = math.isfinite(best)
    return Figures(
        name,
        workers,
        seeds,
        median(run.trials for run in runs),
        recorded.unit,
        median(run.trained for run in runs),
        None if recorded.rates is None else median(run.hours for run in runs),
        recorded.objective.loss(best) if has_value else None,
        len(successful) / seeds,
        median(run.best_at for run in successful) if successful else None,
        best - recorded.best if has_value else None,
        sum(run.past_end for run in runs) / seeds,
    )


def _run(recorded: Recorded, spec: SweepSpec, workers: int, seed: int) -> _Run:
    recorded.past_end, run = 0, _Run(recorded)
    described = spec.model_copy(update={"seed": seed})
    run.hours = simulate_on(recorded, described, workers, seed, run.observe).seconds / 3600
    run.past_end = recorded.past_end / max(1, run.reports)
    return run


def simulate_on(recorded: Recorded, spec: SweepSpec, workers: int, seed: int, observer: Observer) -> Simulated:
    """Simulate a search on recorded curves: its trials report where and at the speed that the recorded ones did.

    Args:
        recorded: the curves.
        spec: the search, with its own seed.
        workers: trials at once.
        seed: of the durations.
        observer: called with the state and each event.
    """
    end = spec.longest or recorded_end(recorded)
    span = simulated_span(spec, end)
    # A search that says itself how often to report does not report where the recorded trials did.
    as_recorded = spec.report_span == from_mapping(recorded.spec).report_span

    def place(params: Mapping[str, Any], number: int) -> float:
        return recorded.place(params, number) if as_recorded else number * span

    def seconds(params: Mapping[str, Any], number: int) -> float:
        rate, before = recorded.rate(params), place(params, number - 1) if number > 1 else 0
        return 1.0 if rate is None else rate * max(0.0, min(end, place(params, number)) - before)

    return simulate(
        spec,
        curve=lambda params, spans: recorded.metrics(params, whole(round(spans * span, 6))),
        seconds=seconds,
        slots=workers,
        seed=seed,
        observer=observer,
        places=lambda params, number: place(params, number) / span,
    )


def recorded_end(recorded: Recorded) -> float:
    """Return where the longest recorded training ends."""
    return max(place for curves in recorded.curves for curve in curves for place in curve)


def search_name(spec: SweepSpec) -> str:
    """Return the searcher and scheduler: ``tpe + asha``."""
    labels = [plugin_of(options).label(options) for options in (spec.searcher, spec.scheduler)]
    return " + ".join(labels)


def recorded_figures(recorded: Recorded, state: SweepState) -> Figures:
    """Return the figures of the sweep itself, from its journal."""
    objective, winner = state.objective, state.winner()
    best = objective.best(winner) if winner else None
    best_at = winner.reports[best.progress].steady_time if winner and best else 0.0
    spans = [
        (later - earlier, trial.reports[later].steady_time)
        for trial in state.trials.values()
        for earlier, later in pairwise([0, *sorted(trial.reports)])
    ]
    return Figures(
        f"as it was: {search_name(from_mapping(state.spec))}",
        state.slots,
        1,
        len(state.trials),
        state.unit,
        _sum(span for span, _ in spans),
        state.active_seconds / 3600,
        best.value if best else None,
        float(best is not None and objective.loss(best.value) <= recorded.best),
        _sum(span for span, at in spans if at <= best_at) if best else None,
        objective.loss(best.value) - recorded.best if best else None,
        0.0,
    )


def _sum(spans: Iterable[float]) -> float:
    return whole(round(sum(spans), 6))
