"""The table's columns: which there are, how wide, and a row as cells of text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

from orchestrator.results.terminal_tables import short_names
from orchestrator.results.why import show
from orchestrator.safe_text import visible
from orchestrator.watch.watch_rows import Row

_WIDEST = 16
_CURVE = {False: 9, True: 14}


@dataclass(frozen=True)
class Column:
    """``key`` is what rows are sorted by (empty: never), ``width`` in cells."""

    key: str
    title: str
    width: int
    right: bool = True

    def cell(self, text: str) -> str:
        """The text at the column's width exactly, cut with an ellipsis."""
        if (length := cell_len(text)) > self.width:
            return set_cell_size(text, self.width - 1) + "…"
        space = " " * (self.width - length)
        return space + text if self.right else text + space


def columns(metric: str, names: Sequence[str], *, wide: bool) -> list[Column]:
    """Those that are always there, then one for each parameter."""
    titles = [visible(title) for title in short_names(list(names))]
    params = [Column(f"param:{name}", title, _wide(title)) for name, title in zip(names, titles, strict=True)]
    title = visible(metric)
    return [
        Column("rank", "rank", 5),
        Column("trial", "trial", 6),
        Column("status", "status", 11, right=False),
        Column("best", title, min(max(cell_len(title) + 1, 8), 12)),
        Column("epochs", "epoch", 6),
        Column("", "curve", _CURVE[wide], right=False),
        *params,
    ]


FIXED = 6
"""So many columns stay where they are when the parameters are shifted."""


def cells(row: Row, rank: int, shown: Sequence[Column], epochs: int) -> list[str]:
    """A row's text in each of the columns; ``epochs`` is how long a whole training is."""
    at = f"{row.epoch}/{row.epochs}" if row.epoch else f"–/{row.epochs}"
    told = {
        "rank": str(rank),
        "trial": str(row.trial),
        "status": row.status.replace("_", " "),
        "best": "–" if row.best is None else show(row.best),
        "epochs": at,
    }
    found = []
    for column in shown:
        if not column.key:
            found.append(column.cell(sparkline(row.values, column.width, epochs)))
        elif column.key in told:
            found.append(column.cell(told[column.key]))
        else:
            name = column.key.removeprefix("param:")
            found.append(column.cell(visible(show(row.params[name])) if name in row.params else "–"))
    return found


def _wide(title: str) -> int:
    return min(max(cell_len(title), 9), _WIDEST)


_BARS = "▁▂▃▄▅▆▇█"
_NOT_A_NUMBER = "×"


def sparkline(values: Sequence[float], width: int, epochs: int) -> str:
    """The values as bars from the trial's own least to its own greatest, at most ``width`` characters.

    ``epochs`` is how long a whole training is: one of half that length fills half the width. Where several epochs
    share a character the last one counts; ``×`` is a value that is not finite.
    """
    if not values or width < 1:
        return ""
    whole = max(epochs, len(values))
    cells = values if whole <= width else _last_of_each(values, width, whole)
    finite = [value for value in cells if math.isfinite(value)]
    low = min(finite, default=0.0)
    # A range beyond the largest float would be infinite: halves of it are not.
    span = max(finite, default=0.0) / 2 - low / 2
    return "".join(_bar(value, low, span) for value in cells)


def _last_of_each(values: Sequence[float], width: int, whole: int) -> list[float]:
    ends = [(cell + 1) * whole // width for cell in range(width)]
    found = [values[end - 1] for end in ends if end <= len(values)]
    begun = len(found) < width and (ends[len(found) - 1] if found else 0) < len(values)
    return [*found, values[-1]] if begun else found


def _bar(value: float, low: float, span: float) -> str:
    if not math.isfinite(value):
        return _NOT_A_NUMBER
    share = (value / 2 - low / 2) / span if span > 0 else 0.5
    return _BARS[min(len(_BARS) - 1, int(share * len(_BARS)))]
