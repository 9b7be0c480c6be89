"""Say what changed between two launches of a sweep: the user's code, libraries, arithmetic, and rules."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from orchestrator.state import Launch, SweepState, Trial

_MOST_NAMES = 5


def launch_changes(state: SweepState) -> list[str]:
    """Return a sentence for each launch that ran with something else than the one before."""
    sentences = []
    for number, (before, after) in enumerate(pairwise(state.launches), 2):
        if changes := list(_changes(before, after)):
            sentences.append(f"Launch {number} (record {after.seq}) ran with {'; '.join(changes)}.")
    return sentences


def segment_changes(state: SweepState, trial: Trial) -> list[str]:
    """Return a sentence for each segment of a trial that ran with something else than the one before."""
    sentences = []
    for (earlier, first), (segment, second) in pairwise(sorted(trial.launches.items())):
        if first != second and (changes := list(_changes(state.launches[first], state.launches[second]))):
            sentences.append(f"Segment {segment} ran with {'; '.join(changes)} than segment {earlier}.")
    return [sentence.replace("; ", ", and with ") for sentence in sentences]


def _changes(before: Launch, after: Launch) -> Iterator[str]:
    """Yield what is other, if both launches have it on record."""
    if before.code and after.code and (what := _code(before.code, after.code)):
        yield f"other code ({what})"
    if before.versions and after.versions and (what := _values(before.versions, after.versions)):
        yield f"other libraries ({what})"
    if before.numerics and after.numerics and (what := _values(before.numerics, after.numerics)):
        yield f"other arithmetic ({what})"
    if before.policies and after.policies:
        rules = {part: f"version {policy['version']}" for part, policy in before.policies.items()}
        if what := _values(rules, {part: f"version {policy['version']}" for part, policy in after.policies.items()}):
            yield f"other rules ({what})"


def _code(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    if "files" in before and "files" in after:
        old, new = before["files"], after["files"]
        names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        return f"{', '.join(names[:_MOST_NAMES])}{more}" if names else ""
    if before.get("commit") != after.get("commit"):
        return f"commit {_short(before)} → {_short(after)}"
    return ""


def _short(code: Mapping[str, Any]) -> str:
    commit = str(code.get("commit") or "none")
    return commit[:10] + "+" * (commit.endswith("+") and len(commit) > 10)


def _values(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    names = sorted(name for name in before.keys() & after.keys() if before[name] != after[name])
    return ", ".join(f"{name} {before[name]} → {after[name]}" for name in names)
