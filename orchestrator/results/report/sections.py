"""The text sections of the report: verdict, failures, environment and next commands."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestrator.plan.time_left import time_left
from orchestrator.progress import counted, noun
from orchestrator.results.early_stops import count_stopped_early
from orchestrator.results.failure_groups import cost, failure_groups, took
from orchestrator.results.launch_changes import launch_changes
from orchestrator.results.next_changes import next_changes
from orchestrator.results.per_state import best_trial
from orchestrator.results.report.markup import Html, element, joined, pairs, table, text
from orchestrator.results.terminal_tables import duration, left_text
from orchestrator.results.verdict import interval_of, of_configuration, trained, verdict
from orchestrator.results.warning_digest import warning_groups
from orchestrator.results.why import show
from orchestrator.rundir import RunDirectory
from orchestrator.rundir.trial_logs import LogFile
from orchestrator.space.domain import same_value
from orchestrator.spec import to_yaml
from orchestrator.state import SweepState, spec_in_force

_MAX_FAILURES = 50
_MAX_NUMBERS = 12
_UNFINISHED = frozenset({"running", "paused", "interrupted", "created"})


def section(id: str, title: str, *content: object) -> Html:
    """Return a section with a heading."""
    return element("section", element("h2", title, id=f"{id}-title"), *content, id=id, aria_labelledby=f"{id}-title")


def status_line(run: RunDirectory, state: SweepState) -> Html:
    """Return the sweep's status and the time of its last record."""
    as_of = datetime.fromtimestamp(state.updated, UTC)
    word = {"created": "not started"}.get(state.status, state.status)
    running = f", {counted(state.count('running'), 'trial')} running" if state.status == "running" else ""
    left = left_text(time_left(run.journal, state)) if state.status in _UNFINISHED else ""
    return element(
        "p",
        element("span", word, class_=f"chip sweep-{state.status}"),
        " as of ",
        element("time", f"{as_of:%Y-%m-%d %H:%M:%S} UTC", datetime=as_of.isoformat(timespec="seconds")),
        f"{running}{left and ' · '}{left}{f' · {state.reason}' if state.reason else ''}",
        class_="as-of",
    )


def link_to_search(run: RunDirectory, state: SweepState, page: Path) -> Html | None:
    """Return a link from the finals' page to that of their search, None if this is no page of finals."""
    parent = run.parent_run
    if not state.racing or not parent.exists():
        return None
    name: object = parent.name
    if parent.report.exists():
        name = element("a", parent.name, href=Path(os.path.relpath(parent.report, page.parent)).as_posix())
    return element("p", "These are finals: the best of ", name, " train again under fresh seeds.", class_="kin")


@dataclass(frozen=True)
class Leader:
    """The best trial of the search, or the one that the finals confirmed; ``value`` is its value in the search."""

    number: int
    params: Mapping[str, Any]
    value: float


def leader_of(state: SweepState) -> Leader | None:
    """Return the leader; None if no trial has a finite value."""
    confirmed = (state.confirmation or {}).get("winner")
    trial = state.trials[confirmed["configuration"]] if confirmed else best_trial(state)
    best = state.objective.best(trial) if trial else None
    return Leader(trial.number, trial.params_at(best.progress), best.value) if trial and best else None


def verdict_section(run: RunDirectory, state: SweepState, leader: Leader | None) -> Html:
    """Return the section with the winner, its confirmation and the cost."""
    first, *rest = verdict(run, state)
    paragraphs = [element("p", first, class_="lead"), *(element("p", line) for line in rest)]
    words = element("div", _number(state, leader), *paragraphs, class_="verdict-text")
    return section("verdict", "Verdict", element("div", words, _parameters(leader), class_="verdict"), _tiles(state))


def _number(state: SweepState, leader: Leader | None) -> Html | None:
    """Return the headline number: the confirmed mean, or the best value of the search."""
    metric, better = state.objective.metric, "higher" if state.objective.mode == "max" else "lower"
    confirmation = state.confirmation
    if confirmation:
        row = confirmation["table"][0]
        value, note = row["mean"], f"{confirmation['level']:.0%} interval {interval_of(row)}, n = {len(row['values'])}"
    elif leader:
        best = of_configuration(state, state.trials[leader.number]) if state.repeated else ""
        of = best or f"of {counted(len(state.trials), 'trial')}"
        value, note = leader.value, f"the best {of}, not confirmed"
    else:
        return None
    number = element("strong", show(value), class_="number")
    return element("p", number, element("span", f"{metric} ({better} is better), {note}"), class_="headline")


def _parameters(leader: Leader | None) -> Html | None:
    if leader is None or not leader.params:
        return None
    items = pairs(((name, element("code", show(value))) for name, value in leader.params.items()), class_="params")
    return element("div", element("h3", f"Parameters of trial {leader.number}"), items, class_="card")


def _tiles(state: SweepState) -> Html:
    early, failed = count_stopped_early(state), state.count("failed")
    share = f"{early / len(state.trials):.0%} of trials" if state.trials else "no trial"
    tiles = [
        ("trials", f"{len(state.trials):,}", f"{state.count('finished'):,} finished"),
        (noun(state.unit), trained(state), "trained, including repeated ones"),
        ("time", duration(state.active_seconds), f"{duration(state.trial_seconds)} over all trials"),
        ("stopped early", f"{early:,}", share),
        ("failed", f"{failed:,}", cost(state) or ("trials" if failed != 1 else "trial")),
    ]
    rendered = [
        element("div", element("dt", name), element("dd", element("strong", value), element("span", note)))
        for name, value, note in tiles
    ]
    return element("dl", *rendered, class_="tiles")


def failure_section(state: SweepState) -> Html:
    """Return the section with the failures, grouped by kind and message."""
    groups = failure_groups(state)
    if not groups:
        return section("failures", "Failures", element("p", "No segment failed."))
    rows = [
        (
            group.kind,
            element("span", group.what, class_="message"),
            group.times,
            took(group.seconds),
            _numbers(sorted(group.trials)),
            element("code", LogFile(*group.first).relative),
        )
        for group in groups[:_MAX_FAILURES]
    ]
    times, ended = sum(group.times for group in groups), state.count("failed")
    summary = f"{counted(times, 'segment')} failed in {counted(len(groups), 'way')}, which took {cost(state)}; "
    summary += f"{counted(ended, 'trial')} failed for good."
    rest = len(groups) - len(rows)
    omitted = element("p", f"… and {counted(rest, 'other way')}, none more frequent than these.") if rest else None
    rendered = table(
        ("kind", "message", "times", "took", "trials", "log of the first"), rows, "Failures by kind and message"
    )
    return section("failures", "Failures", element("p", summary), rendered, omitted)


def warning_section(run: RunDirectory, state: SweepState) -> Html:
    """Return the section with what trials have warned of, alike texts together."""
    groups = warning_groups(run, state)
    if not groups:
        return section("warnings", "Warnings", element("p", "No trial warned of anything."))
    of = f"of {len(state.trials):,}"
    rows = [
        (
            f"{len(group.trials):,} {of}",
            element("span", group.text, class_="message"),
            f"{group.category}, {group.place}",
            _numbers(sorted(group.trials)),
        )
        for group in groups[:_MAX_FAILURES]
    ]
    rest = len(groups) - len(rows)
    omitted = element("p", f"… and {counted(rest, 'other')}.") if rest > 0 else None
    return section("warnings", "Warnings", table(("trials", "message", "kind", "numbers"), rows, "Warnings"), omitted)


def _numbers(numbers: list[int]) -> str:
    rest = len(numbers) - _MAX_NUMBERS
    return ", ".join(map(str, numbers[:_MAX_NUMBERS])) + (f" and {rest:,} more" if rest > 0 else "")


def changes_section(run: RunDirectory, state: SweepState) -> Html | None:
    """Return the section on what to change in the next sweep; None if nothing stands out."""
    changes = next_changes(run, state)
    if not changes:
        return None
    items = pairs(((change.finding, element("code", change.command)) for change in changes), class_="commands")
    return section("changes", "What I would change next", items)


def environment_section(run: RunDirectory, state: SweepState, leader: Leader | None) -> Html:
    """Return the section on where and how the sweep ran, with the commands that may follow."""
    yaml = to_yaml(spec_in_force(state))
    spec = element("details", element("summary", "The sweep file"), element("pre", text(yaml, keep="\n")))
    versions = state.created.get("versions") or {}
    packages = ", ".join(f"{name} {version}" for name, version in versions.items())
    facts = [*_where(run, state), ("versions", packages or "not recorded")]
    facts += [("changed", sentence) for sentence in launch_changes(state)]
    return section(
        "environment",
        "Environment",
        pairs(facts, class_="facts"),
        spec,
        element("h3", "Next commands"),
        pairs(((purpose, element("code", line)) for line, purpose in _next(run, state, leader)), class_="commands"),
    )


def _where(run: RunDirectory, state: SweepState) -> Iterator[tuple[str, object]]:
    commit = str(state.created.get("git") or "")
    changed = f", with changes: {run.diff.name}" if commit.endswith("+") else ""
    yield "run directory", element("code", run.where)
    yield "journal", counted(state.seq + 1, "record")
    yield "commit", joined([element("code", commit.rstrip("+")), changed]) if commit else "not recorded"
    yield "machine", _machine(state.machine) or "not recorded"
    yield "at once", counted(state.slots, "trial")
    if (size := spec_in_force(state).space.size) is not None:
        tried = len({same_value(trial.suggested) for trial in state.trials.values()})
        yield "space", f"{counted(size, 'distinct configuration')}, {tried:,} of them tried"
    yield "seed", str(state.created.get("seed", "not recorded"))
    if warm := state.created.get("warm_start"):
        yield "warm start from", ", ".join(map(str, warm))


def _machine(machine: dict[str, Any]) -> str:
    hardware = machine.get("hardware") or {}
    memory = f"{hardware['memory'] / 2**30:.0f} GiB" if hardware.get("memory") else ""
    cores = counted(hardware["cores"], "core") if hardware.get("cores") else ""
    gpus = ", ".join(map(str, hardware.get("gpus") or ())) or ("no GPU" if hardware else "")
    threads = f"{counted(machine['threads'], 'thread')} a trial" if machine.get("threads") else ""
    parts = (hardware.get("cpu"), cores, memory, gpus, threads, machine.get("engine") and f"engine {machine['engine']}")
    return ", ".join(str(part) for part in parts if part)


def _next(run: RunDirectory, state: SweepState, leader: Leader | None) -> Iterator[tuple[str, str]]:
    """Yield commands that can follow, and their purpose."""
    if state.status in _UNFINISHED - {"running"}:
        yield f"sweep resume {run.name}", "continue the sweep"
    if state.count("failed") and state.status != "running":
        yield f"sweep retry {run.name} --failed", "retry the failed trials"
    yield f"sweep results {run.name}", "show the ranking"
    if leader:
        yield f"sweep why {run.name}", "explain the winner; --trial N explains another trial"
    if leader and state.status == "completed" and not state.confirmation and not state.racing:
        yield f"sweep confirm {run.name}", "train the best again under fresh seeds"
    module = state.spec.get("model") is not None  # other code may have no weights to test or export
    if module and state.confirmation and not state.test_evaluations:
        yield f"sweep test {run.name}", "evaluate the winner on the test set, once"
    if module and leader and not state.racing:
        yield f"sweep export {run.name}", "export the winner as a bundle"
    yield f"sweep report {run.name}", "write this page again"
