"""A sweep as a page of Markdown, for an issue, a pull request or a lab notebook."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from orchestrator.progress import axis, counted
from orchestrator.results.failure_groups import FailureGroup, cost, failure_groups, took
from orchestrator.results.figures.importance import importance_of
from orchestrator.results.trial_rows import rows
from orchestrator.results.verdict import verdict
from orchestrator.results.warning_digest import digest
from orchestrator.results.why import show
from orchestrator.rundir import RunDirectory
from orchestrator.rundir.trial_logs import LogFile
from orchestrator.safe_text import markdown as inert
from orchestrator.state import SweepState

TOP = 10
_MESSAGE_LENGTH = 300  # characters of a failure's message


def markdown(run: RunDirectory, state: SweepState) -> str:
    """Return the page; text from the run is escaped, and secrets of this process are masked."""
    parts = [
        f"# {inert(run.name)}",
        "\n".join(f"- {inert(sentence)}" for sentence in verdict(run, state)),
        *_section("The winner's parameters", _winner(run, state)),
        *_section("The best trials", _top(run, state)),
        *_section("Importance", _importance(state)),
        *_section("Failures", _failures(state)),
        *_section("Warnings", _warnings(run, state)),
        *_section("Environment", _environment(state)),
    ]
    return "\n\n".join(parts) + "\n"


def _section(title: str, lines: Iterable[str]) -> list[str]:
    """Return a titled section, or nothing if it has no lines."""
    content = list(lines)
    return [f"## {title}", *content] if content else []


def table(titles: Sequence[str], lines: Iterable[Sequence[object]], right: int = 0) -> str:
    """Return a Markdown table and escape its texts.

    Columns from number ``right`` on are aligned to the right; 0 aligns none.
    """
    rules = ["---:" if right and column >= right else "---" for column in range(len(titles))]
    rows = [[inert(show(value)) or " " for value in line] for line in (titles, *lines)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (rows[0], rules, *rows[1:]))


def _winner(run: RunDirectory, state: SweepState) -> list[str]:
    confirmed = state.confirmation["winner"]["configuration"] if state.confirmation else None
    won = state.winner() if confirmed is None else state.trials.get(confirmed)
    best = state.objective.best(won) if won else None
    if won is None or best is None:
        return []
    params = won.params_at(best.progress)
    return [table(("parameter", "value"), params.items(), 1)] if params else []


def _top(run: RunDirectory, state: SweepState) -> list[str]:
    top = [row for row in rows(run, state) if row["best"] is not None][:TOP]
    if not top:
        return []
    names = list(dict.fromkeys(name for row in top for name in row["params"]))
    titles = ["rank", "trial", "status", state.objective.metric, f"at {axis(state.unit)}", "of", *names]
    lines = [[*_head(row), *(row["params"].get(name, "–") for name in names)] for row in top]
    hidden = len(state.trials) - len(top)
    return [table(titles, lines, 3), *([f"… and {hidden} more."] if hidden else [])]


def _head(row: Mapping[str, Any]) -> list[object]:
    status = row["status"].replace("_", " ")
    return [row["rank"], row["trial"], status, row["best"], row["at"], row["progress"]]


def _importance(state: SweepState) -> list[str]:
    importance = importance_of(state)
    if importance is None:
        return []
    shares = [(name, f"{share:.0%}") for name, share in importance.shares.items()][:TOP]
    best = f"the best {importance.quantile:.0%} of {counted(importance.trials, 'trial')}"
    note = f"The share says how well a parameter separates {best} from all (Optuna's PED-ANOVA)."
    return [table(("parameter", "share"), shares, 1), note]


def _failures(state: SweepState) -> list[str]:
    groups = failure_groups(state)
    if not groups:
        return []
    lines = [
        (group.times, group.kind, group.what[:_MESSAGE_LENGTH], took(group.seconds), _first(group))
        for group in groups[:TOP]
    ]
    hidden = len(groups) - len(lines)
    rows = table(("times", "kind", "message", "took", "log of the first"), lines)
    return [f"They took {inert(cost(state))}.", rows, *([f"… and {hidden} more kinds."] if hidden else [])]


def _first(group: FailureGroup) -> str:
    return LogFile(*group.first).relative


def _warnings(run: RunDirectory, state: SweepState) -> list[str]:
    lines = digest(run, state, TOP)
    return ["\n".join(f"- {inert(line)}" for line in lines)] if lines else []


def _environment(state: SweepState) -> list[str]:
    machine, hardware = state.machine, state.machine.get("hardware") or {}
    facts = {
        "started": datetime.fromtimestamp(state.started, UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "seed": state.created.get("seed"),
        "commit": state.created.get("git"),
        "engine": machine.get("engine"),
        "at once": state.slots or None,
        "processor": hardware.get("cpu") and f"{hardware['cpu']}, {counted(hardware.get('cores') or 0, 'core')}",
        "accelerators": ", ".join(map(str, hardware.get("gpus") or ())) or None,
        **(state.created.get("versions") or {}),
    }
    lines = [(name, value) for name, value in facts.items() if value is not None]
    return [table(("fact", "as recorded"), lines)]
