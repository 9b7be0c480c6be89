"""Everything that a run is shown by, as text: what each command prints, draws and writes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from io import StringIO
from typing import Any

from rich.console import Console

from orchestrator.engine.recorded_curves import of_sweep
from orchestrator.engine.search_comparison import compare, recorded_figures
from orchestrator.errors import UsageError
from orchestrator.journal import Event
from orchestrator.notify import messages
from orchestrator.optuna_studies.optuna_trials import View as StudyView
from orchestrator.page.followed_runs import FollowedRun
from orchestrator.page.run_page import run_page
from orchestrator.page.trial_page import trial_page
from orchestrator.page.trial_table import View
from orchestrator.plan import formatting, plan
from orchestrator.results.launch_progress import Progress
from orchestrator.results.markdown import markdown
from orchestrator.results.notebook import results_html, status_html
from orchestrator.results.ranked_rows import Rows
from orchestrator.results.report.comparison import html as comparison_html
from orchestrator.results.report.page import html
from orchestrator.results.run_comparison import compare_runs
from orchestrator.results.status import status_of
from orchestrator.results.terminal_columns import Column, cells, columns
from orchestrator.results.terminal_tables import comparison, ranking, spending, summary
from orchestrator.results.trial_rows import rows
from orchestrator.results.verdict import verdict
from orchestrator.results.verify import missing_winner
from orchestrator.results.why import stories
from orchestrator.rundir import RunDirectory
from orchestrator.state import SweepState, spec_in_force
from orchestrator.watch.dialogs import trial_text
from orchestrator.watch.header import header_lines
from orchestrator.watch.panel import panel_lines
from orchestrator.watch.snapshot import snapshot
from orchestrator.watch.watched_sweep import Watched

NAMES = re.compile(
    r"(max|min)_epochs|check_val_every_n_epoch|reload_dataloaders_every_n_epochs|epoch=\d+-segment|(?m:^ *epochs:$)"
)
"""Names that hold the word and are no progress: arguments of the Trainer, checkpoints, a budget that is not set."""


def printed(*parts: Any, width: int = 200) -> str:
    text = StringIO()
    Console(file=text, width=width).print(*parts)
    return text.getvalue()


def every_view(run: RunDirectory, events: list[Event]) -> Iterator[tuple[str, str]]:
    """Yield each view's name and text, without the names that are no progress."""
    watched = Watched(run)
    watched.refresh()
    state = watched.state
    for views in (_of_terminal(run, state, events), _of_watch(watched), _of_pages(run, state), _of_others(run, state)):
        for name, text in views:
            yield name, NAMES.sub("", text)


def _of_terminal(run: RunDirectory, state: SweepState, events: list[Event]) -> Iterator[tuple[str, str]]:
    for sentences in stories(state, list(state.trials)).values():
        yield "why", "\n".join(sentences)
    status = status_of(run, state)
    yield "status", summary(run, state, None) + spending(status.budget, status.spent)
    yield "results", printed(ranking(rows(run, state), state.objective.metric, unit=state.unit))
    yield "verdict", "\n".join(verdict(run, state))
    yield "plan", "\n".join(formatting.lines(plan(spec_in_force(state))))
    yield "verify", "\n".join(missing_winner(state))
    lost = SweepState(events)
    winner = lost.winner()
    if winner is not None:
        winner.checkpoints.clear()
        yield "verify, without the winner's checkpoint", "\n".join(missing_winner(lost))
    console = Console(file=StringIO(), width=200)
    progress, replayed = Progress(run, console), SweepState()
    for event in events:
        replayed.apply(event)
        progress(replayed, event)
    yield "launch", console.file.getvalue()  # type: ignore[attr-defined]
    yield "launch, in a terminal", printed(progress._view())


def _of_watch(watched: Watched) -> Iterator[tuple[str, str]]:
    state, table = watched.state, Rows()
    table.update(state, None)
    yield "watch, without a terminal", printed(snapshot(watched, 200))
    shown: list[Column] = columns(state.objective.metric, [], wide=True, unit=state.unit, reached=table.widest)
    yield "watch, columns", " ".join(column.title for column in shown)
    for row in table.rows.values():
        yield "watch, row", " ".join(cells(row, 1, shown, 10))
    for narrow in (False, True):
        yield "watch, header", printed(*header_lines(watched, table, 200, narrow=narrow))
    yield "watch, panel", printed(*panel_lines(state, table, watched.live))
    for number in state.trials:
        yield "watch, trial", printed(trial_text(state, number, 100, watched.live.get(number)))


def without_plotly(page: str) -> str:
    """Return the page without plotly's own script, which knows the unit of times."""
    for script in re.findall(r"<script>.*?</script>", page, re.DOTALL):
        if len(script) > 1_000_000:
            page = page.replace(script, "")
    return page


def _of_pages(run: RunDirectory, state: SweepState) -> Iterator[tuple[str, str]]:
    yield "report", without_plotly(html(run, state, run.report))
    yield "report, Markdown", markdown(run, state)
    live = FollowedRun(run, run.name)
    live.refresh()
    yield "live page", run_page(live, View())
    for number in list(state.trials)[:5]:
        yield "live page of a trial", trial_page(live, number)
    again = compare_runs([(run, state), (run, state)])
    yield "comparison", without_plotly(comparison_html(again))
    yield "notebook", results_html(run, state) + status_html(status_of(run, state))


def _of_others(run: RunDirectory, state: SweepState) -> Iterator[tuple[str, str]]:
    winner = state.winner()
    best = state.objective.best(winner) if winner else None
    if winner and best:
        for note in (messages.finished(run.name, state), messages.new_best(run.name, state, winner, best)):
            yield "notification", note.text
    view = StudyView(run, state.objective, {}, 0, alive=True, curves=True, unit=state.unit)
    yield "Optuna study", json.dumps([view.trial(trial).user_attrs for trial in state.trials.values()], default=str)
    try:
        recorded = of_sweep(run.name, state)
    except UsageError:
        return
    said: list[str] = []
    found = [recorded_figures(recorded, state), *compare(recorded, [], 2, 1, said.append)]
    table = comparison([asdict(one) for one in found], state.objective.metric)
    yield "simulate", "\n".join([printed(table), *said, *recorded.notes])
