"""Rungs figure: how many trials reached each rung, and their fate there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.progress import EPOCHS, counted, place
from orchestrator.results.early_stops import saved_progress
from orchestrator.results.figures.figure import CONTINUED, STATUSES, Figure, bar_pattern, make_figure
from orchestrator.rundir import RunDirectory
from orchestrator.state import SweepState, Trial, rung_of

# The fates of a trial between two rungs, in the order drawn.
FATES = ("continued", "finished", "stopped", "set_aside", "failed", "running", "interrupted")


@dataclass(frozen=True)
class Rung:
    """The number of trials that came as far as ``at``, and how many of them met each fate before the next rung."""

    at: float
    reached: int
    fates: dict[str, int]


def rungs_of(state: SweepState) -> list[Rung]:
    """Return the first place, the rungs, and the last place; empty if nothing was compared."""
    compared = {epoch for trial in state.trials.values() for epoch in _compared(trial)}
    reached = [trial for trial in state.trials.values() if trial.progress]
    if not compared or not reached:
        return []
    first = 1 if state.unit == EPOCHS else min(min(trial.reports) for trial in reached)
    places = sorted(compared | {first, max(trial.progress for trial in reached)})
    nexts: Sequence[float] = [*places[1:], float("inf")]
    return [_rung(at, after, reached) for at, after in zip(places, nexts, strict=True)]


def _compared(trial: Trial) -> list[float]:
    rungs = map(rung_of, (*trial.promotions, trial.stopped_by))
    return [rung for rung in rungs if rung is not None]


def _rung(at: float, after: float, reached: Sequence[Trial]) -> Rung:
    present = [trial for trial in reached if trial.progress >= at]
    fates = dict.fromkeys(FATES, 0)
    for trial in present:
        fates["continued" if trial.progress >= after else trial.status] += 1
    return Rung(at, len(present), fates)


def rungs(run: RunDirectory, state: SweepState) -> Figure | None:
    """Draw the rungs; None if the scheduler compared nothing."""
    data = rungs_of(state)
    return draw(data, saved_progress(state)[1], state.unit) if data else None


def draw(data: Sequence[Rung], saved: float, unit: str = EPOCHS) -> Figure:
    """Draw computed rungs."""
    import plotly.graph_objects as go

    plot = go.Figure()
    labels = [place(rung.at, unit) for rung in data]
    for fate in FATES:
        counts = [rung.fates[fate] for rung in data]
        if not any(counts):
            continue
        style = STATUSES.get(fate)
        plot.add_bar(
            y=labels,
            x=counts,
            orientation="h",
            name=style.words if style else fate,
            marker={
                "color": style.colour if style else CONTINUED,
                "pattern": bar_pattern(style.hatch if style else ""),
            },
            text=[str(count) if count else "" for count in counts],
            textposition="inside",
            textangle=0,
            insidetextfont={"color": "#ffffff", "weight": 600},
            insidetextanchor="middle",
            hovertemplate=f"%{{y}}: %{{x}} {style.words if style else fate}<extra></extra>",
        )
    plot.update_layout(barmode="stack", bargap=0.25, legend_traceorder="normal")
    plot.update_yaxes(autorange="reversed")
    plot.update_xaxes(title_text="trials")
    caption = "Each bar counts the trials that reached the rung; its parts show their fate before the next rung."
    return make_figure("rungs", _title(data, saved, unit), caption, plot, 150 + 44 * len(data))


def _title(data: Sequence[Rung], saved: float, unit: str) -> str:
    last = data[-1]
    title = f"{last.reached:,} of {counted(data[0].reached, 'trial')} reached {place(last.at, unit)}"
    return title + (f"; {saved:.0%} of the training was saved" if saved else "")
