"""The cheap, dear and large corner of a space, located by a few training steps at the ends of each parameter."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import SpecError, UsageError
from orchestrator.seeds import trial_seed
from orchestrator.space import Space
from orchestrator.spec import SweepSpec, apply
from orchestrator.training import Job, Measured

_MAX_PROBES = 24  # configurations
_PROBE_STEPS = 4  # enough to tell which end of a parameter costs more
_STEPS = 20
_NOISE = 1.05  # a difference in memory below this factor is noise
_MODULE = "orchestrator.training.profiler"

Option = tuple[Any, Mapping[str, Any]]
"""A parameter's value, and the measured costs of a configuration with it."""


@dataclass(frozen=True)
class Corner:
    """A configuration and its measured costs."""

    params: dict[str, Any]
    measured: Measured


def checked_roots(spec: SweepSpec) -> list[str]:
    """Return the folders that the spec's classes are imported from.

    Raises:
        SpecError: If the classes do not accept the spec's arguments.
    """
    from orchestrator.training import class_loading

    roots = [str(Path(root).absolute()) for root in class_loading.import_roots(spec)]
    if problems := class_loading.check(spec):
        raise SpecError(problems)
    return roots


def corners(spec: SweepSpec, roots: Sequence[str]) -> dict[str, Corner]:
    """Measure the ``cheap`` and ``dear`` corner by time and the ``large`` one by memory, each in its own process.

    Each parameter is tried at its ends, with the other parameters at their first value, all in one process.

    Raises:
        UsageError: If a corner cannot be trained.
    """
    configurations = {kind: dict(sorted(params.items())) for kind, params in _corners(spec, roots).items()}
    measured: dict[str, Corner] = {}
    for kind, params in configurations.items():
        equal = next((corner for corner in measured.values() if corner.params == params), None)
        measured[kind] = equal or _measured(spec, kind, params, roots)
    return measured


def largest(spec: SweepSpec, roots: Sequence[str]) -> Corner:
    """Measure the corner with the most memory: GPU memory if there is a GPU.

    Raises:
        UsageError: If it cannot be trained.
    """
    return _measured(spec, "large", dict(sorted(_corners(spec, roots)["large"].items())), roots)


def first_configuration(spec: SweepSpec, roots: Sequence[str], steps: int = _STEPS) -> Corner:
    """Measure the configuration of each domain's first value, by a few steps in a process of its own.

    Raises:
        UsageError: If it cannot be trained.
    """
    return _measured(spec, "first", configuration(spec.space, {}), roots, steps)


def _corners(spec: SweepSpec, roots: Sequence[str]) -> dict[str, dict[str, Any]]:
    probed = list(_probes(spec.space))[:_MAX_PROBES]
    ends: dict[str, dict[str, Any]] = {"cheap": {}, "dear": {}, "large": {}}
    if probed:
        answers = _profile(spec, [params for _, params in probed], roots, _PROBE_STEPS)
        for name in dict.fromkeys(name for name, _ in probed):
            options = [
                (params[name], answer)
                for (probed_name, params), answer in zip(probed, answers, strict=True)
                if probed_name == name
            ]
            ends["cheap"][name] = min(options, key=lambda option: _seconds(option[1]))[0]
            ends["dear"][name] = max(options, key=lambda option: _seconds(option[1]))[0]
            largest_option = _largest(options)
            ends["large"][name] = largest_option[0] if largest_option else ends["dear"][name]
    return {kind: configuration(spec.space, values) for kind, values in ends.items()}


def _largest(options: Sequence[Option]) -> Option | None:
    """Return the value with the most memory; None if the parameter's effect is within noise."""
    sizes = [_bytes(answer) for _, answer in options]
    return options[sizes.index(max(sizes))] if max(sizes) > _NOISE * min(sizes) else None


def _probes(space: Space) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each parameter at each of its ends or choices, the others at their first value."""
    for name in space.order:
        probes = space[name].probes()
        for value in probes if len(probes) > 1 else ():
            params = configuration(space, _conditions(space, name) | {name: value})
            if name in params:
                yield name, params


def _conditions(space: Space, name: str) -> dict[str, Any]:
    """Return values of other parameters that make this one active."""
    conditions: dict[str, Any] = {}
    for parent, values in space[name].when.items():
        conditions |= {**_conditions(space, parent), parent: values[0]}
    return conditions


def configuration(space: Space, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a complete configuration: these values where active, and the first probe of every other parameter."""
    params: dict[str, Any] = {}
    for name in space.order:
        if space.active(params, name):
            params[name] = values[name] if name in values else space[name].probes()[0]
    return params


def _seconds(answer: Mapping[str, Any]) -> float:
    """Return the time of an answer; a configuration that failed counts as the slowest."""
    return float(answer.get("seconds") or ("error" in answer and float("inf")) or 0.0)


def _bytes(answer: Mapping[str, Any]) -> float:
    return float("inf") if "error" in answer else answer["device_memory"] or answer["memory"]


def _measured(spec: SweepSpec, kind: str, params: dict[str, Any], roots: Sequence[str], steps: int = _STEPS) -> Corner:
    [answer] = _profile(spec, [params], roots, steps)
    if "error" in answer:
        raise UsageError(f"the {kind} corner of the space cannot be trained: {answer['error']}", hint=f"it is {params}")
    return Corner(params, Measured(**answer))


def _profile(
    spec: SweepSpec, configurations: Sequence[dict[str, Any]], roots: Sequence[str], steps: int
) -> list[dict[str, Any]]:
    """Return the costs of each configuration, measured in one child process.

    A configuration that fails gives ``{"error": …}``, and so does each one after the process died.
    """
    jobs = [asdict(_job(spec, params)) for params in configurations]
    request = json.dumps({"roots": list(roots), "jobs": jobs, "steps": steps})
    child = subprocess.run([sys.executable, "-m", _MODULE], input=request, capture_output=True, text=True, check=False)
    answers = [json.loads(line) for line in child.stdout.splitlines()]
    last = (child.stderr.strip().splitlines() or ["no output on stderr"])[-1]
    died = {"error": f"its process exited with code {child.returncode}: {last}"}
    return answers + [died] * (len(configurations) - len(answers))


def _job(spec: SweepSpec, params: dict[str, Any]) -> Job:
    model, data, trainer = apply(spec, params)
    return Job(
        trial=0,
        segment=0,
        seed=trial_seed(spec.seed, 0),
        metric=spec.objective.metric,
        model=model.model_dump(),
        data=data.model_dump() if data else None,
        trainer=trainer,
        folder="",
        threads=max(1, int(spec.resources.cpu_count)),  # as Ray sets them for a trial
    )
