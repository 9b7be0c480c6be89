"""The full screen of `sweep watch`."""

from __future__ import annotations

import gc
import os
from typing import Any, ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.events import Resize
from textual.widgets import Footer, Input

from orchestrator.errors import SweepError
from orchestrator.policies.extend_limits import recorded_horizon
from orchestrator.results.ranked_rows import STATUSES, Rows
from orchestrator.results.terminal_columns import FIXED, Column, columns
from orchestrator.rundir import RunDirectory
from orchestrator.safe_text import visible
from orchestrator.watch.dialogs import KEYS, Page, Question, trial_text
from orchestrator.watch.header import header_lines
from orchestrator.watch.log_pane import LogPane
from orchestrator.watch.panel import panel_lines
from orchestrator.watch.table import Heading, Lines, TrialTable
from orchestrator.watch.watched_sweep import Watched

POLL_SECONDS = 1.0
"""The time between two reads of the journal; the screen is redrawn only if something changed."""
WIDE = 120
"""The least width of a terminal, in columns, for a panel next to the table."""


_ENDED = frozenset({"completed", "paused"})
_OF_TABLE = frozenset({"sort", "turn", "status", "words", "shift", "clear", "help"})


class WatchApp(App[None]):
    """Show a sweep from its journal, and send requests to stop or promote a trial to its process.

    Args:
        run: the sweep's.
        opened_by: the process whose terminal it covers; it ends with that process, and with the sweep. 0 for none.
    """

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #header, #notice { height: 1; }
    #notice { display: none; }
    #panel { display: none; width: 44; height: 1fr; border-left: solid ansi_bright_black; }
    #words { display: none; border: none; height: 1; padding: 0 1; }
    .-wide #panel { display: block; }
    """
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (WIDE, "-wide")]  # noqa: RUF012  # as Textual declares it
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "sort(1)", "Sort"),
        Binding("S", "sort(-1)", show=False),
        Binding("r", "turn", "Reverse"),
        Binding("f", "status", "Status"),
        Binding("slash", "words", "Filter", key_display="/"),
        Binding("x", "ask('stop')", "Stop"),
        Binding("p", "ask('promote')", "Promote"),
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("q", "quit", "Quit"),
        Binding("right", "shift(1)", show=False),
        Binding("left", "shift(-1)", show=False),
        Binding("escape", "clear", show=False),
    ]

    def __init__(self, run: RunDirectory, opened_by: int = 0) -> None:
        super().__init__(ansi_color=True)  # else NO_COLOR maps colours to grey
        self._opened_by, self._has_run = opened_by, False
        self.animation_level = "none"
        self.watched, self.table_rows, self._logs = Watched(run), Rows(), LogPane(run)
        self.by, self.down, self.only, self.words = "rank", False, "", ""
        self._shift = 0
        self._notice = ""
        self.watched.refresh()
        self.table_rows.update(self.watched.state, None)

    def compose(self) -> ComposeResult:
        """Build the widgets."""
        yield Lines(id="header")
        yield Lines(id="notice")
        with Horizontal():
            with Vertical():
                yield Heading()
                yield TrialTable()
            yield Lines(id="panel", grows=False)
        yield Input(id="words", placeholder="words that must occur: 12 adam dropout=0.1", select_on_focus=False)
        yield Footer(compact=True)

    def on_mount(self) -> None:
        """Start polling the journal."""
        self.theme = "ansi-dark"  # the terminal's own colours, light or dark, and none under NO_COLOR
        self.query_one(TrialTable).focus()
        self.draw()
        self.set_interval(POLL_SECONDS, self.poll)
        gc.freeze()  # a collection of all that was read would be visible as a stutter

    def on_resize(self, event: Resize) -> None:
        """Redraw for the new size."""
        self.call_after_refresh(self.draw)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Disable sorting and filtering while a page covers the table."""
        return action not in _OF_TABLE or not isinstance(self.screen, Page)

    def poll(self) -> None:
        """Read new events and redraw what changed."""
        news = self.watched.refresh()
        if self._opened_by and self._is_over():
            self.exit()
        if not news and self.watched.state.status == "running":
            self._draw_header()  # the time left moves between two events
        if news:
            self.table_rows.update(self.watched.state, self.watched.changed_trials)
            self.draw()
            page, changed = self.screen, self.watched.changed_trials
            if isinstance(page, Page) and (changed is None or page.trial in changed or page.trial in self.watched.live):
                page.update_text()

    def _is_over(self) -> bool:
        """Return whether the process that opened it is gone, or the sweep has ended meanwhile."""
        status = self.watched.state.status
        self._has_run = self._has_run or status == "running"
        return os.getppid() != self._opened_by or (self._has_run and status in _ENDED)

    def draw(self) -> None:
        """Draw everything but the page that may cover it."""
        screen, state = self.screen_stack[0], self.watched.state
        wide = self._draw_header()
        self._show_notices()
        if not state.spec:
            return
        if wide:
            self._lines("#panel").show(panel_lines(state, self.table_rows, self.watched.live))
        shown = self._columns(wide=wide)
        rows = self.table_rows.listed(self.by, down=self.down, status=self.only, words=self.words)
        end = recorded_horizon(state) or max((row.progress for row in rows), default=0)
        screen.query_one(Heading).show(shown, self.by, down=self.down)
        screen.query_one(TrialTable).show(rows, self.table_rows.ranks, shown, end)

    def _draw_header(self) -> bool:
        """Draw the lines above the table; return whether the screen is wide."""
        wide = self.size.width >= WIDE
        lines = header_lines(self.watched, self.table_rows, self.size.width - 2, narrow=not wide)
        self._lines("#header").show(lines)
        return wide

    def _columns(self, *, wide: bool) -> list[Column]:
        """Return the fixed columns and the parameters from the shifted position on."""
        state, rows = self.watched.state, self.table_rows
        listed = columns(state.objective.metric, rows.names, wide=wide, unit=state.unit, reached=rows.widest)
        return listed[:FIXED] + listed[FIXED + self._shift :]

    def _show_notices(self) -> None:
        """Show problems, answers and active filters."""
        problem = visible(self.watched.problem)
        status_notice = f"only {self.only.replace('_', ' ')}" if self.only else ""
        words_notice = f"only with {visible(self.words)}" if self.words else ""
        filtered = ", ".join(filter(None, (status_notice, words_notice)))
        notices = [
            (problem, "bold red"),
            *((line, "bold yellow") for line in self._notice.splitlines()),
            (filtered, "bold"),
        ]
        self._lines("#notice").show([Text(line, style) for line, style in notices if line])

    def _lines(self, where: str) -> Lines:
        return self.screen_stack[0].query_one(where, Lines)

    def notify_line(self, text: str) -> None:
        """Show a text below the header."""
        self._notice = visible(text, keep="\n")
        self.draw()

    def action_sort(self, by: int) -> None:
        """Sort by the next or previous column."""
        keys = [column.key for column in columns("", self.table_rows.names, wide=False) if column.key]
        self.by = keys[(keys.index(self.by) + by) % len(keys)] if self.by in keys else "rank"
        self.draw()

    def action_turn(self) -> None:
        """Reverse the order."""
        self.down = not self.down
        self.draw()

    def action_status(self) -> None:
        """Show the next status only."""
        options = ["", *(status for status in STATUSES if self.watched.state.count(status))]
        self.only = options[(options.index(self.only) + 1) % len(options)] if self.only in options else ""
        self.draw()

    def action_shift(self, by: int) -> None:
        """Shift the parameter columns."""
        self._shift = min(max(0, self._shift + by), max(0, len(self.table_rows.names) - 1))
        self.draw()

    def action_words(self) -> None:
        """Open the filter field."""
        field = self.query_one("#words", Input)
        field.display = True
        field.focus()

    def action_clear(self) -> None:
        """Clear notices and filters."""
        self._notice = self.only = ""
        self._filter("")
        self._leave_field()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter while the field is edited."""
        self._filter(event.value)

    def on_input_submitted(self) -> None:
        """Close the filter field."""
        self._leave_field()

    def _filter(self, words: str) -> None:
        self.words = words
        self.draw()

    def _leave_field(self) -> None:
        field = self.screen_stack[0].query_one("#words", Input)
        field.value, field.display = self.words, False
        self.screen_stack[0].query_one(TrialTable).focus()

    def action_help(self) -> None:
        """Show the keys."""
        self.push_screen(Page(lambda width: Text(KEYS)))

    def on_trial_table_opened(self, event: TrialTable.Opened) -> None:
        """Open a trial's page."""
        trial = event.trial

        def text(width: int) -> Text:
            state = self.watched.state
            log = self._logs.lines(trial, state.trials[trial].segments - 1)
            return trial_text(state, trial, width, self.watched.live.get(trial), log)

        self.push_screen(Page(text, trial))

    def action_ask(self, verb: str) -> None:
        """Send a request about the open or selected trial, after a question."""
        trial = self.screen.trial if isinstance(self.screen, Page) else self.screen_stack[0].query_one(TrialTable).trial
        if trial is None or isinstance(self.screen, Question):
            return
        status = self.watched.state.trials[trial].status.replace("_", " ")
        question = {"stop": "Stop trial {}?", "promote": "Promote trial {}?"}[verb].format(trial)

        def answered(yes: bool | None) -> None:
            if yes:
                self.notify_line(f"sending the request for trial {trial} …")
                self.run_worker(lambda: self._request(verb, trial), thread=True, exit_on_error=False)

        self.push_screen(Question(f"{question} It is {status} now."), answered)

    def _request(self, verb: str, trial: int) -> None:
        """Send the request from a thread, since the answer may take seconds."""
        try:
            answer = _requested(self.watched.run, verb, trial)
        except (SweepError, OSError) as error:
            answer = str(error)
        self.call_from_thread(self.notify_line, answer)

    async def action_quit(self) -> None:
        """Quit; the sweep continues."""
        self.exit()


def _requested(run: RunDirectory, verb: str, trial: int) -> str:
    from orchestrator.sweep import control

    options: dict[str, Any] = {"runs": run.runs, "trial": trial}
    if verb == "stop":
        control.stop(run.name, **options, wait=3.0)
        return f"trial {trial} has stopped"
    if control.promote(run.name, **options):
        return f"trial {trial} continues as soon as resources are free"
    return f"the request for trial {trial} is handled at the next report of a trial"
