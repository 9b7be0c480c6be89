"""What early stopping has cost and saved: the winners that were probably lost, computed from the journal alone."""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from orchestrator.errors import UsageError
from orchestrator.policies.finals import LEVEL
from orchestrator.policies.scheduler import scheduler_class
from orchestrator.results.early_stops import SETTLED, full_length, saved_progress
from orchestrator.results.end_forecast import LEAST, Array, forecast, narrowest
from orchestrator.spec import SweepSpec
from orchestrator.state import SweepState, Trial, rung_of, spec_in_force

FOLDS = 5
BINS = 5
PREDICTIVE = 0.5
"""The chance from which on a rung predicts: that its best share holds the eventual best."""
SAFE = 0.9
"""The chance that the rung suggested instead must have."""
_MOST_DRAWS, _FEWEST_DRAWS, _DRAWN = 500, 200, 2_000_000


@dataclass(frozen=True)
class RungAudit:
    """A rung: the share that continues at least, and the chance that it holds the trial that would end as the best.

    ``entered`` counts the trials there, ``seen`` those of them that trained to the end.
    """

    rung: float
    entered: int
    seen: int
    share: float
    chance: float


@dataclass(frozen=True)
class Bin:
    """Forecasts of trials that were then trained to the end: the mean probability, and how often it came true."""

    forecast: float
    observed: float
    n: int


@dataclass(frozen=True)
class Audit:
    """What ended early, what it saved, and what was probably lost by it.

    Attributes:
        trials: with a finite value that did not fail, and that have ended or wait.
        finished: of them, trained to the end.
        behind: of the finished, those in the worse half at the first rung: they show how such trials end.
        stopped: the trials that ended, or wait, before the end.
        saved: the progress that trials were spared, those without a value included.
        saved_share: the same as a share of training all to the end that did not fail.
        lost: the expected number of them that would have beaten the best; None if the data cannot say.
        low: the lower end of an interval for that number, which holds it with probability ``level``.
        high: the upper end.
        level: see ``low``.
        any_lost: the probability that it is not zero.
        probabilities: by trial, that it would have beaten the best.
        rungs: each rung, and what it has shown.
        bins: forecasts against outcomes, by probability.
    """

    trials: int
    finished: int
    behind: int
    stopped: int
    saved: float
    saved_share: float
    level: float = LEVEL
    lost: float | None = None
    low: int | None = None
    high: int | None = None
    any_lost: float | None = None
    probabilities: dict[int, float] = field(default_factory=dict)
    rungs: list[RungAudit] = field(default_factory=list)
    bins: list[Bin] = field(default_factory=list)

    @property
    def unpredictive(self) -> RungAudit | None:
        """The first rung whose best share does probably not hold the eventual best."""
        return next((rung for rung in self.rungs if rung.chance < PREDICTIVE), None)

    @property
    def safe_grace(self) -> float | None:
        """The first rung beyond all that do not predict, and that holds the eventual best; None if none does."""
        for place, rung in enumerate(self.rungs):
            if all(later.chance >= SAFE for later in self.rungs[place:]):
                return rung.rung
        return None


def audit_of(state: SweepState, *, check: bool = True) -> Audit:
    """Return the audit of a sweep; without ``check`` its forecasts are not compared with outcomes.

    Raises:
        UsageError: The sweep has several objectives or a population, or no trial has reached its end.
    """
    curves = _Curves(state)
    progress = np.array([min(trial.progress, curves.places[-1]) for trial in curves.trials])
    random = np.random.default_rng((state.spec.get("seed") or 0) % 2**32)
    numbers = [trial.number for trial in curves.trials]
    result = audited(curves.losses, curves.places, progress, numbers=numbers, share=curves.share, random=random)
    saved, share = saved_progress(state)
    result = replace(result, saved=saved, saved_share=share)
    ended = np.isfinite(curves.losses[:, -1])
    return replace(result, bins=_bins(curves.losses, ended, random)) if check and result.probabilities else result


def audited(
    losses: Array,
    places: list[float],
    progress: Array,
    *,
    numbers: list[int],
    share: float,
    random: np.random.Generator,
) -> Audit:
    """Return the audit of trials whose best loss up to each place is known; see `forecast` for ``losses``.

    Args:
        losses: shape (trials, places); finite at the last place for the trials that were trained to the end.
        places: the rungs, and the end.
        progress: of each trial.
        numbers: of each trial.
        share: the share of a rung's trials that continues at least.
        random: where the draws come from.
    """
    ended = np.isfinite(losses[:, -1])
    counts = _counts(losses, places, progress)
    if ended.all():
        return Audit(**counts, lost=0.0, low=0, high=0, any_lost=0.0)
    ends = forecast(losses, _draws(len(losses)), random)
    if ends is None:
        return Audit(**counts)
    better = ends[:, ~ended] < np.nanmin(losses)
    lost = better.sum(axis=1)
    low, high = narrowest(lost.astype(float), LEVEL)
    stopped = [number for number, end in zip(numbers, ended, strict=True) if not end]
    return Audit(
        **counts,
        lost=float(lost.mean()),
        low=low,
        high=high,
        any_lost=float((lost > 0).mean()),
        probabilities=dict(zip(stopped, better.mean(axis=0).tolist(), strict=True)),
        rungs=_rungs(losses, places, ends, share),
    )


def _counts(losses: Array, places: list[float], progress: Array) -> dict[str, Any]:
    ended = np.isfinite(losses[:, -1])
    spared = float((places[-1] - progress[~ended]).sum())
    return {
        "trials": len(losses),
        "finished": int(ended.sum()),
        "behind": int((ended & (losses[:, 0] > np.nanmedian(losses[:, 0]))).sum()),
        "stopped": int((~ended).sum()),
        "saved": spared,
        "saved_share": spared / (places[-1] * len(losses)),
    }


class _Curves:
    """The best losses up to each rung and the end, shape (trials, places), of the trials that have one."""

    def __init__(self, state: SweepState) -> None:
        spec = spec_in_force(state)
        scheduler = scheduler_class(spec.scheduler.name)
        if state.objective.also:
            raise UsageError(
                "an audit is of one objective, and this sweep has several", hint="sweep results shows them"
            )
        if scheduler.population:
            raise UsageError(f"scheduler {spec.scheduler.name} trains a population, which stops no trial early")
        self.trials = [t for t in state.trials.values() if t.status in SETTLED and _finite_end(t, state)]
        horizon = full_length(state)
        if not any(_is_at_end(trial, horizon) for trial in self.trials):
            raise _none_at_end(state)
        self.places = _places(spec, state, horizon)
        self.share = 1 / getattr(spec.scheduler, "reduction_factor", 4)
        self.losses = np.array([self._row(state, trial, horizon) for trial in self.trials])

    def _row(self, state: SweepState, trial: Trial, horizon: float) -> list[float]:
        """Return a trial's best loss up to each place that it has reached."""
        reached = math.inf if _is_at_end(trial, horizon) else trial.progress
        row = []
        for place in self.places:
            best = state.objective.best(trial, place) if place <= reached else None
            row.append(math.nan if best is None else state.objective.loss(best.value))
        first = state.objective.best(trial)
        assert first is not None
        return [state.objective.loss(first.value), *row[1:]] if all(map(math.isnan, row)) else _filled(row)


def _none_at_end(state: SweepState) -> UsageError:
    """Return the error for a sweep without a trial that was trained to its end with a value."""
    message = f"no trial with a finite {state.objective.metric}{state.objective.within} was trained to its end"
    later = "the sweep has ended: sweep extend continues it, if it has limits to raise"
    return UsageError(message, hint=later if state.status == "completed" else "wait for more reports")


def _filled(row: list[float]) -> list[float]:
    """Return a row without gaps before its last value: a place without a report has the next one's loss."""
    last = max(place for place, loss in enumerate(row) if not math.isnan(loss))
    for place in range(last - 1, -1, -1):
        row[place] = row[place + 1] if math.isnan(row[place]) else row[place]
    return row


def _finite_end(trial: Trial, state: SweepState) -> bool:
    """Return whether a trial has a value, and has not diverged."""
    return trial.stopped_by.get("rule") != "not_finite" and state.objective.best(trial) is not None


def _is_at_end(trial: Trial, horizon: float) -> bool:
    return trial.status == "finished" or 0 < horizon <= trial.progress  # 0: nobody knows the end yet


def _places(spec: SweepSpec, state: SweepState, horizon: float) -> list[float]:
    """Return the rungs below the end and the end: the scheduler's, else where its decisions were, else halvings."""
    places = scheduler_class(spec.scheduler.name).rungs(spec.scheduler, horizon)
    if not places:
        decided = {rung_of(decision) for t in state.trials.values() for decision in (*t.promotions, t.stopped_by)}
        places = sorted(rung for rung in decided if rung is not None)
    below = [place for place in places if 0 < place < horizon]
    if not below or len(below) > 12:
        below = [horizon / 2**power for power in (4, 3, 2, 1)]
    return [*below, horizon]


def _draws(trials: int) -> int:
    return min(_MOST_DRAWS, max(_FEWEST_DRAWS, _DRAWN // max(trials, 1)))


def _rungs(losses: Array, places: list[float], ends: Array, share: float) -> list[RungAudit]:
    """Return for each rung the chance that its best share holds the trial that would end as the best."""
    found, ended = [], np.isfinite(losses[:, -1])
    for place, rung in enumerate(places[:-1]):
        entered = np.flatnonzero(np.isfinite(losses[:, place]))
        kept = max(1, int(share * len(entered)))
        order = entered[np.argsort(losses[entered, place], kind="stable")]
        best = entered[np.argmin(ends[:, entered], axis=1)]
        chance = float(np.isin(best, order[:kept]).mean())
        found.append(RungAudit(rung, len(entered), int(ended[entered].sum()), kept / len(entered), chance))
    return found


def _bins(losses: Array, ended: Array, random: np.random.Generator) -> list[Bin]:
    """Return forecasts that finished trials end below the quartiles of all of them, against what came of them.

    Each is made without the trial's own end, and that of a fifth of the others.
    """
    finished = np.flatnonzero(ended)
    if len(finished) < 2 * LEAST:
        return []
    levels = np.quantile(losses[finished, -1], [0.25, 0.5, 0.75])
    pairs: list[tuple[Array, Array]] = []
    for fold in range(FOLDS):
        hidden = finished[fold::FOLDS]
        for place in range(losses.shape[1] - 1):
            masked = losses.copy()
            masked[hidden, place + 1 :] = np.nan
            ends = forecast(masked, _FEWEST_DRAWS, random, np.isin(np.arange(len(losses)), hidden))
            if ends is not None:
                below = (ends[:, hidden, None] < levels).mean(axis=0)
                pairs.append((below.ravel(), (losses[hidden, -1:] < levels).ravel().astype(float)))
    return binned(pairs)


def binned(pairs: list[tuple[Array, Array]], bins: int = BINS) -> list[Bin]:
    """Return probabilities and outcomes in bins of equal width; empty ones are left out."""
    if not pairs:
        return []
    forecasts, outcomes = (np.concatenate(columns) for columns in zip(*pairs, strict=True))
    edges = [number / bins for number in range(1, bins)]
    places = np.array([bisect.bisect_right(edges, probability) for probability in forecasts.tolist()])
    return [
        Bin(float(forecasts[places == place].mean()), float(outcomes[places == place].mean()), int(n))
        for place in range(bins)
        if (n := (places == place).sum())
    ]
