"""Which parameters tell the best trials from the rest: Optuna's PED-ANOVA."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from orchestrator.results.figures.figure import STATUSES, Figure, finished, inert
from orchestrator.results.figures.trial_columns import Axis, Trials, axes, trials
from orchestrator.rundir import RunDirectory
from orchestrator.space import Space
from orchestrator.state import SweepState

LEAST = 10  # trials with a value; of fewer nothing can be said
_GOOD = 5  # Optuna: at least five trials above the quantile
_BARS = 20


@dataclass(frozen=True)
class Importance:
    """``shares`` of each parameter that varies, by full name, greatest first; they sum to one, or are all zero.

    A share says how well the parameter tells the best ``quantile`` of the ``trials`` from all of them.
    """

    shares: dict[str, float]
    shorts: dict[str, str]
    quantile: float
    trials: int

    @property
    def first(self) -> str | None:
        """The parameter that matters most; None where none does."""
        name, share = next(iter(self.shares.items()))
        return name if share > 0 else None


_known: WeakKeyDictionary[SweepState, tuple[int, str, Importance | None]] = WeakKeyDictionary()


def importance_of(state: SweepState) -> Importance | None:
    """PED-ANOVA [Watanabe et al. 2023, arXiv 2304.10255] of the trials' values; None of fewer than ten, or all alike.

    Not fANOVA: that takes many times as long with 10,000 trials, and leaves out conditional parameters. It has no
    chance in it: the same trials give the same shares. Made once for all figures.
    """
    known = _known.get(state)
    if known is None or known[:2] != (state.seq, state.status):
        known = (state.seq, state.status, _importance(state))
        _known[state] = known
    return known[2]


def _importance(state: SweepState) -> Importance | None:
    found, varying = trials(state), axes(state)
    valued = len(found.order)
    losses = found.losses[found.order]
    if valued < LEAST or not varying or losses[0] == losses[-1]:
        return None
    quantile = min(0.5, max(0.1, _GOOD / valued))
    divergences = _ped_anova(state, found, varying, quantile)
    total = sum(divergences.values())
    shares = {name: value / total if total > 0 else 0.0 for name, value in divergences.items()}
    ordered = dict(sorted(shares.items(), key=lambda item: -item[1]))
    return Importance(ordered, {axis.name: axis.short for axis in varying}, quantile, valued)


def _ped_anova(state: SweepState, found: Trials, varying: list[Axis], quantile: float) -> dict[str, float]:
    import optuna

    names = [axis.name for axis in varying]
    evaluator_of = optuna.importance.PedAnovaImportanceEvaluator
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is marked as experimental
        study = _study(state, found, names)
        answer = evaluator_of(target_quantile=quantile).evaluate(study, names, target=_loss)
    return {name: max(0.0, float(answer[name])) if math.isfinite(answer[name]) else 0.0 for name in names}


def _loss(trial: Any) -> float:
    return float(trial.value)


def _study(state: SweepState, found: Trials, names: list[str]) -> Any:
    """The trials with a value as Optuna's, lower is better."""
    import optuna
    from optuna.trial import FrozenTrial, TrialState

    class Held(optuna.storages.InMemoryStorage):
        """Hands out what it is given, and copies nothing: `Study.add_trial` takes half a second for a thousand."""

        trials: list[FrozenTrial]

        def get_all_trials(self, study_id: int, deepcopy: bool = True, states: Any = None) -> list[FrozenTrial]:
            return self.trials

    space = Space(state.spec["space"])
    domains = {name: space[name] for name in names}
    distributions = {name: domain.optuna_distribution() for name, domain in domains.items()}
    kept = {name: distribution for name, distribution in distributions.items() if distribution is not None}

    def frozen(number: int, place: int) -> FrozenTrial:
        given, loss = found.params[place], float(found.losses[place])
        point = {name: domains[name].encode(given[name]) for name in kept if name in given}
        its = {name: kept[name] for name in point}
        return FrozenTrial(number, TrialState.COMPLETE, loss, None, None, point, its, {}, {}, {}, number)

    storage = Held()
    storage.trials = [frozen(number, place) for number, place in enumerate(np.sort(found.order).tolist())]
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # it tells of every new study
    try:
        return optuna.create_study(storage=storage)
    finally:
        optuna.logging.set_verbosity(before)


def importance(run: RunDirectory, state: SweepState) -> Figure | None:
    """A bar for each parameter; None where there are too few trials, or nothing varies."""
    found = importance_of(state)
    return draw(found, state.objective.metric) if found else None


def draw(found: Importance, metric: str) -> Figure:
    import plotly.graph_objects as go

    listed = list(found.shares.items())[:_BARS]
    shares = [share for _, share in listed]
    bars = go.Bar(
        x=shares,
        y=list(range(len(listed))),
        orientation="h",
        marker_color=STATUSES["finished"].colour,
        text=[f"{share:.0%}" for share in shares],
        textposition="outside",
        cliponaxis=False,
        hovertext=[inert(name, 200) for name, _ in listed],
        hovertemplate="%{hovertext}: %{x:.1%}<extra></extra>",
    )
    plot = go.Figure(bars)
    labels = [inert(found.shorts[name], 28) for name, _ in listed]
    plot.update_yaxes(autorange="reversed", tickvals=list(range(len(listed))), ticktext=labels, showgrid=False)
    plot.update_xaxes(title_text="share of importance", tickformat=".0%", range=[0, 1.12 * max(shares) or 1])
    return finished("importance", _title(found), _caption(found, metric), plot, 150 + 34 * len(listed))


def _title(found: Importance) -> str:
    if found.first is None:
        return "No parameter tells the best trials from the rest (PED-ANOVA)"
    return f"{found.shorts[found.first]} matters most: {found.shares[found.first]:.0%} of the importance (PED-ANOVA)"


def _caption(found: Importance, metric: str) -> str:
    cut = f" The first {_BARS} of {len(found.shares)} are drawn." if len(found.shares) > _BARS else ""
    few = " With so few trials this is a hint at most." if found.trials < 50 else ""
    return (
        f"How well each parameter by itself tells the best {found.quantile:.0%} of {found.trials} trials, by {metric}, "
        f"from all of them (Optuna's PED-ANOVA); trials that were stopped early count with what they had reached."
        f"{cut}{few}"
    )
