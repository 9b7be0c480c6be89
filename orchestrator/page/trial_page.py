"""The page of one trial: why it was suggested, ended and ranked so, its metrics, failures, and its log as it grows."""

from __future__ import annotations

import math
from typing import Any

from orchestrator.codec import display
from orchestrator.errors import UsageError
from orchestrator.page.followed_runs import FollowedRun
from orchestrator.page.layout import document
from orchestrator.page.run_page import news
from orchestrator.page.trial_table import curve
from orchestrator.progress import axis, place
from orchestrator.results.live_trials import left, sentence
from orchestrator.results.log_reader import logs
from orchestrator.results.report.markup import Html, element, joined, pairs, table
from orchestrator.results.report.sections import section
from orchestrator.results.terminal_graphics import curve as values_of
from orchestrator.results.why import show, why
from orchestrator.rundir.trial_logs import LogFile
from orchestrator.state import Trial

_FIRST_LINES = 1000  # of a log, its last
_MORE_LINES = 5000  # at once


def trial_page(followed: FollowedRun, number: int) -> str:
    """Return the page. Raises UsageError if there is no such trial."""
    trial = _trial(followed, number)
    listed = logs(followed.run, [number])
    sections = [("why", "Why"), ("parameters", "Parameters"), ("metrics", "Metrics"), ("log", "Log")]
    heading = [
        element("p", element("a", followed.run.name, href=f"/runs/{followed.key}"), class_="kicker"),
        element("h1", f"Trial {number}"),
    ]
    return document(
        f"Trial {number} of {followed.run.name}",
        heading=joined(heading),
        main=[
            element("div", Html(trial_part(followed, number)), id="part-trial",
                    data_refresh=f"/runs/{followed.key}/trials/{number}/part"),
            _log_section(followed, trial, listed),
        ],
        sections=tuple(sections),
        events=f"/runs/{followed.key}/events?parts=none",
        at=followed.version,
        news=news(followed),
    )  # fmt: skip


def trial_part(followed: FollowedRun, number: int) -> str:
    """Return what the journal holds about a trial, and how far it is. Raises UsageError if there is no such trial."""
    trial, state = _trial(followed, number), followed.state
    status = trial.status.replace("_", " ")
    live = followed.watched.live.get(number)
    now = element("p", f"{sentence(live, state.unit)}{left(live)}") if live else None
    best = state.objective.best(trial)
    value = f" {state.objective.metric} {show(best.value)} at {place(best.progress, state.unit)}" if best else ""
    reasons = element("ul", *(element("li", line) for line in why(state, number)), class_="reasons")
    head = element(
        "p", element("span", status, class_=f"status status-{status.replace(' ', '-')}"), value, class_="lead"
    )
    params = trial.params_at(best.progress) if best else trial.params
    items = pairs(((name, element("code", show(display(given)))) for name, given in params.items()), class_="params")
    return joined(
        [
            section("why", "Why", element("div", head, now, reasons, class_="card")),
            section("parameters", "Parameters", element("div", items, class_="card")),
            _metrics(followed, trial),
            _failures(followed, trial),
        ]
    )


def _trial(followed: FollowedRun, number: int) -> Trial:
    trial = followed.state.trials.get(number)
    if trial is None:
        raise UsageError(f"there is no trial {number}")
    return trial


def _metrics(followed: FollowedRun, trial: Trial) -> Html:
    """Return each metric with its value at the best report and the last, and its curve."""
    state = followed.state
    best = state.objective.best(trial)
    names = sorted({name for report in trial.reports.values() for name in report.metrics})
    names.sort(key=lambda name: name != state.objective.metric)
    at_best = f"best, {place(best.progress, state.unit)}" if best else "best"
    rows = []
    for name in names:
        values = values_of(trial, name)
        finite = [value for value in values if math.isfinite(value)]
        value = show(trial.value(best.progress, name)) if best else "–"
        ends = (show(min(finite)), show(max(finite))) if finite else ("–", "–")
        rows.append((name, value, show(values[-1]), *ends, element("span", curve(values, 160, 30), class_="curve")))
    if not rows:
        return section("metrics", "Metrics", element("p", "No report yet."))
    at_last = f"last, {place(trial.progress, state.unit)}"
    head = ("metric", at_best, at_last, "least", "greatest", f"by {axis(state.unit)}")
    note = element("p", f"Reports: {len(trial.reports):,}, the last at {place(trial.progress, state.unit)}.")
    return section("metrics", "Metrics", table(head, rows, "Metrics of the trial"), note)


def _failures(followed: FollowedRun, trial: Trial) -> Html | None:
    if not trial.failures:
        return None
    rows = [
        (
            failure.segment,
            failure.kind,
            element("span", failure.message, class_="message"),
            failure.place or "–",
            place(failure.progress, followed.state.unit),
            failure.node or "–",
        )
        for failure in trial.failures
    ]
    head = ("segment", "kind", "message", "at", "after", "worker")
    return section("failures", "Failures", table(head, rows, "Failures of the trial"))


def _log_section(followed: FollowedRun, trial: Trial, listed: list[LogFile]) -> Html:
    current = LogFile(trial.number, max(0, trial.segments - 1))
    listed = sorted({*listed, current}, reverse=True)
    options = [
        element("option", log.title.partition(", ")[2], value=f"{log.segment}.{log.rank}", selected=log == current)
        for log in listed
    ]
    controls = element(
        "div",
        element("label", "Of ", element("select", *options, id="log-of")),
        element("label", element("input", id="log-follow", type="checkbox", checked=True), " Follow"),
        element("label", "Lines with ", element("input", id="log-filter", type="search", autocomplete="off",
                                                spellcheck="false")),
        class_="controls",
    )  # fmt: skip
    frame = element("pre", id="log-lines", tabindex="0", role="log", aria_live="off", aria_label="Log of the trial")
    source = f"/runs/{followed.key}/trials/{trial.number}/log"
    command = element("code", f"sweep logs {followed.run.name} --trial {trial.number}")
    note = element("noscript", element("p", "The log needs JavaScript, or: ", command))
    pane = element("div", controls, frame, element("p", id="log-note"), id="log-pane", data_source=source)
    return section("log", "Log", note, pane)


def log_lines(followed: FollowedRun, log: LogFile, since: int | None) -> dict[str, Any]:
    """Return the lines of a log from number ``since`` on, or its last ones, and whether more may come.

    Raises:
        UsageError: There is no such trial.
    """
    trial = _trial(followed, log.trial)
    numbered = followed.log(log)
    shown = numbered[-_FIRST_LINES:] if since is None else [each for each in numbered if each[0] >= since][:_MORE_LINES]
    following = shown[-1][0] + 1 if shown else (since or 0)
    earlier = shown[0][0] if shown and since is None else 0
    is_growing = followed.live and trial.status == "running" and log.segment == trial.segments - 1
    return {"lines": [line for _, line in shown], "next": following, "earlier": earlier, "more": is_growing}
