"""The widgets of the table: heading, trial rows and text lines, each drawing only changed lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.events import Click
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from orchestrator.results.ranked_rows import Row
from orchestrator.results.terminal_columns import Column, cells
from orchestrator.results.terminal_tables import COLOURS

_PLAIN, _TITLE = Style(), Style(bold=True, underline=True)
_STYLES = {status: Style(color=colour) for status, colour in COLOURS.items()}
_SELECTED, _BAR = Style(reverse=True), Style(dim=True)
_MARK, _GAP = "> ", " "


class Heading(Widget):
    """The columns' titles; an arrow marks the sort column."""

    DEFAULT_CSS = "Heading { height: 1; }"

    def __init__(self) -> None:
        super().__init__()
        self._line = ""

    def show(self, shown: list[Column], by: str, *, down: bool) -> None:
        """Show these titles and mark the sort column."""
        line = " " * len(_MARK)
        for column in shown:
            arrow = ("▼" if down else "▲") if column.key and column.key == by else ""
            title_column = Column("", "", column.width - len(arrow), column.right)
            line += (title_column.cell(column.title) + arrow) + _GAP
        if line != self._line:
            self._line = line
            self.refresh()

    def render_line(self, y: int) -> Strip:
        """Draw the titles."""
        return Strip([Segment(self._line, _TITLE)]).adjust_cell_length(self.size.width, _PLAIN)


class TrialTable(Widget, can_focus=True):
    """Rows of trials with one selected, which stays selected when the order changes.

    The table scrolls itself: Textual lays out a widget that it scrolls again for every added row.
    """

    class Opened(Message):
        """A trial was opened."""

        def __init__(self, trial: int) -> None:
            super().__init__()
            self.trial = trial

    DEFAULT_CSS = "TrialTable { height: 1fr; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", show=False),
        Binding("down,j", "move(1)", show=False),
        Binding("pageup", "page(-1)", show=False),
        Binding("pagedown", "page(1)", show=False),
        Binding("home,g", "move(-1000000000)", show=False),
        Binding("end,G", "move(1000000000)", show=False),
        Binding("enter", "open", "Open"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[Row] = []
        self._ranks: dict[int, int] = {}
        self._shown: list[Column] = []
        self._end: float = 0
        self._cursor = self._top = 0
        self._selected: int | None = None
        self._drawn: dict[int, tuple[object, ...]] = {}

    @property
    def trial(self) -> int | None:
        """The selected trial; None if there are no rows."""
        return self._rows[self._cursor].trial if self._rows else None

    def show(self, rows: list[Row], ranks: dict[int, int], shown: list[Column], end: float) -> None:
        """Show these rows; ``end`` is the progress at which a training is complete."""
        if shown != self._shown or end != self._end:
            self._drawn = {}
        self._rows, self._ranks, self._shown, self._end = rows, ranks, shown, end
        places = (place for place, row in enumerate(rows) if row.trial == self._selected)
        self._cursor = next(places, min(self._cursor, max(0, len(rows) - 1)))
        self._draw()

    def render_line(self, y: int) -> Strip:
        """Draw a row and the scroll bar."""
        place, width = y + self._top, self.size.width
        self._drawn[y] = self._key(y)
        line = self._strip(place) if place < len(self._rows) else Strip([])
        return Strip.join([line.adjust_cell_length(width - 1, _PLAIN), Strip([Segment(self._bar(y), _BAR)])])

    def _strip(self, place: int) -> Strip:
        row, selected = self._rows[place], place == self._cursor
        base = _SELECTED if selected else _PLAIN
        segments = [Segment(_MARK if selected else " " * len(_MARK), base)]
        texts = cells(row, self._ranks[row.trial], self._shown, self._end)
        for column, text in zip(self._shown, texts, strict=True):
            coloured = column.key in ("status", "") and not selected
            segments.append(Segment(text + _GAP, _STYLES[row.status] if coloured else base))
        return Strip(segments)

    def _bar(self, y: int) -> str:
        """Return the scroll bar's character in a line; blank if all rows fit."""
        height, rows = self.size.height, len(self._rows)
        if rows <= height:
            return " "
        length = max(1, height * height // rows)
        begin = (height - length) * self._top // max(1, rows - height)
        return "█" if begin <= y < begin + length else "│"

    def _key(self, y: int) -> tuple[object, ...]:
        """Return the values that a line's drawing depends on."""
        place = y + self._top
        if place >= len(self._rows):
            return ()
        row = self._rows[place]
        return row, self._ranks[row.trial], place == self._cursor, self._bar(y)

    def _draw(self) -> None:
        """Scroll to the selected row and redraw the lines that changed."""
        height = max(1, self.size.height)
        self._top = max(0, min(self._top, self._cursor, len(self._rows) - height), self._cursor - height + 1)
        for y in range(self.size.height):
            if self._drawn.get(y) != (key := self._key(y)):
                self._drawn[y] = key
                self.refresh(Region(0, y, self.size.width, 1))

    def on_resize(self) -> None:
        """Redraw for the new size."""
        self._draw()

    def action_move(self, by: int) -> None:
        """Move the selection by rows."""
        if self._rows:
            self._cursor = min(max(0, self._cursor + by), len(self._rows) - 1)
            self._selected = self._rows[self._cursor].trial
            self._draw()

    def action_page(self, by: int) -> None:
        """Move the selection by pages."""
        self.action_move(by * max(1, self.size.height - 1))

    def action_open(self) -> None:
        """Open the selected trial."""
        if self.trial is not None:
            self.post_message(self.Opened(self.trial))

    def on_click(self, event: Click) -> None:
        """Select a trial, or open it on a double click."""
        place = event.y + self._top
        if place < len(self._rows):
            self.action_move(place - self._cursor)
            if event.chain > 1:
                self.action_open()

    def on_mouse_scroll_down(self) -> None:
        """Move the selection down."""
        self.action_move(3)

    def on_mouse_scroll_up(self) -> None:
        """Move the selection up."""
        self.action_move(-3)


_PLAIN = Style()


class Lines(Widget):
    """A line of the screen for each text, cut at its end; with ``grows`` as high as its texts."""

    def __init__(self, *, id: str, grows: bool = True) -> None:
        super().__init__(id=id)
        self.lines: list[Text] = []
        self._grows = grows

    def show(self, lines: Sequence[Text]) -> None:
        """Show these texts."""
        previous, self.lines = self.lines, list(lines)
        if self._grows and len(previous) != len(self.lines):
            self.styles.height = len(self.lines)
            self.display = bool(self.lines)
        for y in range(max(len(previous), len(self.lines))):
            if previous[y : y + 1] != self.lines[y : y + 1]:
                self.refresh(Region(0, y, self.size.width, 1))

    def render_line(self, y: int) -> Strip:
        """Draw a text."""
        width = self.size.width
        if y >= len(self.lines) or width < 3:
            return Strip.blank(width, _PLAIN)
        line = Text(" ").append_text(self.lines[y])
        line.truncate(width - 1, overflow="ellipsis")
        segments = [Segment(segment.text, segment.style or _PLAIN) for segment in line.render(self.app.console, end="")]
        return Strip(segments).adjust_cell_length(width, _PLAIN)  # under NO_COLOR every segment needs a style
