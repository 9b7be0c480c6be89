"""What opens over the table: a trial in full, a question, the keys."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen, Screen
from textual.widgets import Footer, Static

from orchestrator.results.why import show, why
from orchestrator.safe_text import visible
from orchestrator.state import SweepState, Trial
from orchestrator.watch.columns import sparkline

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


_EPOCHS = 12


def story(state: SweepState, number: int, width: int) -> Text:
    """Everything that the journal has of a trial, for a page of that width."""
    trial, text = state.trials[number], Text()
    text.append(f"trial {number}  ", "bold").append(trial.status.replace("_", " ") + "\n")
    _heading(text, "WHY")
    for sentence in why(state, number):
        text.append(f"{visible(sentence)}\n")
    _heading(text, "PARAMETERS")
    longest = max((len(visible(name)) for name in trial.params), default=0)
    for name, value in trial.params.items():
        text.append(f"{visible(name):<{longest}}  ").append(f"{visible(show(value))}\n", "bold")
    _metrics(text, state, trial, width)
    if trial.failures:
        _heading(text, "FAILURES")
    for failure in trial.failures:
        text.append(f"segment {failure.segment}, after epoch {failure.epoch}: {visible(failure.kind)}", "red")
        text.append(f" on {visible(failure.node)}: {visible(failure.message)}\n")
    return text


def _heading(text: Text, title: str) -> None:
    text.append(f"\n{title}\n", "bold")


def _metrics(text: Text, state: SweepState, trial: Trial, width: int) -> None:
    """Each metric with its curve, its value at the best epoch and its last; then the last epochs of the objective."""
    best = state.objective.best(trial)
    names = sorted({name for report in trial.reports.values() for name in report.metrics})
    longest = min(max(map(len, map(visible, names)), default=0), 30)
    _heading(text, "METRICS" + (f"  at the best epoch, {best.epoch}, and at the last, {trial.epoch}" if best else ""))
    for name in names:
        values = [trial.value(epoch, name) for epoch in range(1, trial.epoch + 1)]
        at_best = show(trial.value(best.epoch, name)) if best else "–"
        style = "bold" if name == state.objective.metric else ""
        text.append(f"{visible(name)[:longest]:<{longest}}  {at_best:>10} {show(values[-1]):>10}  ", style)
        text.append(sparkline(values, max(8, min(50, width - longest - 28)), trial.epoch) + "\n")
    told = [(epoch, trial.value(epoch, state.objective.metric)) for epoch in sorted(trial.reports)[-_EPOCHS:]]
    if told:
        values_told = "  ".join(f"{epoch}: {show(value) if not math.isnan(value) else 'nan'}" for epoch, value in told)
        text.append(f"{visible(state.objective.metric)} by epoch  {values_told}\n", "dim")
