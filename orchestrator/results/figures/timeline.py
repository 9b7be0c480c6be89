"""Who worked when: segments on slots of nodes, and the time in which slots had nothing to do."""

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
from orchestrator.results.figures.figure import MUTED, STATUSES, Figure, finished, hatched, inert
from orchestrator.results.figures.trial_columns import Floats, Places
from orchestrator.rundir import RunDirectory
from orchestrator.state import SweepState

if TYPE_CHECKING:
    import plotly.graph_objects as go

# What a segment's last event makes of it.
_ENDS = {
    "trial.finished": "finished",
    "trial.stopped": "stopped",
    "trial.failed": "failed",
    "trial.set_aside": "set_aside",
    "trial.promoted": "set_aside",
    "segment.failed": "failed",
}
_TURNS = ("sweep.launched", "sweep.paused", "sweep.completed")
_WANTED = "|".join(map(re.escape, (*_ENDS, *_TURNS, "segment.started")))
_WANTED_LINE = re.compile(rf'{{"seq":\d+,"lease":\d+,"time":[^"]*,"type":"(?:{_WANTED})"'.encode())
_UNITS = ((3600, "hours"), (60, "minutes"), (1, "seconds"))
_BARS = 600  # beyond so many segments they are lines: far lighter to draw


@dataclass(frozen=True)
class Span:
    """One segment at work. Times are Unix seconds; ``lane`` counts the slots of its node from 0."""

    trial: int
    segment: int
    node: str
    started: float
    ended: float
    status: str
    lane: int = 0


@dataclass(frozen=True)
class Shift:
    """A process at work on the sweep, with so many slots."""

    started: float
    ended: float
    slots: int


@dataclass(frozen=True)
class Timeline:
    """Every segment on a lane, and when the sweep was worked on."""

    spans: Sequence[Span]
    shifts: Sequence[Shift]

    @cached_property
    def lanes(self) -> dict[tuple[str, int], int]:
        """Node and lane, and the row that it is drawn in."""
        return {lane: row for row, lane in enumerate(sorted({(span.node, span.lane) for span in self.spans}))}

    @property
    def unit(self) -> tuple[int, str]:
        """What time is told in: its seconds, and its name."""
        whole = sum(shift.ended - shift.started for shift in self.shifts)
        return next(pair for pair in _UNITS if whole >= 3 * pair[0] or pair[0] == 1)

    @property
    def idle(self) -> float | None:
        """The share of the slots' time in which they ran no segment; None where none passed."""
        there = sum(shift.slots * (shift.ended - shift.started) for shift in self.shifts)
        busy = sum(span.ended - span.started for span in self.spans)
        return min(1.0, max(0.0, 1.0 - busy / there)) if there > 0 else None

    def at_work(self, time: float) -> float:
        """Seconds of work before that time: the pauses between shifts are left out."""
        return sum(min(max(time - shift.started, 0.0), shift.ended - shift.started) for shift in self.shifts)


def timeline_of(run: RunDirectory, state: SweepState) -> Timeline | None:
    """As the journal tells it up to where ``state`` has read it; None where nothing has run."""
    found = told(records(run, state.seq), state)
    return found if found.spans else None


def records(run: RunDirectory, last: int) -> Iterator[Mapping[str, Any]]:
    """The journal's records that begin or end a segment or a shift, up to number ``last``.

    The state was read from the same journal, so its checks are not made again: only those lines are parsed. Before a
    launch the record ahead of it comes too, under the type ``before``: the last sign of the process before.
    """
    previous = b""
    for line in store_at(run.journal).lines():
        if _WANTED_LINE.match(line.content):
            record = json.loads(line.content)
            if record["seq"] > last:
                return
            if record["type"] == "sweep.launched" and previous:
                yield {**json.loads(previous), "type": "before"}
            yield record
        previous = line.content


def told(records: Iterable[Mapping[str, Any]], state: SweepState) -> Timeline:
    """Segments and shifts out of the records."""
    fold = _Fold()
    for record in records:
        fold.apply(record)
    fold.close(state.updated, "running" if state.status == "running" else "interrupted")
    return Timeline(_on_lanes(fold.spans), fold.shifts)


class _Fold:
    """What runs, and since when."""

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
        elif type in _ENDS:
            self._end(record["trial"], time, _ENDS[type])
        elif type == "sweep.launched":
            self._since = time, record["slots"]
        else:
            self.close(time, "interrupted")

    def close(self, time: float, status: str) -> None:
        """The process stops working, or this is as far as we know."""
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
    """Each on the lowest lane of its node that is free when it starts."""
    free: dict[str, list[int]] = {}
    busy: dict[str, list[tuple[float, int]]] = {}
    placed = []
    for span in sorted(spans, key=lambda span: (span.started, span.trial)):
        mine, idle = busy.setdefault(span.node, []), free.setdefault(span.node, [])
        while mine and mine[0][0] <= span.started:
            heapq.heappush(idle, heapq.heappop(mine)[1])
        lane = heapq.heappop(idle) if idle else len(mine)
        heapq.heappush(mine, (span.ended, lane))
        placed.append(replace(span, lane=lane))
    return placed


def timeline(run: RunDirectory, state: SweepState) -> Figure | None:
    """A Gantt chart of the slots; None where nothing has run."""
    found = timeline_of(run, state)
    return draw(found) if found else None


def draw(found: Timeline) -> Figure:
    import plotly.graph_objects as go

    lanes = found.lanes
    unit, words = found.unit
    height = min(720, max(6 * len(lanes), 22 * min(len(lanes), 20)))
    plot = go.Figure()
    for status in STATUSES:
        columns = columns_of(found, status, unit)
        if len(columns.rows):
            plot.add_trace(
                _bars(columns, status) if len(found.spans) <= _BARS else _lines(columns, status, height / len(lanes))
            )
    for shift in found.shifts[1:]:
        plot.add_vline(found.at_work(shift.started) / unit, line={"color": MUTED, "dash": "dot", "width": 1})
    rows = list(lanes.values()) if len(lanes) <= 32 else list(lanes.values())[:: -(-len(lanes) // 16)]
    names = [inert(f"{node} {lane + 1}", 20) for node, lane in lanes]
    plot.update_yaxes(tickvals=rows, ticktext=[names[row] for row in rows], showgrid=False)
    plot.update_yaxes(range=[len(lanes) - 0.4, -0.6])
    plot.update_xaxes(title_text=f"time at work ({words})", rangemode="tozero")
    plot.update_layout(barmode="overlay", bargap=0.15)
    return finished("timeline", _title(found, len(lanes)), _caption(found), plot, 150 + height)


@dataclass(frozen=True)
class Columns:
    """Segments for drawing: start and length in units of working time, and the rows of their lanes."""

    starts: Floats
    lengths: Floats
    rows: Places
    trials: Places


def columns_of(found: Timeline, status: str, unit: int) -> Columns:
    """The segments that ended so, or are so now; ``unit`` in seconds."""
    spans = [span for span in found.spans if span.status == status]
    began = np.array([[shift.started, shift.ended] for shift in found.shifts]).reshape(-1, 2)
    lengths = began[:, 1] - began[:, 0]
    starts, ends = (
        np.clip(np.array(times)[:, None] - began[None, :, 0], 0, lengths[None, :]).sum(axis=1) / unit
        for times in ([span.started for span in spans], [span.ended for span in spans])
    )
    rows = np.array([found.lanes[span.node, span.lane] for span in spans], dtype=np.int64)
    return Columns(starts, ends - starts, rows, np.array([span.trial for span in spans], dtype=np.int64))


def _bars(columns: Columns, status: str) -> go.Bar:
    import plotly.graph_objects as go

    look = STATUSES[status]
    return go.Bar(
        base=columns.starts.astype(np.float32),
        x=columns.lengths.astype(np.float32),
        y=columns.rows,
        orientation="h",
        marker={"color": look.colour, "pattern": hatched(look.hatch)},
        marker_line_width=0,
        customdata=columns.trials,
        name=look.words,
        hovertemplate=f"trial %{{customdata}}: %{{x:.3g}} long<extra>{look.words}</extra>",
    )


def _lines(columns: Columns, status: str, thickness: float) -> go.Scatter:
    """Every segment a piece of one long line: its start, its middle to hover on, its end, a gap."""
    import plotly.graph_objects as go

    look = STATUSES[status]
    gap = np.full(len(columns.starts), np.nan)
    x = np.stack([columns.starts, columns.starts + columns.lengths / 2, columns.starts + columns.lengths, gap], axis=1)
    return go.Scatter(
        x=x.ravel().astype(np.float32),
        y=np.repeat(columns.rows, 4).astype(np.int16),
        customdata=np.repeat(columns.trials, 4),
        mode="lines",
        line={"color": look.colour, "width": max(1.0, 0.7 * thickness)},
        name=look.words,
        hovertemplate=f"trial %{{customdata}}<extra>{look.words}</extra>",
    )


def _title(found: Timeline, lanes: int) -> str:
    idle = found.idle
    worked = f"{len(found.spans)} segments on {lanes} slot{'s' if lanes > 1 else ''}"
    return worked if idle is None else f"{worked}: {idle:.0%} of their time was idle"


def _caption(found: Timeline) -> str:
    resumed = len(found.shifts) - 1
    again = f" Dotted lines: the sweep was launched again, {resumed} times in all." if resumed > 1 else ""
    again = " Dotted line: the sweep was launched again." if resumed == 1 else again
    return (
        "A row a slot, a bar a segment (one uninterrupted run of a trial), coloured by how it ended. Time in which no "
        "process ran the sweep is left out. Idle is the share of the slots' time in which they ran no segment." + again
    )
