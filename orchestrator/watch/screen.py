"""`sweep watch` on the whole screen."""

from __future__ import annotations

import gc
from typing import Any, ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.events import Resize
from textual.widgets import Footer, Input

from orchestrator.errors import SweepError
from orchestrator.rundir import RunDirectory
from orchestrator.safe_text import visible
from orchestrator.watch.columns import FIXED, Column, columns
from orchestrator.watch.dialogs import KEYS, Page, Question, story
from orchestrator.watch.header import head
from orchestrator.watch.panel import side
from orchestrator.watch.table import Heading, Lines, TrialTable
from orchestrator.watch.watch_rows import STATUSES, Rows
from orchestrator.watch.watched_sweep import Watched

LOOK_SECONDS = 1.0
"""Between two looks at the journal. Nothing is drawn where nothing is new."""
WIDE = 120
"""From so many columns on there is a panel beside the table."""


_OF_TABLE = frozenset({"sort", "turn", "status", "words", "shift", "clear", "help"})


class WatchApp(App[None]):
    """A sweep, watched. It reads the journal, and asks the sweep's own process where somebody wants a trial's end."""

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #head, #said { height: 1; }
    #said { display: none; }
    #side { display: none; width: 44; height: 1fr; border-left: solid ansi_bright_black; }
    #words { display: none; border: none; height: 1; padding: 0 1; }
    .-wide #side { display: block; }
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

    def __init__(self, run: RunDirectory) -> None:
        super().__init__(ansi_color=True)  # known from the start, NO_COLOR takes away all colour, else it makes grey
        self.animation_level = "none"
        self.watched, self.table_rows = Watched(run), Rows()
        self.by, self.down, self.only, self.words = "rank", False, "", ""
        self._shift = 0
        self._said = ""
        self.watched.look()
        self.table_rows.update(self.watched.state, None)

    def compose(self) -> ComposeResult:
        yield Lines(id="head")
        yield Lines(id="said")
        with Horizontal():
            with Vertical():
                yield Heading()
                yield TrialTable()
            yield Lines(id="side", grows=False)
        yield Input(id="words", placeholder="words that must occur: 12 adam dropout=0.1", select_on_focus=False)
        yield Footer(compact=True)

    def on_mount(self) -> None:
        self.theme = "ansi-dark"  # the terminal's own colours, light or dark, and none under NO_COLOR
        self.query_one(TrialTable).focus()
        self.draw()
        self.set_interval(LOOK_SECONDS, self.look)
        gc.freeze()  # what was read stays: a collection that walked through it would be seen as a stutter

    def on_resize(self, event: Resize) -> None:
        self.call_after_refresh(self.draw)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Over the table there is nothing to sort and to filter."""
        return action not in _OF_TABLE or not isinstance(self.screen, Page)

    def look(self) -> None:
        """Take in what is new, and draw what has changed."""
        if self.watched.look():
            self.table_rows.update(self.watched.state, self.watched.touched)
            self.draw()
            page, touched = self.screen, self.watched.touched
            if isinstance(page, Page) and (touched is None or page.trial in touched):
                page.again()

    def draw(self) -> None:
        """Everything but the page that may be open over it."""
        screen, state = self.screen_stack[0], self.watched.state
        wide = self.size.width >= WIDE
        lines = head(self.watched, self.table_rows, self.size.width - 2, narrow=not wide)
        self._lines("#head").show(lines)
        self._say()
        if not state.spec:
            return
        if wide:
            self._lines("#side").show(side(state, self.table_rows))
        shown = self._columns(wide=wide)
        rows = self.table_rows.listed(self.by, down=self.down, status=self.only, words=self.words)
        longest = state.spec["trainer"].get("max_epochs")
        epochs = longest if isinstance(longest, int) and longest > 0 else max((row.epochs for row in rows), default=0)
        screen.query_one(Heading).show(shown, self.by, down=self.down)
        screen.query_one(TrialTable).show(rows, self.table_rows.ranks, shown, epochs)

    def _columns(self, *, wide: bool) -> list[Column]:
        """Those that are always there, then the parameters from the one that was shifted to."""
        found = columns(self.watched.state.objective.metric, self.table_rows.names, wide=wide)
        return found[:FIXED] + found[FIXED + self._shift :]

    def _say(self) -> None:
        """What is wrong, what was answered, what is filtered."""
        trouble = visible(self.watched.trouble)
        only = f"only {self.only.replace('_', ' ')}" if self.only else ""
        words = f"only with {visible(self.words)}" if self.words else ""
        filtered = ", ".join(filter(None, (only, words)))
        told = [(trouble, "bold red"), *((line, "bold yellow") for line in self._said.splitlines()), (filtered, "bold")]
        self._lines("#said").show([Text(line, style) for line, style in told if line])

    def _lines(self, where: str) -> Lines:
        return self.screen_stack[0].query_one(where, Lines)

    def say(self, text: str) -> None:
        self._said = visible(text, keep="\n")
        self.draw()

    def action_sort(self, by: int) -> None:
        keys = [column.key for column in columns("", self.table_rows.names, wide=False) if column.key]
        self.by = keys[(keys.index(self.by) + by) % len(keys)] if self.by in keys else "rank"
        self.draw()

    def action_turn(self) -> None:
        self.down = not self.down
        self.draw()

    def action_status(self) -> None:
        there = ["", *(status for status in STATUSES if self.watched.state.count(status))]
        self.only = there[(there.index(self.only) + 1) % len(there)] if self.only in there else ""
        self.draw()

    def action_shift(self, by: int) -> None:
        self._shift = min(max(0, self._shift + by), max(0, len(self.table_rows.names) - 1))
        self.draw()

    def action_words(self) -> None:
        field = self.query_one("#words", Input)
        field.display = True
        field.focus()

    def action_clear(self) -> None:
        self._said = self.only = ""
        self._filter("")
        self._leave_field()

    def on_input_changed(self, event: Input.Changed) -> None:
        self._filter(event.value)

    def on_input_submitted(self) -> None:
        self._leave_field()

    def _filter(self, words: str) -> None:
        self.words = words
        self.draw()

    def _leave_field(self) -> None:
        field = self.screen_stack[0].query_one("#words", Input)
        field.value, field.display = self.words, False
        self.screen_stack[0].query_one(TrialTable).focus()

    def action_help(self) -> None:
        self.push_screen(Page(lambda width: Text(KEYS)))

    def on_trial_table_opened(self, event: TrialTable.Opened) -> None:
        self.push_screen(Page(lambda width: story(self.watched.state, event.trial, width), event.trial))

    def action_ask(self, verb: str) -> None:
        """A request about the trial that is open, or chosen: after a question."""
        trial = self.screen.trial if isinstance(self.screen, Page) else self.screen_stack[0].query_one(TrialTable).trial
        if trial is None or isinstance(self.screen, Question):
            return
        status = self.watched.state.trials[trial].status.replace("_", " ")
        what = {"stop": "End trial {}?", "promote": "Let trial {} go on?"}[verb].format(trial)

        def answered(yes: bool | None) -> None:
            if yes:
                self.say(f"asking for trial {trial} …")
                self.run_worker(lambda: self._request(verb, trial), thread=True, exit_on_error=False)

        self.push_screen(Question(f"{what} It is {status} now."), answered)

    def _request(self, verb: str, trial: int) -> None:
        """Runs in a thread: the answer may take seconds."""
        try:
            said = _requested(self.watched.run, verb, trial)
        except (SweepError, OSError) as error:
            said = str(error)
        self.call_from_thread(self.say, said)

    async def action_quit(self) -> None:
        self.exit()


def _requested(run: RunDirectory, verb: str, trial: int) -> str:
    from orchestrator.sweep import control

    given: dict[str, Any] = {"runs": run.runs, "trial": trial}
    if verb == "stop":
        control.stop(run.name, **given, wait=3.0)
        return f"trial {trial} has ended"
    if control.promote(run.name, **given):
        return f"trial {trial} goes on as soon as there is room for it"
    return f"trial {trial} was asked for; it is taken up when a trial next reports"
