"""What opens above the table: a trial's page, a question, the keys."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen, Screen
from textual.widgets import Footer, Static

from orchestrator.progress import axis, figure, place
from orchestrator.results.live_trials import LiveTrial, left, sentence
from orchestrator.results.terminal_graphics import curve, sparkline
from orchestrator.results.why import show, why
from orchestrator.safe_text import visible
from orchestrator.state import SweepState, Trial

KEYS = """\
up down, j k     select a trial; page up, page down, home, end
enter            open a trial: its explanation, metrics and failures
s S              sort by the next column, by the previous one
r                reverse the order
f                show one status only; again for the next one, then all
/                show trials that contain the words: 12, adam, dropout=0.1
left right       show more of the parameters
x                stop a trial, after a question; as sweep stop --trial
p                promote a trial that was set aside, after a question; as sweep promote --trial
esc              close, or clear the filter
q                quit; the sweep continues"""


class Page(Screen[None]):
    """A scrollable text on the full screen."""

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
        """Build the widgets."""
        with VerticalScroll():
            yield Static(id="text")
        yield Footer()

    def on_mount(self) -> None:
        """Show the text."""
        self.update_text()

    def on_resize(self) -> None:
        """Wrap the text for the new size."""
        self.update_text()

    def update_text(self) -> None:
        """Show the current text."""
        self.query_one("#text", Static).update(self._text(max(20, self.size.width - 3)))

    def action_scroll(self, lines: int) -> None:
        """Scroll by lines."""
        self.query_one(VerticalScroll).scroll_relative(y=lines, animate=False)


class Question(ModalScreen[bool]):
    """A question with yes or no; any key but y means no."""

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
        """Build the widgets."""
        yield Static(Text.assemble(self._question, "\n\n", ("y", "bold"), " yes    ", ("n", "bold"), " no"))


_REPORTS = 12


def trial_text(
    state: SweepState, number: int, width: int, live: LiveTrial | None = None, log: Sequence[str] = ()
) -> Text:
    """Return all that the journal holds about a trial, how far it is now, and the end of its log, for that width."""
    trial, text = state.trials[number], Text()
    text.append(f"trial {number}  ", "bold").append(trial.status.replace("_", " ") + "\n")
    if live is not None:
        _heading(text, "NOW")
        text.append(f"{visible(sentence(live, state.unit))}{left(live)}\n")
    _heading(text, "WHY")
    for line in why(state, number):
        text.append(f"{visible(line)}\n")
    _heading(text, "PARAMETERS")
    longest = max((len(visible(name)) for name in trial.params), default=0)
    for name, value in trial.params.items():
        text.append(f"{visible(name):<{longest}}  ").append(f"{visible(show(value))}\n", "bold")
    _metrics(text, state, trial, width)
    if trial.failures:
        _heading(text, "FAILURES")
    for failure in trial.failures:
        text.append(
            f"segment {failure.segment}, after {place(failure.progress, state.unit)}: {visible(failure.kind)}", "red"
        )
        at = f" (at {visible(failure.place)})" if failure.place else ""
        text.append(f" on {visible(failure.node) or '?'}: {visible(failure.message)}{at}\n")
    if log:
        _heading(text, "LOG")
        text.append("".join(f"{line}\n" for line in log))
        text.append(f"all of it: sweep logs NAME --trial {number}\n", "dim")
    return text


def _heading(text: Text, title: str) -> None:
    text.append(f"\n{title}\n", "bold")


def _metrics(text: Text, state: SweepState, trial: Trial, width: int) -> None:
    """Append each metric with its curve, its value at the best report and at the last, then the last reports."""
    best, unit = state.objective.best(trial), state.unit
    names = sorted({name for report in trial.reports.values() for name in report.metrics})
    longest = min(max(map(len, map(visible, names)), default=0), 30)
    places = (
        f"  at the best report, {place(best.progress, unit)}, and at the last, {place(trial.progress, unit)}"
        if best
        else ""
    )
    _heading(text, f"METRICS{places}")
    for name in names:
        values = curve(trial, name)
        at_best = show(trial.value(best.progress, name)) if best else "–"
        style = "bold" if name == state.objective.metric else ""
        text.append(f"{visible(name)[:longest]:<{longest}}  {at_best:>10} {show(values[-1]):>10}  ", style)
        text.append(sparkline(values, max(8, min(50, width - longest - 28)), len(values)) + "\n")
    recent = [(at, trial.value(at, state.objective.metric)) for at in sorted(trial.reports)[-_REPORTS:]]
    if recent:
        listed = "  ".join(
            f"{figure(at, unit)}: {show(value) if not math.isnan(value) else 'nan'}" for at, value in recent
        )
        text.append(f"{visible(state.objective.metric)} by {axis(unit)}  {listed}\n", "dim")
