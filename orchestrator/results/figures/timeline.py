"""Timeline figure: segments on the slots of nodes, and the slots' idle time."""

from __future__ import annotations

import heapq
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from orchestrator.journal import store_at
from orchestrator.progress import counted
from orchestrator.results.figures.figure import MUTED, STATUSES, Figure, bar_pattern, escaped, make_figure
from orchestrator.results.figures.trial_columns import Floats, Places
from orchestrator.rundir import RunDirectory
from orchestrator.state import SweepState

if TYPE_CHECKING:
    import plotly.graph_objects as go

# The status of a segment by its last event.
_ENDS = {
    "trial.finished": "finished",
    "trial.stopped": "stopped",
    "trial.failed": "failed",
    "trial.set_aside": "set_aside",
    "trial.promoted": "set_aside",
    "segment.failed": "failed",
}
_SHIFT_EVENTS = ("sweep.launched", "sweep.paused", "sweep.completed")
_RELEVANT_TYPES = "|".join(map(re.escape, (*_ENDS, *_SHIFT_EVENTS, "segment.started")))
_NAMES_NODE = r'segment\.(?:reported|checkpointed)",.*"node":'
_RELEVANT_LINE = re.compile(
    rf'{{"seq":\d+,"lease":\d+,"time":[^"]*,"type":"(?:(?:{_RELEVANT_TYPES})"|{_NAMES_NODE})'.encode()
)
_UNITS = ((3600, "hours"), (60, "minutes"), (1, "seconds"))
_MAX_BARS = 600  # more segments are drawn as lines, which is much faster


@dataclass(frozen=True)
class Span:
    """One segment. Times are Unix seconds; ``lane`` counts the slots of its node from 0."""

    trial: int
    segment: int
    node: str
    started: float
    ended: float
    status: str
    lane: int = 0


@dataclass(frozen=True)
class Shift:
    """The time in which one process ran the sweep, with ``slots`` trials at once."""

    started: float
    ended: float
    slots: int


@dataclass(frozen=True)
class Timeline:
    """All segments on lanes, and the shifts in which the sweep ran."""

    spans: Sequence[Span]
    shifts: Sequence[Shift]

    @cached_property
    def lanes(self) -> dict[tuple[str, int], int]:
        """The row of each node and lane."""
        return {lane: row for row, lane in enumerate(sorted({(span.node, span.lane) for span in self.spans}))}

    @property
    def unit(self) -> tuple[int, str]:
        """The unit of time: its seconds, and its name."""
        total = sum(shift.ended - shift.started for shift in self.shifts)
        return next(pair for pair in _UNITS if total >= 3 * pair[0] or pair[0] == 1)

    @property
    def idle(self) -> float | None:
        """The share of the slots' time without a segment; None if no time passed."""
        available = sum(shift.slots * (shift.ended - shift.started) for shift in self.shifts)
        busy = sum(span.ended - span.started for span in self.spans)
        return min(1.0, max(0.0, 1.0 - busy / available)) if available > 0 else None

    def running_seconds(self, time: float) -> float:
        """Return the seconds in which the sweep ran before ``time``; pauses between shifts do not count."""
        return sum(min(max(time - shift.started, 0.0), shift.ended - shift.started) for shift in self.shifts)


def timeline_of(run: RunDirectory, state: SweepState) -> Timeline | None:
    """Read the timeline from the journal up to the record that ``state`` ends with; None if nothing has run."""
    timeline = timeline_from(records(run, state.seq), state)
    return timeline if timeline.spans else None


def records(run: RunDirectory, last: int) -> Iterator[Mapping[str, Any]]:
    """Yield the journal's records that begin or end a segment or a shift, or name its host, up to ``seq`` ``last``.

    Only those lines are parsed, and checksums are not verified again, since the state was read from the same journal.
    The record before each launch is yielded too, with the type ``before``: it dates the end of the previous process.
    """
    previous = b""
    for line in store_at(run.journal).lines():
        if _RELEVANT_LINE.match(line.content):
            record = json.loads(line.content)
            if record["seq"] > last:
                return
            if record["type"] == "sweep.launched" and previous:
                yield {**json.loads(previous), "type": "before"}
            yield record
        previous = line.content


def timeline_from(records: Iterable[Mapping[str, Any]], state: SweepState) -> Timeline:
    """Build the timeline from records."""
    builder = _TimelineBuilder()
    for record in records:
        builder.apply(record)
    builder.close(state.updated, "running" if state.status == "running" else "interrupted")
    return Timeline(_on_lanes(builder.spans), builder.shifts)


class _TimelineBuilder:
    """Fold records into segments and shifts."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.shifts: list[Shift] = []
        self._running: dict[int, Span] = {}
        self._since: tuple[float, int] | None = None

    def apply(self, record: Mapping[str, Any]) -> None:
        type, time = record["type"], record["time"]
        if type == "segment.started":
            self._end(record["trial"], time, "interrupted")
            self._running[record["trial"]] = Span(
                record["trial"], record["segment"], record["node"], time, time, "running"
            )
        elif type in _ENDS or type.startswith("segment."):
            span = self._running.get(record["trial"])
            if span and "node" in record:
                self._running[span.trial] = replace(span, node=record["node"])
            if type in _ENDS:
                self._end(record["trial"], time, _ENDS[type])
        elif type == "sweep.launched":
            self._since = time, record["slots"]
        else:
            self.close(time, "interrupted")

    def close(self, time: float, status: str) -> None:
        """End all segments and the shift: the process stopped, or the journal ends here."""
        for trial in list(self._running):
            self._end(trial, time, status)
        if self._since:
            self.shifts.append(Shift(self._since[0], max(time, self._since[0]), self._since[1]))
        self._since = None

    def _end(self, trial: int, time: float, status: str) -> None:
        span = self._running.pop(trial, None)
        if span:
            self.spans.append(replace(span, ended=max(time, span.started), status=status))


def _on_lanes(spans: Sequence[Span]) -> list[Span]:
    """Put each segment on the lowest lane of its node that is free when it starts."""
    free: dict[str, list[int]] = {}
    busy: dict[str, list[tuple[float, int]]] = {}
    placed = []
    for span in sorted(spans, key=lambda span: (span.started, span.trial)):
        occupied, vacant = busy.setdefault(span.node, []), free.setdefault(span.node, [])
        while occupied and occupied[0][0] <= span.started:
            heapq.heappush(vacant, heapq.heappop(occupied)[1])
        lane = heapq.heappop(vacant) if vacant else len(occupied)
        heapq.heappush(occupied, (span.ended, lane))
        placed.append(replace(span, lane=lane))
    return placed


def timeline(run: RunDirectory, state: SweepState) -> Figure | None:
    """Draw a Gantt chart of the slots; None if nothing has run."""
    data = timeline_of(run, state)
    return draw(data) if data else None


def draw(data: Timeline) -> Figure:
    """Draw a computed timeline."""
    import plotly.graph_objects as go

    lanes = data.lanes
    unit, words = data.unit
    height = min(720, max(6 * len(lanes), 22 * min(len(lanes), 20)))
    plot = go.Figure()
    for status in STATUSES:
        columns = columns_of(data, status, unit)
        if len(columns.rows):
            plot.add_trace(
                _bars(columns, status) if len(data.spans) <= _MAX_BARS else _lines(columns, status, height / len(lanes))
            )
    for shift in data.shifts[1:]:
        plot.add_vline(data.running_seconds(shift.started) / unit, line={"color": MUTED, "dash": "dot", "width": 1})
    rows = list(lanes.values()) if len(lanes) <= 32 else list(lanes.values())[:: -(-len(lanes) // 16)]
    names = [escaped(f"{node} {lane + 1}", 20) for node, lane in lanes]
    plot.update_yaxes(tickvals=rows, ticktext=[names[row] for row in rows], showgrid=False)
    plot.update_yaxes(range=[len(lanes) - 0.4, -0.6])
    plot.update_xaxes(title_text=f"running time ({words})", rangemode="tozero")
    plot.update_layout(barmode="overlay", bargap=0.15)
    return make_figure("timeline", _title(data, len(lanes)), _caption(data), plot, 150 + height)


@dataclass(frozen=True)
class Columns:
    """Segments for drawing: start and length in units of running time, and the rows of their lanes."""

    starts: Floats
    lengths: Floats
    rows: Places
    trials: Places


def columns_of(data: Timeline, status: str, unit: int) -> Columns:
    """Return the segments with a status; ``unit`` is in seconds."""
    spans = [span for span in data.spans if span.status == status]
    shifts = np.array([[shift.started, shift.ended] for shift in data.shifts]).reshape(-1, 2)
    lengths = shifts[:, 1] - shifts[:, 0]
    starts, ends = (
        np.clip(np.array(times)[:, None] - shifts[None, :, 0], 0, lengths[None, :]).sum(axis=1) / unit
        for times in ([span.started for span in spans], [span.ended for span in spans])
    )
    rows = np.array([data.lanes[span.node, span.lane] for span in spans], dtype=np.int64)
    return Columns(starts, ends - starts, rows, np.array([span.trial for span in spans], dtype=np.int64))


def _bars(columns: Columns, status: str) -> go.Bar:
    import plotly.graph_objects as go

    style = STATUSES[status]
    return go.Bar(
        base=columns.starts.astype(np.float32),
        x=columns.lengths.astype(np.float32),
        y=columns.rows,
        orientation="h",
        marker={"color": style.colour, "pattern": bar_pattern(style.hatch)},
        marker_line_width=0,
        customdata=columns.trials,
        name=style.words,
        hovertemplate=f"trial %{{customdata}}: %{{x:.3g}} long<extra>{style.words}</extra>",
    )


def _lines(columns: Columns, status: str, thickness: float) -> go.Scatter:
    """Return all segments as one trace: start, middle (for hovering), end and a gap for each."""
    import plotly.graph_objects as go

    style = STATUSES[status]
    gap = np.full(len(columns.starts), np.nan)
    x = np.stack([columns.starts, columns.starts + columns.lengths / 2, columns.starts + columns.lengths, gap], axis=1)
    return go.Scatter(
        x=x.ravel().astype(np.float32),
        y=np.repeat(columns.rows, 4).astype(np.int16),
        customdata=np.repeat(columns.trials, 4),
        mode="lines",
        line={"color": style.colour, "width": max(1.0, 0.7 * thickness)},
        name=style.words,
        hovertemplate=f"trial %{{customdata}}<extra>{style.words}</extra>",
    )


def _title(data: Timeline, lanes: int) -> str:
    idle = data.idle
    segments = f"{counted(len(data.spans), 'segment')} on {counted(lanes, 'slot')}"
    return segments if idle is None else f"{segments}: {idle:.0%} of their time idle"


def _caption(data: Timeline) -> str:
    resumed = len(data.shifts) - 1
    relaunches = f" Dotted lines: the sweep was resumed, {resumed} times in all." if resumed > 1 else ""
    relaunches = " Dotted line: the sweep was resumed." if resumed == 1 else relaunches
    return (
        "A row a slot, a bar a segment (one uninterrupted run of a trial), coloured by its status. Time in which no "
        "process ran the sweep is omitted. Idle is the share of the slots' time without a segment." + relaunches
    )
