"""How far the running trials are between two reports, from the small files beside the run that workers replace.

They are no part of the journal: what they say is shown, and nothing is decided by it. A file of another segment than
the running one is stale and is not shown. Where a worker's host does not share the run directory there is no file.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.policies.extend_limits import recorded_horizon
from orchestrator.progress import COUNTER, duration, place, short, value, whole
from orchestrator.rundir import RunDirectory
from orchestrator.rundir.live_progress import LiveProgress
from orchestrator.spec.progress_section import LIMITS
from orchestrator.state import SweepState, Trial

_MINUTE = 60
_STARTING_SECONDS = 60.0  # in which nobody misses the file of a new trial
_SHORTEST_SECONDS = 2.0  # of training, before the time that is left is estimated


@dataclass(frozen=True)
class LiveTrial:
    """A running trial between two reports. A number is None if it is not known.

    Attributes:
        trial: its number.
        segment: the number of its running segment.
        phase: ``training`` or ``validation``.
        batch: the batches done, of the epoch or of the validation.
        batches: the batches of the epoch, or of the validation.
        progress: in the sweep's unit; of a counter it is estimated by the samples since the last report.
        end: where the trial ends, in the same unit.
        remaining: seconds until then at the pace of the segment so far, validations and checkpoints included.
        loss: the mean loss of the last batches; text if it is not finite.
        samples_per_second: of training, over all processes of the trial.
        step_seconds: of training for one optimizer step.
        data_wait: the share of the training time in which the next batch was awaited, from 0 to 1.
        memory: resident bytes of the process.
        device_memory: bytes that torch has reserved on the device.
        device_total: bytes that the device has.
        gpu: the share of the time in which the GPU was in use, from 0 to 1.
        at: when this was so, in Unix seconds by the worker's clock.
        silent: whole minutes since then, in seconds.
    """

    trial: int
    segment: int
    phase: str
    batch: int
    batches: int | None
    progress: float | None
    end: float | None
    remaining: float | None
    loss: float | str | None
    samples_per_second: float | None
    step_seconds: float | None
    data_wait: float | None
    memory: int | None
    device_memory: int | None
    device_total: int | None
    gpu: float | None
    at: float
    silent: int


_SHARED = ("segment", "phase", "batch", "batches", "samples_per_second", "step_seconds", "data_wait", "memory",
           "device_memory", "device_total", "gpu", "at")  # fmt: skip


def live_trials(run: RunDirectory, state: SweepState) -> dict[int, LiveTrial]:
    """Return the running trials that say how far they are, by their numbers."""
    if state.status != "running":
        return {}
    contents = run.read_live(sorted(state.running))
    found = ((number, LiveProgress.from_bytes(content)) for number, content in contents.items())
    return {
        number: _live_trial(state, state.trials[number], live)
        for number, live in found
        if live and (live.trial, live.segment) == (number, state.trials[number].segments - 1)
    }


def _live_trial(state: SweepState, trial: Trial, live: LiveProgress) -> LiveTrial:
    progress, end = _progress(trial, live.place, state.unit), _end(state, trial)
    return LiveTrial(
        trial=trial.number,
        progress=progress,
        end=end,
        remaining=_remaining(live, progress, _progress(trial, live.start, state.unit), end),
        loss=live.loss if live.loss is None or math.isfinite(live.loss) else str(live.loss),
        silent=int(max(0.0, time.time() - live.at)) // _MINUTE * _MINUTE,
        **{name: getattr(live, name) for name in _SHARED},
    )


def _progress(trial: Trial, measures: Mapping[str, Any], unit: str) -> float | None:
    """Return how far a trial is in a unit; None if that is not known."""
    if not unit.startswith(COUNTER):
        return value(measures, unit)
    report = trial.reports.get(trial.progress)
    return whole(trial.progress * measures["samples"] / report.samples) if report and report.samples else None


def _end(state: SweepState, trial: Trial) -> float | None:
    """Return where the trial ends; None if that is not known."""
    if (end := recorded_horizon(state)) is not None:
        return end
    own = trial.params.get(f"trainer.{LIMITS.get(state.unit)}")
    return own if isinstance(own, int | float) and own > 0 else None


def _remaining(live: LiveProgress, progress: float | None, start: float | None, end: float | None) -> float | None:
    if progress is None or start is None or end is None or live.elapsed < _SHORTEST_SECONDS or progress <= start:
        return None
    return round(max(0.0, end - progress) * live.elapsed / (progress - start), 1)


def figures(live: LiveTrial) -> str:
    """Return the most important figures in a few characters: ``130/390  loss 0.53  1.2k/s``."""
    return "  ".join(_figures(live))


def _figures(live: LiveTrial) -> Iterator[str]:
    yield f"{'val ' if live.phase == 'validation' else ''}{live.batch}/{live.batches or '?'}"
    if live.loss is not None:
        yield f"loss {_three(live.loss)}"
    if live.samples_per_second is not None:
        yield f"{_three(live.samples_per_second)}/s"


def since(live: LiveTrial, unit: str) -> str:
    """Return where a trial is and the time that is left, in a few characters: ``step 1300, about 2 min 10 s left``."""
    if live.silent:
        return _last_seen(live)
    return ("" if live.progress is None else f"now {place(live.progress, unit)}") + left(live)


def sentence(live: LiveTrial, unit: str) -> str:
    """Return all that is known of a running trial, for people."""
    return ", ".join(_parts(live, unit))


def _last_seen(live: LiveTrial) -> str:
    return f"last seen {live.silent // _MINUTE} min ago"


def _parts(live: LiveTrial, unit: str) -> Iterator[str]:
    if live.silent:
        yield _last_seen(live)
    if live.progress is not None:
        yield place(live.progress, unit)
    yield f"{live.phase} batch {live.batch}" + (f" of {live.batches}" if live.batches is not None else "")
    if live.loss is not None:
        yield f"loss {_three(live.loss)}"
    if live.samples_per_second is not None:
        yield f"{_three(live.samples_per_second)} samples/s"
    if live.step_seconds is not None:
        yield f"{_time(live.step_seconds)} a step"
    if live.data_wait is not None:
        yield f"{live.data_wait:.0%} waiting for data"
    if live.memory is not None:
        yield f"memory {live.memory / 1e9:.2g} GB"
    if live.device_memory is not None and live.device_total:
        yield f"device memory {live.device_memory / 1e9:.2g} of {live.device_total / 1e9:.3g} GB"
    if live.gpu is not None:
        yield f"GPU {live.gpu:.0%}"


def live_lines(live: Mapping[int, LiveTrial], state: SweepState, most: int | None = None) -> list[str]:
    """Return a line a running trial, at most so many, with the time that is left; one about those that say nothing."""
    shown = [live[number] for number in sorted(live)][:most]
    lines = [f"trial {one.trial}: {sentence(one, state.unit)}{left(one)}" for one in shown]
    more = [f"… and {len(live) - len(shown)} more"] if len(live) > len(shown) else []
    return [*lines, *more, *filter(None, [unseen(state, live)])]


def left(live: LiveTrial) -> str:
    """Return ``, about 4 min 10 s left``; empty if that is not known."""
    return f", {remaining(live)} left" if live.remaining is not None else ""


def remaining(live: LiveTrial) -> str:
    """Return ``about 4 min 10 s``; empty if that is not known."""
    return "" if live.remaining is None else f"about {duration(round(live.remaining))}"


def unseen(state: SweepState, live: Mapping[int, LiveTrial]) -> str:
    """Return a sentence about trials that have run for a while and say nothing here; empty if there are none."""
    running = sorted(state.running - live.keys()) if state.status == "running" else []
    missing = [number for number in running if time.time() - _last_event(state.trials[number]) > _STARTING_SECONDS]
    if not missing:
        return ""
    trials = f"trial{'s' if len(missing) > 1 else ''} {' '.join(map(str, missing))}"
    return f"no live progress of {trials}: still starting, or on a host that does not share the run directory"


def _last_event(trial: Trial) -> float:
    """Return when the trial was suggested or has reported last, in Unix seconds."""
    report = trial.reports.get(trial.progress)
    return max(trial.started, report.time if report else 0.0)


def _three(number: float | str) -> str:
    """Return a number in three digits."""
    if isinstance(number, str):
        return number
    return short(number) if number >= 1000 else f"{number:.3g}"


def _time(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"
