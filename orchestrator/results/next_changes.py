"""What to change in the next sweep, by what this one has shown: each finding with the command that acts on it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median, pstdev

from orchestrator.codec import readable
from orchestrator.results.equal_progress import equal_losses
from orchestrator.results.figures.importance import importance_of
from orchestrator.results.figures.trial_columns import Axis, axes, equal_trials
from orchestrator.results.terminal_tables import duration
from orchestrator.rundir import RunDirectory
from orchestrator.state import SweepState

_TRIALS = 30  # with a value, before a parameter is called dead or an edge is believed
_DEAD = 0.02  # of the importance
_BEST = 5  # trials that must be near an edge
_EDGE = 0.05  # of the range
_FAILED = 0.05  # of the trials' time, from which on failures are worth a line


@dataclass(frozen=True)
class Change:
    """A finding, and the command that acts on it."""

    finding: str
    command: str


def next_changes(run: RunDirectory, state: SweepState) -> list[Change]:
    """Return what to change next, the dearest first; empty if nothing stands out, or there is too little to tell."""
    return [*_failures(run, state), *_edges(state), *_noise(run, state), *_dead(state)]


def _failures(run: RunDirectory, state: SweepState) -> Iterator[Change]:
    """Yield what failed segments took, if that is much of the time of all trials."""
    lost, kinds = 0.0, dict[str, int]()
    for trial in state.trials.values():
        for failure in trial.failures:
            started = trial.segment_starts.get(failure.segment)
            later = [at for at in trial.segment_starts.values() if started is not None and at > started]
            ended = min(later, default=trial.steady_ended or state.steady_time)
            reports = [report.steady_time for report in trial.reports.values() if report.segment == failure.segment]
            kept = max(reports, default=started) if started is not None else None
            if kept is not None:
                lost += max(0.0, ended - kept)
                kinds[failure.kind] = kinds.get(failure.kind, 0) + 1
    if state.trial_seconds > 0 and lost > _FAILED * state.trial_seconds:
        words = ", ".join(f"{count} of kind {kind}" for kind, count in sorted(kinds.items()))
        yield Change(
            f"Failures took {duration(lost)}, {lost / state.trial_seconds:.0%} of the time of all trials: {words}.",
            f"sweep why {run.name} --trial {next(n for n, trial in state.trials.items() if trial.failures)}",
        )


def _edges(state: SweepState) -> Iterator[Change]:
    """Yield the ranges at whose end the best trials are."""
    columns = equal_trials(state)
    if len(columns.order) < _TRIALS:
        return
    best = columns.order[:_BEST]
    for axis in axes(state):
        domain = state.spec["space"].get(axis.name)
        ends = next((value for value in domain.values() if isinstance(value, list)), None) if domain else None
        if axis.words or not ends or len(ends) != 2:
            continue
        low, high = (math.log10(end) if axis.log else float(end) for end in ends)
        shares = [(float(axis.places[place]) - low) / (high - low or 1.0) for place in best]
        for edge, near, factor in (("lower", max(shares) <= _EDGE, 0.1), ("upper", min(shares) >= 1 - _EDGE, 10.0)):
            if near:
                yield _wider(state, axis, list(ends), edge, factor)


def _wider(state: SweepState, axis: Axis, ends: list[float], edge: str, factor: float) -> Change:
    kind = next(key for key, value in state.spec["space"][axis.name].items() if isinstance(value, list))
    place, span = (0 if edge == "lower" else 1), ends[1] - ends[0]
    moved: float = ends[place] * factor if axis.log else ends[place] + (span if edge == "upper" else -span)
    wider = [moved, ends[1]] if edge == "lower" else [ends[0], moved]
    written = "{" + f"{kind}: [{wider[0]:g}, {wider[1]:g}]" + "}"
    return Change(
        f"The {_BEST} best trials are at the {edge} edge of {axis.name}, {ends[place]:g}: a wider range may be better.",
        f"sweep launch FILE --set 'space.{axis.name}={written}'",
    )


def _noise(run: RunDirectory, state: SweepState) -> Iterator[Change]:
    """Yield whether seeds differ more than the best configurations do; only repeated configurations tell."""
    groups: dict[int, list[float]] = {}
    for number, loss in equal_losses(state).losses.items():
        groups.setdefault(state.trials[number].configuration, []).append(loss)
    repeated = [losses for losses in groups.values() if len(losses) > 1]
    if len(repeated) < 3:
        return
    noise = median(pstdev(losses) for losses in repeated)
    means = sorted(sum(losses) / len(losses) for losses in repeated)[:_BEST]
    if noise > means[-1] - means[0]:
        yield Change(
            f"Seeds differ by {noise:.3g} ({state.objective.metric}), the {len(means)} best configurations by "
            f"{means[-1] - means[0]:.3g}: their order is mostly noise.",
            f"sweep confirm {run.name}",
        )


def _dead(state: SweepState) -> Iterator[Change]:
    """Yield the parameters that matter for nothing, with their best value."""
    ranked = importance_of(state)
    winner = state.winner()
    if ranked is None or winner is None or ranked.trials < _TRIALS or ranked.first is None:
        return
    for name, share in ranked.shares.items():
        if share < _DEAD and name in winner.params:
            value = readable(winner.params[name])
            yield Change(
                f"{name} has {share:.0%} of the importance: fix it, and the rest is searched more closely.",
                f"sweep launch FILE --set 'space.{name}={{const: {value}}}'",
            )
