"""Choose the CPU cores of a trial for ``resources: auto``, so that the trials that run at once use the machine."""

from __future__ import annotations

import math

from orchestrator.policies.distinct import distinct_trials
from orchestrator.policies.searcher import trial_limit
from orchestrator.spec import SweepSpec

_LEAST_MEMORY = 1_000_000_000  # bytes of the host for each process of a trial
_ALWAYS = 4  # trials at once, whatever their number
_SHARE = 4  # of the trials at most a fourth run at once: the search learns from those that have reported


def cores_of_a_trial(spec: SweepSpec, gpus: float, *, cores: int, devices: int, memory: int) -> int:
    """Return the CPU cores for each process of a trial.

    Args:
        spec: the sweep.
        gpus: of each process of a trial.
        cores: of the machine.
        devices: GPUs of the machine.
        memory: bytes of the machine.
    """
    limits = [cores, max(1, memory // _LEAST_MEMORY)]
    if gpus:
        limits.append(max(1, int(devices / gpus + 1e-9)))
    trials = [limit for limit in (trial_limit(spec), distinct_trials(spec)) if limit is not None]
    workers = spec.resources.workers
    if trials:
        limits.append(min(min(trials), max(_ALWAYS, math.ceil(min(trials) / _SHARE))) * workers)
    if spec.resources.concurrent:
        limits.append(spec.resources.concurrent * workers)
    processes = max(1, min(limits))
    floor = max(1, cores // processes)
    return floor if cores // floor <= processes else math.ceil(cores / processes)
