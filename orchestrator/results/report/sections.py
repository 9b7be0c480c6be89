"""What the page says in words: the verdict, what went wrong, and where and how the sweep ran."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orchestrator.results.report.markup import Html, element, joined, pairs, table, text
from orchestrator.results.terminal_tables import duration
from orchestrator.results.verdict import interval_of, verdict
from orchestrator.results.why import show
from orchestrator.rundir import RunDirectory
from orchestrator.spec import SweepSpec, dump
from orchestrator.state import SweepState


@dataclass
class Alike:
    """Failures of one kind that say the same: how many there were, and in which trials."""

    kind: str
    message: str
    times: int = 0
    trials: set[int] = field(default_factory=set)
    nodes: set[str] = field(default_factory=set)


def failures(state: SweepState) -> list[Alike]:
    """The failures of all segments, the most frequent first, and the earliest of as many."""
    found: dict[tuple[str, str], Alike] = {}
    for trial in state.trials.values():
        for failure in trial.failures:
            alike = found.setdefault((failure.kind, failure.fingerprint), Alike(failure.kind, failure.message))
            alike.times += 1
            alike.trials.add(trial.number)
            alike.nodes.add(failure.node)
    return sorted(found.values(), key=lambda alike: -alike.times)


_MOST_FAILURES = 50
_MOST_NUMBERS = 12
_LIVE = frozenset({"running", "paused", "interrupted", "created"})


def section(id: str, title: str, *content: object) -> Html:
    return element("section", element("h2", title, id=f"{id}-title"), *content, id=id, aria_labelledby=f"{id}-title")


def status_line(state: SweepState) -> Html:
    """How far it is, and as of when."""
    as_of = datetime.fromtimestamp(state.updated, UTC)
    words = {"created": "not begun"}.get(state.status, state.status)
    running = f", {state.count('running')} trials running" if state.status == "running" else ""
    return element(
        "p",
        element("span", words, class_=f"chip sweep-{state.status}"),
        " as of ",
        element("time", f"{as_of:%Y-%m-%d %H:%M:%S} UTC", datetime=as_of.isoformat(timespec="seconds")),
        f"{running}{f' · {state.reason}' if state.reason else ''}",
        class_="as-of",
    )


def kinship(run: RunDirectory, state: SweepState, page: Path) -> Html | None:
    """The search that these are the finals of, with a link to its page where it has one."""
    parent = run.above
    if not state.racing or not parent.exists():
        return None
    name: object = parent.name
    if parent.report.exists():
        name = element("a", parent.name, href=Path(os.path.relpath(parent.report, page.parent)).as_posix())
    return element("p", "These are finals: the best of ", name, " train again under fresh seeds.", class_="kin")


@dataclass(frozen=True)
class Won:
    """The trial of the search that leads, or whose parameters the finals have confirmed. ``value`` is its own best."""

    number: int
    params: Mapping[str, Any]
    value: float


def winning(state: SweepState) -> Won | None:
    """None where no trial has a finite value."""
    confirmed = (state.confirmation or {}).get("winner")
    trial = state.trials[confirmed["configuration"]] if confirmed else state.winner()
    best = state.objective.best(trial) if trial else None
    return Won(trial.number, trial.params_at(best.epoch), best.value) if trial and best else None


def the_verdict(run: RunDirectory, state: SweepState, won: Won | None) -> Html:
    """The winner, how sure that is, and what it took."""
    first, *others = verdict(run, state)
    said = [element("p", first, class_="lead"), *(element("p", line) for line in others)]
    told = element("div", _number(state, won), *said, class_="told")
    return section("verdict", "Verdict", element("div", told, _parameters(won), class_="verdict"), _tiles(state))


def _number(state: SweepState, won: Won | None) -> Html | None:
    """The number that all is about, large: confirmed, or else the search's best."""
    metric, better = state.objective.metric, "higher" if state.objective.mode == "max" else "lower"
    found = state.confirmation
    if found:
        row = found["table"][0]
        value, note = row["mean"], f"{found['level']:.0%} interval {interval_of(row)}, n = {len(row['values'])}"
    elif won:
        value, note = won.value, f"the best of {len(state.trials):,} trials, not confirmed"
    else:
        return None
    number = element("strong", show(value), class_="number")
    return element("p", number, element("span", f"{metric} ({better} is better), {note}"), class_="headline")


def _parameters(won: Won | None) -> Html | None:
    if won is None or not won.params:
        return None
    listed = pairs(((name, element("code", show(value))) for name, value in won.params.items()), class_="params")
    return element("div", element("h3", f"Parameters of trial {won.number}"), listed, class_="card")


def _tiles(state: SweepState) -> Html:
    early, failed = state.count("stopped"), state.count("failed")
    share = f"{early / len(state.trials):.0%} of trials" if state.trials else "no trial"
    tiles = [
        ("trials", f"{len(state.trials):,}", f"{state.count('finished'):,} finished"),
        ("epochs", f"{state.epochs:,}", "trained, repeated ones too"),
        ("time", duration(state.active_seconds), f"{duration(state.trial_seconds)} over all trials"),
        ("stopped early", f"{early:,}", share),
        ("failed", f"{failed:,}", "trials" if failed != 1 else "trial"),
    ]
    shown = [
        element("div", element("dt", name), element("dd", element("strong", value), element("span", note)))
        for name, value, note in tiles
    ]
    return element("dl", *shown, class_="tiles")


def what_failed(state: SweepState) -> Html:
    found = failures(state)
    if not found:
        return section("failures", "Failures", element("p", "None: no segment of any trial failed."))
    rows = [
        (alike.kind, element("span", alike.message, class_="message"), alike.times, _numbers(sorted(alike.trials)))
        for alike in found[:_MOST_FAILURES]
    ]
    times, ended = sum(alike.times for alike in found), state.count("failed")
    said = f"{_count(times, 'segment')} failed, in {len(found)} ways; {_count(ended, 'trial')} came to nothing by it."
    rest = len(found) - len(rows)
    more = element("p", f"… and {rest} other ways, each no more frequent than these.") if rest else None
    shown = table(("kind", "message", "times", "trials"), rows, "Failures by what they say")
    return section("failures", "Failures", element("p", said), shown, more)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _numbers(numbers: list[int]) -> str:
    rest = len(numbers) - _MOST_NUMBERS
    return ", ".join(map(str, numbers[:_MOST_NUMBERS])) + (f" and {rest:,} more" if rest > 0 else "")


def environment(run: RunDirectory, state: SweepState, won: Won | None) -> Html:
    written = dump(SweepSpec.model_validate(state.spec).model_dump(mode="json", exclude_defaults=True))
    spec = element("details", element("summary", "The sweep file"), element("pre", text(written, keep="\n")))
    versions = state.created.get("versions") or {}
    told = ", ".join(f"{name} {version}" for name, version in versions.items())
    facts = [*_where(run, state), ("versions", told or "not on record")]
    return section(
        "environment",
        "Environment",
        pairs(facts, class_="facts"),
        spec,
        element("h3", "Go on"),
        pairs(((what, element("code", line)) for line, what in _next(run, state, won)), class_="commands"),
    )


def _where(run: RunDirectory, state: SweepState) -> Iterator[tuple[str, object]]:
    commit = str(state.created.get("git") or "")
    changed = f", with changes: {run.diff.name}" if commit.endswith("+") else ""
    yield "run directory", element("code", run.where)
    yield "journal", f"{state.seq + 1:,} records"
    yield "commit", joined([element("code", commit.rstrip("+")), changed]) if commit else "not on record"
    yield "machine", _machine(state.machine) or "not on record"
    yield "at once", _count(state.slots, "trial")
    yield "seed", str(state.created.get("seed", "not on record"))
    if warm := state.created.get("warm_start"):
        yield "began with", ", ".join(map(str, warm))


def _machine(told: dict[str, Any]) -> str:
    hardware = told.get("hardware") or {}
    memory = f"{hardware['memory'] / 2**30:.0f} GiB" if hardware.get("memory") else ""
    cores = f"{hardware['cores']} cores" if hardware.get("cores") else ""
    gpus = ", ".join(map(str, hardware.get("gpus") or ())) or ("no GPU" if hardware else "")
    threads = f"{told['threads']} threads a trial" if told.get("threads") else ""
    parts = (hardware.get("cpu"), cores, memory, gpus, threads, told.get("engine") and f"engine {told['engine']}")
    return ", ".join(str(part) for part in parts if part)


def _next(run: RunDirectory, state: SweepState, won: Won | None) -> Iterator[tuple[str, str]]:
    """Commands that can follow, and what for."""
    if state.status in _LIVE - {"running"}:
        yield f"sweep resume {run.name}", "go on with the sweep"
    if state.count("failed") and state.status != "running":
        yield f"sweep retry {run.name} --failed", "give those that failed another chance"
    yield f"sweep results {run.name}", "the ranking"
    if won:
        yield f"sweep why {run.name}", "why the winner won; --trial N for another"
    if won and state.status == "completed" and not state.confirmation and not state.racing:
        yield f"sweep confirm {run.name}", "train the best again under fresh seeds"
    if state.confirmation and not state.test_evaluations:
        yield f"sweep test {run.name}", "the winner on the test set, once"
    if won and not state.racing:
        yield f"sweep export {run.name}", "the winner in a folder of its own"
    yield f"sweep report {run.name}", "this page, as of then"
