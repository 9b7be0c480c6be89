"""What stands beside the table, or in a line of its own where there is no room: workers, rungs, failures."""

from __future__ import annotations

import bisect
from collections import Counter

from rich.text import Text

from orchestrator.policies.schedulers.hyperband import brackets
from orchestrator.policies.schedulers.rungs import rung_epochs
from orchestrator.safe_text import visible
from orchestrator.state import SweepState
from orchestrator.watch.watch_rows import Rows

_FAILURES = 8
_WORKERS = 16


def rung_list(state: SweepState) -> list[int]:
    """The epochs at which trials are compared, in order; empty where the scheduler compares at none."""
    scheduler, longest = state.spec["scheduler"], state.spec["trainer"].get("max_epochs")
    grace, factor = scheduler.get("grace_epochs"), scheduler.get("reduction_factor")
    if scheduler["name"] in ("asha", "frontier") and grace:
        bound = longest if isinstance(longest, int) and longest > 0 else _furthest(state)
        found = rung_epochs(grace, factor, max(grace, bound))
        return found if scheduler["name"] == "frontier" else [rung for rung in found if rung < bound]
    if scheduler["name"] == "hyperband" and isinstance(longest, int):
        return sorted({epoch for _, _, epochs in brackets(grace, factor, longest) for epoch in epochs})
    return sorted(_compared(state))


def rungs(state: SweepState, rows: Rows) -> list[tuple[int, int, int, int]]:
    """For each rung its epoch, how many trials have come to it, how many wait there, how many were stopped there."""
    epochs = rung_list(state)
    came, waits, stopped = Counter[int](), Counter[int](), Counter[int]()
    for row in rows.rows.values():
        place = bisect.bisect_right(epochs, row.epochs) - 1
        came[place] += 1
        waits[place] += row.status == "set_aside"
        if row.stopped_at is not None:
            stopped[row.stopped_at] += 1
    found = []
    for place in reversed(range(len(epochs))):
        came[place] += came[place + 1]  # who is further has been here
        found.append((epochs[place], came[place], waits[place], stopped[epochs[place]]))
    return found[::-1]


def workers_line(state: SweepState) -> Text:
    """How many slots are taken, and by which trials."""
    if state.status != "running":
        return Text("none; nothing runs", "dim")
    text = Text(f"{len(state.running)} of {state.slots} busy{_use(state)}")
    nodes: dict[str, list[int]] = {}
    for number in sorted(state.running):
        nodes.setdefault(state.trials[number].node, []).append(number)
    for node, numbers in nodes.items():
        text.append(f"  {visible(node)}: ").append(" ".join(map(str, numbers)), "cyan")
    return text


def rungs_line(state: SweepState, rows: Rows) -> Text:
    found = rungs(state, rows)
    if not found:
        return Text(f"none ({visible(str(state.spec['scheduler']['name']))})", "dim")
    return Text("  ".join(f"epoch {rung}: {_told(came, waits)}" for rung, came, waits, _ in found))


def _told(came: int, waits: int, stopped: int = 0) -> str:
    return f"{came}" + (f", {waits} wait" if waits else "") + (f", {stopped} stopped" if stopped else "")


def side(state: SweepState, rows: Rows) -> list[Text]:
    """The panel: workers, rungs, failures, each under its heading."""
    return [*_workers(state), Text(), *_rungs(state, rows), Text(), *_failures(state)]


def _workers(state: SweepState) -> list[Text]:
    head = Text.assemble(("WORKERS", "bold"), (f"  {visible(str(state.machine.get('engine') or ''))}", "dim"))
    if state.status != "running":
        return [head, Text("nothing runs", "dim")]
    lines = [head, Text(f"{len(state.running)} of {state.slots} slots busy{_use(state)}")]
    for number in sorted(state.running)[:_WORKERS]:
        trial = state.trials[number]
        segment = f", segment {trial.segments - 1}" if trial.segments > 1 else ""
        after = f", epoch {trial.segment_epoch}{segment}"
        lines.append(Text.assemble(f"{visible(trial.node) or '?'}  ", (f"trial {number}", "cyan"), after))
    more = len(state.running) - _WORKERS
    return [*lines, Text(f"… and {more} more", "dim")] if more > 0 else lines


def _rungs(state: SweepState, rows: Rows) -> list[Text]:
    head = Text.assemble(("RUNGS", "bold"), (f"  {visible(str(state.spec['scheduler']['name']))}", "dim"))
    found = rungs(state, rows)
    if not found:
        return [head, Text("trials are compared at no epoch", "dim")]
    most = max(1, max(came for _, came, _, _ in found))
    return [head, *(_rung(most, *rung) for rung in found)]


def _rung(most: int, rung: int, came: int, waits: int, stopped: int) -> Text:
    return Text.assemble(
        f"epoch {rung:>4}  ", ("█" * -(-10 * came // most), "green"), f" {_told(came, waits, stopped)}"
    )


def _failures(state: SweepState) -> list[Text]:
    found = [(failure, trial.number) for trial in state.trials.values() for failure in trial.failures]
    if not found:
        return [Text.assemble(("FAILURES", "bold"), ("  none", "dim"))]
    lines = [Text.assemble(("FAILURES", "bold"), f"  {len(found)}")]
    kinds = Counter(failure.kind for failure, _ in found)
    lines += [Text(f"{count} {visible(kind)}", "red") for kind, count in sorted(kinds.items())]
    lines += [Text(f"trial {number}: {visible(failure.message)}") for failure, number in found[-_FAILURES:]]
    return lines


def _use(state: SweepState) -> str:
    """How much of the slots' time trials have run."""
    whole = state.active_seconds * state.slots
    return f", {min(1.0, state.trial_seconds / whole):.0%} used so far" if whole > 0 else ""


def _furthest(state: SweepState) -> int:
    return max((trial.epoch for trial in state.trials.values()), default=0)


def _compared(state: SweepState) -> set[int]:
    """The epochs of comparisons that are on record."""
    found: set[int] = set()
    for trial in state.trials.values():
        found.update(on["rung"] for on in trial.promotions if on["rule"] != "request")
        if "rung" in trial.stopped_by and "of" in trial.stopped_by:
            found.add(trial.stopped_by["rung"])
    return found
