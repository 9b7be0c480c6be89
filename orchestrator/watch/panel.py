"""The panel next to the table, or single lines in a narrow terminal: workers, rungs, failures."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Mapping

from rich.text import Text

from orchestrator.policies.extend_limits import recorded_horizon
from orchestrator.policies.scheduler import recorded_scheduler
from orchestrator.progress import counted, place
from orchestrator.results.failure_groups import failure_lines
from orchestrator.results.live_trials import LiveTrial, figures, live_lines, since
from orchestrator.results.ranked_rows import Rows
from orchestrator.safe_text import visible
from orchestrator.state import SweepState, rung_of

_MAX_FAILURES = 8
_MAX_WORKERS = 16


def rung_list(state: SweepState) -> list[float]:
    """Return the rungs in order; empty if the scheduler has none."""
    recorded, bound = recorded_scheduler(state.spec["scheduler"]), recorded_horizon(state) or _furthest(state)
    if recorded and (places := recorded[0].rungs(recorded[1], bound)):
        return places
    return sorted(_compared(state))


def _label(state: SweepState) -> str:
    recorded = recorded_scheduler(state.spec["scheduler"])
    return recorded[0].label(recorded[1]) if recorded else str(state.spec["scheduler"]["name"])


def rungs(state: SweepState, rows: Rows) -> list[tuple[float, int, int, int]]:
    """Return for each rung its place and the numbers of trials that reached it, wait there, and were stopped there."""
    places = rung_list(state)
    reached, waiting, stopped = Counter[int](), Counter[int](), Counter[float]()
    for row in rows.rows.values():
        place = bisect.bisect_right(places, row.progress) - 1
        reached[place] += 1
        waiting[place] += row.status == "set_aside"
        if row.stopped_at is not None:
            stopped[row.stopped_at] += 1
    listed = []
    for place in reversed(range(len(places))):
        reached[place] += reached[place + 1]  # trials at later rungs passed this one
        listed.append((places[place], reached[place], waiting[place], stopped[places[place]]))
    return listed[::-1]


def workers_line(state: SweepState) -> Text:
    """Return the number of busy slots, and their trials by host."""
    if state.status != "running":
        return Text("none; the sweep is not running", "dim")
    text = Text(f"{len(state.running)} of {state.slots} busy{utilization(state)}")
    nodes: dict[str, list[int]] = {}
    for number in sorted(state.running):
        nodes.setdefault(state.trials[number].node, []).append(number)
    for node, numbers in nodes.items():
        text.append(f"  {visible(node) or '?'}: ").append(" ".join(map(str, numbers)), "cyan")
    return text


def rungs_line(state: SweepState, rows: Rows) -> Text:
    """Return the rungs in one line."""
    listed = rungs(state, rows)
    if not listed:
        return Text(f"none ({visible(_label(state))})", "dim")
    return Text(
        "  ".join(f"{place(rung, state.unit)}: {_counts(arrived, waits)}" for rung, arrived, waits, _ in listed)
    )


def _counts(arrived: int, waits: int, stopped: int = 0) -> str:
    return f"{arrived}" + (f", {waits} wait" if waits else "") + (f", {stopped} stopped" if stopped else "")


def panel_lines(state: SweepState, rows: Rows, live: Mapping[int, LiveTrial]) -> list[Text]:
    """Return the panel: workers with the trials that they run now, rungs and failures, each with a heading."""
    return [*_workers(state, live), Text(), *_rungs(state, rows), Text(), *_failures(state)]


def live_text(live: Mapping[int, LiveTrial], state: SweepState, most: int) -> list[Text]:
    """Return a line for each of so many running trials: how far it is since its last report."""
    return [Text(line, "dim") for line in live_lines(live, state, most)]


def _workers(state: SweepState, live: Mapping[int, LiveTrial]) -> list[Text]:
    head = Text.assemble(("WORKERS", "bold"), (f"  {visible(str(state.machine.get('engine') or ''))}", "dim"))
    if state.status != "running":
        return [head, Text("the sweep is not running", "dim")]
    lines = [head, Text(f"{len(state.running):,} of {counted(state.slots, 'slot')} busy{utilization(state)}")]
    for number in sorted(state.running)[:_MAX_WORKERS]:
        trial = state.trials[number]
        segment = f", segment {trial.segments - 1}" if trial.segments > 1 else ""
        progress = f", {place(trial.segment_progress, state.unit)}{segment}"
        lines.append(Text.assemble(f"{visible(trial.node) or '?'}  ", (f"trial {number}", "cyan"), progress))
        if number in live:
            lines += [Text(f"  {figures(live[number])}"), Text(f"  {visible(since(live[number], state.unit))}", "dim")]
    hidden = len(state.running) - _MAX_WORKERS
    return [*lines, Text(f"… and {hidden} more", "dim")] if hidden > 0 else lines


def _rungs(state: SweepState, rows: Rows) -> list[Text]:
    head = Text.assemble(("RUNGS", "bold"), (f"  {visible(_label(state))}", "dim"))
    listed = rungs(state, rows)
    if not listed:
        return [head, Text("the scheduler has no rungs", "dim")]
    most = max(1, max(arrived for _, arrived, _, _ in listed))
    return [head, *(_rung(most, place(rung, state.unit), *counts) for rung, *counts in listed)]


def _rung(most: int, rung: str, arrived: int, waits: int, stopped: int) -> Text:
    return Text.assemble(
        f"{rung:<10}  ", ("█" * -(-10 * arrived // most), "green"), f" {_counts(arrived, waits, stopped)}"
    )


def _failures(state: SweepState) -> list[Text]:
    lines = failure_lines(state, _MAX_FAILURES)
    if not lines:
        return [Text.assemble(("FAILURES", "bold"), ("  none", "dim"))]
    head, *groups = lines
    return [
        Text.assemble(("FAILURES", "bold"), f"  {visible(head.removeprefix('failures: '))}"),
        *(Text(visible(line.strip()), "red") for line in groups),
    ]


def utilization(state: SweepState) -> str:
    """Return the share of the slots' time in which trials ran."""
    available = state.active_seconds * state.slots
    return f", {min(1.0, state.trial_seconds / available):.0%} used so far" if available > 0 else ""


def _furthest(state: SweepState) -> float:
    return max((trial.progress for trial in state.trials.values()), default=0)


def _compared(state: SweepState) -> set[float]:
    """Return the places of recorded comparisons."""
    places: set[float | None] = set()
    for trial in state.trials.values():
        places.update(map(rung_of, (each for each in trial.promotions if each["rule"] != "request")))
        if "of" in trial.stopped_by:
            places.add(rung_of(trial.stopped_by))
    return {place for place in places if place is not None}
