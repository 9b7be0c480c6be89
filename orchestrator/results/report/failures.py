"""What went wrong in a sweep, alike with alike."""

from __future__ import annotations

from dataclasses import dataclass, field

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
