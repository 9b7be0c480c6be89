"""A sweep as one page of Markdown, to paste into an issue, a pull request or a lab book."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from orchestrator.results.figures.importance import importance_of
from orchestrator.results.trial_rows import rows
from orchestrator.results.verdict import verdict
from orchestrator.results.why import show
from orchestrator.rundir import RunDirectory
from orchestrator.safe_text import markdown as inert
from orchestrator.secrets import redact
from orchestrator.state import SweepState

TOP = 10
_MESSAGE = 300  # characters of a failure's message


def markdown(run: RunDirectory, state: SweepState) -> str:
    """The page. What others wrote (names, values, messages) is escaped, and secrets of this process are left out."""
    parts = [
        f"# {inert(run.name)}",
        "\n".join(f"- {inert(sentence)}" for sentence in verdict(run, state)),
        *_section("The winner's parameters", _winner(run, state)),
        *_section("The best trials", _top(run, state)),
        *_section("Importance", _importance(state)),
        *_section("Failures", _failures(state)),
        *_section("Environment", _environment(state)),
    ]
    return redact("\n\n".join(parts)) + "\n"


def _section(title: str, lines: Iterable[str]) -> list[str]:
    """Nothing where there are no lines."""
    found = list(lines)
    return [f"## {title}", *found] if found else []


def table(titles: Sequence[str], lines: Iterable[Sequence[object]], right: int = 0) -> str:
    """A table of texts that are escaped here; the columns from number ``right`` on are set to the right."""
    ends = ["---:" if right and place >= right else "---" for place in range(len(titles))]
    rows = [[inert(show(value)) or " " for value in line] for line in (titles, *lines)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (rows[0], ends, *rows[1:]))


def _winner(run: RunDirectory, state: SweepState) -> list[str]:
    confirmed = state.confirmation["winner"]["configuration"] if state.confirmation else None
    won = state.winner() if confirmed is None else state.trials.get(confirmed)
    best = state.objective.best(won) if won else None
    if won is None or best is None:
        return []
    params = won.params_at(best.epoch)
    return [table(("parameter", "value"), params.items(), 1)] if params else []


def _top(run: RunDirectory, state: SweepState) -> list[str]:
    found = [row for row in rows(run, state) if row["best"] is not None][:TOP]
    if not found:
        return []
    names = list(dict.fromkeys(name for row in found for name in row["params"]))
    titles = ["rank", "trial", "status", state.objective.metric, "at epoch", "of", *names]
    lines = [[*_head(row), *(row["params"].get(name, "–") for name in names)] for row in found]
    more = len(state.trials) - len(found)
    return [table(titles, lines, 3), *([f"… and {more} more."] if more else [])]


def _head(row: Mapping[str, Any]) -> list[object]:
    status = row["status"].replace("_", " ")
    return [row["rank"], row["trial"], status, row["best"], row["epoch"], row["epochs"]]


def _importance(state: SweepState) -> list[str]:
    found = importance_of(state)
    if found is None:
        return []
    shares = [(name, f"{share:.0%}") for name, share in found.shares.items()][:TOP]
    said = f"How well each tells the best {found.quantile:.0%} of {found.trials} trials from all (Optuna's PED-ANOVA)."
    return [table(("parameter", "share"), shares, 1), said]


def _failures(state: SweepState) -> list[str]:
    failures = [failure for trial in state.trials.values() for failure in trial.failures]
    counts = Counter((failure.kind, failure.fingerprint) for failure in failures)
    messages = {(failure.kind, failure.fingerprint): failure.message for failure in reversed(failures)}
    lines = [(times, key[0], messages[key][:_MESSAGE]) for key, times in counts.most_common(TOP)]
    more = len(counts) - len(lines)
    return [table(("times", "kind", "what"), lines), *([f"… and {more} kinds more."] if more else [])] if lines else []


def _environment(state: SweepState) -> list[str]:
    machine, hardware = state.machine, state.machine.get("hardware") or {}
    known = {
        "begun": datetime.fromtimestamp(state.started, UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "seed": state.created.get("seed"),
        "commit": state.created.get("git"),
        "engine": machine.get("engine"),
        "at once": state.slots or None,
        "processor": hardware.get("cpu") and f"{hardware['cpu']}, {hardware.get('cores')} cores",
        "accelerators": ", ".join(map(str, hardware.get("gpus") or ())) or None,
        **(state.created.get("versions") or {}),
    }
    lines = [(name, value) for name, value in known.items() if value is not None]
    return [table(("what", "as recorded"), lines)]
