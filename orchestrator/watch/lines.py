"""Lines of text on the screen, of which only those that have changed are drawn again."""

from __future__ import annotations

from collections.abc import Sequence

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

_PLAIN = Style()


class Lines(Widget):
    """One line of the screen for each text, cut where the screen ends. With ``grows`` it is as high as its texts."""

    def __init__(self, *, id: str, grows: bool = True) -> None:
        super().__init__(id=id)
        self.lines: list[Text] = []
        self._grows = grows

    def show(self, lines: Sequence[Text]) -> None:
        """Other texts, or the same ones again."""
        before, self.lines = self.lines, list(lines)
        if self._grows and len(before) != len(self.lines):
            self.styles.height = len(self.lines)
            self.display = bool(self.lines)
        for y in range(max(len(before), len(self.lines))):
            if before[y : y + 1] != self.lines[y : y + 1]:
                self.refresh(Region(0, y, self.size.width, 1))

    def render_line(self, y: int) -> Strip:
        width = self.size.width
        if y >= len(self.lines) or width < 3:
            return Strip.blank(width, _PLAIN)
        line = Text(" ").append_text(self.lines[y])
        line.truncate(width - 1, overflow="ellipsis")
        segments = [Segment(segment.text, segment.style or _PLAIN) for segment in line.render(self.app.console, end="")]
        return Strip(segments).adjust_cell_length(width, _PLAIN)  # under NO_COLOR every segment needs a style
