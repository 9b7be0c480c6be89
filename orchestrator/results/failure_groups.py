"""The failures of a sweep, alike ones together, with what they cost: the same in every view."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.progress import counted
from orchestrator.results.terminal_tables import duration
from orchestrator.state import SweepState


@dataclass
class FailureGroup:
    """Failures with the same kind and fingerprint.

    Attributes:
        kind: as `failure_policy.KINDS` has it.
        message: the first one's, in one line.
        place: the line of the user's code; empty if there is none.
        first: trial and segment of the first one, whose log tells more.
        times: how many segments failed so.
        trials: their numbers.
        nodes: where they ran.
        seconds: for how long these segments ran, over all of them.
    """

    kind: str
    message: str
    place: str
    first: tuple[int, int]
    times: int = 0
    trials: set[int] = field(default_factory=set)
    nodes: set[str] = field(default_factory=set)
    seconds: float = 0.0

    @property
    def what(self) -> str:
        """The message and the line of the user's code."""
        return f"{self.message} (at {self.place})" if self.place else self.message


def failure_groups(state: SweepState) -> list[FailureGroup]:
    """Return the failures of all segments in groups, the most frequent first, ties by time."""
    groups: dict[tuple[str, str], FailureGroup] = {}
    for trial in state.trials.values():
        for failure in trial.failures:
            first = trial.number, failure.segment
            group = groups.setdefault(
                (failure.kind, failure.fingerprint), FailureGroup(failure.kind, failure.message, failure.place, first)
            )
            group.times += 1
            group.trials.add(trial.number)
            if failure.node:
                group.nodes.add(failure.node)
            group.seconds += failure.seconds
    return sorted(groups.values(), key=lambda group: -group.times)


def cost(state: SweepState) -> str:
    """Return what the failed segments cost: their time, its share of all trials' time, GPU-hours; or nothing."""
    seconds = sum(failure.seconds for trial in state.trials.values() for failure in trial.failures)
    if not any(trial.failures for trial in state.trials.values()):
        return ""
    share = f", {min(1.0, seconds / state.trial_seconds):.0%} of the trials' time" if state.trial_seconds else ""
    gpus = (state.spec.get("resources") or {}).get("gpus") or 0
    hours = f", {gpus * seconds / 3600:.2g} GPU-hours" if isinstance(gpus, int | float) and gpus else ""
    return f"{took(seconds)}{share}{hours}"


def took(seconds: float) -> str:
    """Return a failure's time in words: no time of a segment is 0 s."""
    return duration(seconds) if seconds >= 1 else "less than 1 s"


def failure_lines(state: SweepState, most: int) -> list[str]:
    """Return a line on the failures and their cost, and one for each of so many groups; none without a failure."""
    groups = failure_groups(state)
    if not groups:
        return []
    times, ways = sum(group.times for group in groups), len(groups)
    lines = [f"failures: {counted(times, 'segment')} failed in {counted(ways, 'way')}, which took {cost(state)}"]
    for group in groups[:most]:
        of = "trial " if len(group.trials) == 1 else "trials "
        numbers = ", ".join(map(str, sorted(group.trials)[:8])) + (" …" if len(group.trials) > 8 else "")
        lines.append(f"  {group.times} × {group.kind}, {of}{numbers}: {group.what}")
    return [*lines, *([f"  … and {counted(ways - most, 'other way')}"] if ways > most else [])]
