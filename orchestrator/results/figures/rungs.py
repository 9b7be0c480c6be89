"""The funnel: how many trials came to each rung, and what became of them there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.results.figures.figure import STATUSES, WENT_ON, Figure, finished, hatched
from orchestrator.rundir import RunDirectory
from orchestrator.state import SweepState, Trial

# What may become of a trial between one rung and the next, in the order drawn.
FATES = ("went on", "finished", "stopped", "set_aside", "failed", "running", "interrupted")


@dataclass(frozen=True)
class Rung:
    """The trials that finished ``epoch`` epochs, and how many of them came to which fate before the next rung."""

    epoch: int
    reached: int
    fates: dict[str, int]


def rungs_of(state: SweepState) -> list[Rung]:
    """The first epoch, the epochs at which trials were compared, and the last; empty where none was compared."""
    compared = {epoch for trial in state.trials.values() for epoch in _compared(trial)}
    reached = [trial for trial in state.trials.values() if trial.epoch]
    if not compared or not reached:
        return []
    epochs = sorted(compared | {1, max(trial.epoch for trial in reached)})
    nexts: Sequence[float] = [*epochs[1:], float("inf")]
    return [_rung(epoch, after, reached) for epoch, after in zip(epochs, nexts, strict=True)]


def _compared(trial: Trial) -> list[int]:
    rungs = [on["rung"] for on in trial.promotions if "rung" in on]
    return [*rungs, trial.stopped_by["rung"]] if "rung" in trial.stopped_by else rungs


def _rung(epoch: int, after: float, reached: Sequence[Trial]) -> Rung:
    here = [trial for trial in reached if trial.epoch >= epoch]
    fates = dict.fromkeys(FATES, 0)
    for trial in here:
        fates["went on" if trial.epoch >= after else trial.status] += 1
    return Rung(epoch, len(here), fates)


def rungs(run: RunDirectory, state: SweepState) -> Figure | None:
    """The funnel; None where the scheduler has compared nothing."""
    found = rungs_of(state)
    return draw(found, len(state.trials), _saved(state)) if found else None


def draw(found: Sequence[Rung], trials: int, saved: float | None) -> Figure:
    import plotly.graph_objects as go

    plot = go.Figure()
    labels = [f"epoch {rung.epoch}" for rung in found]
    for fate in FATES:
        counts = [rung.fates[fate] for rung in found]
        if not any(counts):
            continue
        look = STATUSES.get(fate)
        plot.add_bar(
            y=labels,
            x=counts,
            orientation="h",
            name=look.words if look else fate,
            marker={
                "color": look.colour if look else WENT_ON,
                "pattern": hatched(look.hatch if look else ""),
            },
            text=[str(count) if count else "" for count in counts],
            textposition="inside",
            textangle=0,
            insidetextfont={"color": "#ffffff", "weight": 600},
            insidetextanchor="middle",
            hovertemplate=f"%{{y}}: %{{x}} {look.words if look else fate}<extra></extra>",
        )
    plot.update_layout(barmode="stack", bargap=0.25, legend_traceorder="normal")
    plot.update_yaxes(autorange="reversed")
    plot.update_xaxes(title_text="trials")
    said = "Each bar is the trials that came so far; its parts are what became of them before the next rung."
    return finished("rungs", _title(found, saved), said, plot, 150 + 44 * len(found))


def _title(found: Sequence[Rung], saved: float | None) -> str:
    last = found[-1]
    title = f"{last.reached} of {found[0].reached} trials came to epoch {last.epoch}"
    return title + (f"; {saved:.0%} of the epochs were saved" if saved else "")


def _saved(state: SweepState) -> float | None:
    """The share of epochs that were not trained, of those that all ended trials would have had; None if unknown."""
    most = (state.spec.get("trainer") or {}).get("max_epochs")
    ended = [trial for trial in state.trials.values() if trial.status in ("finished", "stopped")]
    if not isinstance(most, int) or most <= 0 or not ended:
        return None
    return max(0.0, 1 - sum(trial.epoch for trial in ended) / (most * len(ended)))
