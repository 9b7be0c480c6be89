"""The table's columns: keys, titles, widths, cell texts and curves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size

from orchestrator.progress import EPOCHS, axis
from orchestrator.results.ranked_rows import Row
from orchestrator.results.terminal_graphics import sparkline
from orchestrator.results.terminal_tables import short_names
from orchestrator.results.why import show
from orchestrator.safe_text import visible

_MAX_WIDTH = 16
_CURVE_WIDTH = {False: 9, True: 14}


@dataclass(frozen=True)
class Column:
    """A column: ``key`` is its sort key (empty: not sortable), ``width`` is in terminal cells."""

    key: str
    title: str
    width: int
    right: bool = True

    def cell(self, text: str) -> str:
        """Return the text at exactly the column's width, cut with an ellipsis."""
        if (length := cell_len(text)) > self.width:
            return set_cell_size(text, self.width - 1) + "…"
        space = " " * (self.width - length)
        return space + text if self.right else text + space


def columns(metric: str, names: Sequence[str], *, wide: bool, unit: str = EPOCHS, reached: int = 6) -> list[Column]:
    """Return the fixed columns and one for each parameter; ``reached`` is the width of the column of progress."""
    titles = [visible(title) for title in short_names(list(names))]
    params = [Column(f"param:{name}", title, _width(title)) for name, title in zip(names, titles, strict=True)]
    title, progress = visible(metric), visible(axis(unit))[:_MAX_WIDTH]
    return [
        Column("rank", "rank", 5),
        Column("trial", "trial", 6),
        Column("status", "status", 11, right=False),
        Column("best", title, min(max(cell_len(title) + 1, 8), 12)),
        Column("progress", progress, max(reached, cell_len(progress) + 1)),
        Column("", "curve", _CURVE_WIDTH[wide], right=False),
        *params,
    ]


FIXED = 6
"""The number of columns that stay in place when the parameters are shifted."""


def cells(row: Row, rank: int, shown: Sequence[Column], end: float) -> list[str]:
    """Return a row's text for each column; ``end`` is the progress at which a training is complete."""
    complete = end * len(row.values) / row.progress if row.progress else 0
    texts = {
        "rank": str(rank),
        "trial": str(row.trial),
        "status": row.status.replace("_", " "),
        "best": "–" if row.best is None else show(row.best),
        "progress": row.reached,
    }
    rendered = []
    for column in shown:
        if not column.key:
            rendered.append(column.cell(sparkline(row.values, column.width, complete)))
        elif column.key in texts:
            rendered.append(column.cell(texts[column.key]))
        else:
            name = column.key.removeprefix("param:")
            rendered.append(column.cell(visible(show(row.params[name])) if name in row.params else "–"))
    return rendered


def _width(title: str) -> int:
    return min(max(cell_len(title), 9), _MAX_WIDTH)
