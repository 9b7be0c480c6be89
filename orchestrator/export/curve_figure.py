"""learning_curve.svg: the objective, and the losses beside it, epoch by epoch, as a picture of plain text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from orchestrator.results.winner import Winner
from orchestrator.state import Trial

WIDTH, HEIGHT = 640, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 16, 64, 44  # pixels around a plot
_GAP = 20
_INK, _FAINT, _GRID, _PAPER = "#1f2328", "#59636e", "#e4e8ec", "#ffffff"
_COLOURS = ("#0969da", "#bc4c00", "#8250df", "#1a7f37")
_LARGEST = 1e300  # what is larger is not drawn, as what is not finite is not: arithmetic on it overflows
_LOSSES = ("val_loss", "train_loss")

Point = tuple[int, float]


@dataclass(frozen=True)
class Series:
    """A metric's values by epoch, those that can be drawn."""

    name: str
    points: Sequence[Point]


@dataclass(frozen=True)
class Panel:
    """One plot: ``left`` and ``width`` in pixels, axes included; epochs from 1 to ``epochs``."""

    title: str
    series: Sequence[Series]
    left: float
    width: float
    epochs: int

    def x(self, epoch: float) -> float:
        plot = self.width - _LEFT - _RIGHT
        return self.left + _LEFT + plot * ((epoch - 1) / (self.epochs - 1) if self.epochs > 1 else 0.5)

    def y(self, value: float) -> float:
        low, high = self.ticks[0], self.ticks[-1]
        return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * (value - low) / (high - low)

    @property
    def ticks(self) -> list[float]:
        return ticks([value for series in self.series for _, value in series.points])


def curve(won: Winner) -> str:
    """The winner's learning curve as SVG, 640 x 300 pixels, the exported epoch marked."""
    trial, metric = won.trial, won.state.objective.metric
    beside = [name for name in _LOSSES if any(name in report.metrics for report in trial.reports.values())]
    groups = [[metric, *beside]] if metric in beside or not beside else [[metric], beside]
    groups = [list(dict.fromkeys(group)) for group in groups]
    width = (WIDTH - _GAP * (len(groups) - 1)) / len(groups)
    panels = [
        Panel(
            metric if number == 0 else "losses",
            [_series(trial, name) for name in group],
            number * (width + _GAP),
            width,
            max(trial.epoch, 1),
        )
        for number, group in enumerate(groups)
    ]
    return _document(won, panels)


def ticks(values: Iterable[float]) -> list[float]:
    """Some five round numbers of one distance, the first no higher and the last no lower than any value.

    Values are to be below 1e300.
    """
    listed = list(values)
    low, high = (min(listed), max(listed)) if listed else (0.0, 1.0)
    if not high - low > max(abs(low), abs(high)) * 1e-9 + 1 / _LARGEST:
        half = abs(low) / 2 if abs(low) > 1e-9 else 0.5
        low, high = low - half, high + half
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{number * step:.12g}") for number in range(first, last + 1)]


def _series(trial: Trial, name: str) -> Series:
    points = [(epoch, trial.value(epoch, name)) for epoch in sorted(trial.reports)]
    return Series(name, [(epoch, value) for epoch, value in points if abs(value) < _LARGEST])


def _document(won: Winner, panels: Sequence[Panel]) -> str:
    best, metric = won.best, won.state.objective.metric
    title = f"{won.state.spec['name']}, {won.title}: {metric} {best.value:.4g}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'role="img" font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif" font-size="12">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="{_PAPER}"/>',
        *(line for panel in panels for line in _panel(panel, best.epoch)),
        _mark(panels[0], best.epoch, best.value),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _panel(panel: Panel, best: int) -> Iterable[str]:
    right, bottom = panel.left + panel.width - _RIGHT, HEIGHT - _BOTTOM
    for tick in panel.ticks:
        y = panel.y(tick)
        yield f'<path d="M{panel.left + _LEFT:.1f} {y:.1f}H{right:.1f}" stroke="{_GRID}"/>'
        yield _text(panel.left + _LEFT - 8, y + 4, f"{tick:.6g}", "end", _FAINT)
    for epoch in _epochs(panel.epochs):
        yield _text(panel.x(epoch), bottom + 18, str(epoch), "middle", _FAINT)
    yield _text((panel.left + _LEFT + right) / 2, bottom + 36, "epoch", "middle", _FAINT)
    x = panel.x(best)
    yield f'<path d="M{x:.1f} {_TOP}V{bottom}" stroke="{_FAINT}" stroke-dasharray="3 4"/>'
    yield from _lines(panel)
    yield from _legend(panel)


def _lines(panel: Panel) -> Iterable[str]:
    for colour, series in zip(_COLOURS, panel.series, strict=False):
        drawn = " ".join(f"{panel.x(epoch):.1f},{panel.y(value):.1f}" for epoch, value in series.points)
        if len(series.points) > 1:
            yield f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="2" stroke-linejoin="round"/>'
        elif drawn:
            x, y = drawn.split(",")
            yield f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}"/>'


def _legend(panel: Panel) -> Iterable[str]:
    """The panel's title, and which colour is which metric where there are several."""
    x = panel.left + _LEFT
    yield f'<text x="{x:.1f}" y="26" font-size="14" font-weight="600" fill="{_INK}">{escape(panel.title)}</text>'
    if len(panel.series) == 1:
        return
    for colour, series in zip(_COLOURS, panel.series, strict=False):
        yield f'<path d="M{x:.1f} 42h14" stroke="{colour}" stroke-width="3" stroke-linecap="round"/>'
        yield _text(x + 20, 46, series.name, "start", _FAINT)
        x += 34 + 6.6 * len(series.name)


def _mark(panel: Panel, epoch: int, value: float) -> str:
    """The exported epoch, on the objective's curve, with its value in the panel's upper right corner."""
    x, y, right = panel.x(epoch), panel.y(value), panel.left + panel.width - _RIGHT
    dot = f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{_COLOURS[0]}" stroke="{_PAPER}" stroke-width="2"/>'
    drawn = (epoch, value) in panel.series[0].points
    return f"{dot if drawn else ''}\n{_text(right, 26, f'{value:.4g} at epoch {epoch}', 'end', _COLOURS[0])}"


def _epochs(epochs: int) -> list[int]:
    """Whole numbers to write below: a round step apart, the first epoch always."""
    step = next(step for power in range(9) for step in (10**power, 2 * 10**power, 5 * 10**power) if epochs / step <= 7)
    return list(range(1, epochs + 1, step)) if step <= 2 else [1, *range(step, epochs + 1, step)]


def _text(x: float, y: float, text: str, anchor: str, colour: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'
