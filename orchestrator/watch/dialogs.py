"""What opens over the table: a trial in full, a question, the keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen, Screen
from textual.widgets import Footer, Static

KEYS = """\
up down, j k     another trial; page up, page down, home, end
enter            open a trial: why it is what it is, its metrics, its failures
s S              sort by the next column, by the one before
r                the other way round
f                only one status; again for the next one, at last all
/                only trials in which the words occur: 12, adam, dropout=0.1
left right       more of the parameters
x                end a trial (asks first); as sweep stop --trial
p                let a trial go on that was set aside (asks first); as sweep promote --trial
esc              close, or clear the filter
q                quit; the sweep goes on"""


class Page(Screen[None]):
    """A text of any length over the whole screen."""

    DEFAULT_CSS = "Page Static { width: 100%; padding: 0 1; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter,left,backspace", "app.pop_screen", "Back", key_display="esc"),
        Binding("j", "scroll(1)", show=False),
        Binding("k", "scroll(-1)", show=False),
    ]

    def __init__(self, text: Callable[[int], Text], trial: int | None = None) -> None:
        super().__init__()
        self.trial = trial
        self._text = text

    def compose(self) -> ComposeResult:
        with VerticalScroll():
            yield Static(id="text")
        yield Footer()

    def on_mount(self) -> None:
        self.again()

    def on_resize(self) -> None:
        self.again()

    def again(self) -> None:
        """The text as it is now."""
        self.query_one("#text", Static).update(self._text(max(20, self.size.width - 3)))

    def action_scroll(self, lines: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=lines, animate=False)


class Question(ModalScreen[bool]):
    """Yes or no; whatever is not a clear yes is a no."""

    DEFAULT_CSS = """
    Question { align: center middle; }
    Question Static { width: auto; max-width: 76; height: auto; border: round ansi_yellow; padding: 0 2; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "dismiss(True)", "Yes"),
        Binding("n,escape,enter,q", "dismiss(False)", "No"),
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        yield Static(Text.assemble(self._question, "\n\n", ("y", "bold"), " yes    ", ("n", "bold"), " no"))
