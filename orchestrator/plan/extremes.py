"""The cheap and the dear corners of a space, found by a few real steps at each end of each parameter."""

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

_SCOUTED = 24  # configurations, and steps at each: enough to tell which end is the dearer one
_SCOUT_STEPS = 4
_STEPS = 20
_NOISE = 1.05
_MODULE = "orchestrator.training.profiler"

Option = tuple[Any, Mapping[str, Any]]
"""A parameter's value, and what was answered of the configuration with it."""


@dataclass(frozen=True)
class Corner:
    """A configuration and what it costs."""

    params: dict[str, Any]
    measured: Measured


def checked_roots(spec: SweepSpec) -> list[str]:
    """Folders that the spec's classes are imported from. Raises SpecError where they do not take what it gives them."""
    from orchestrator.training import class_loading

    roots = [str(Path(root).absolute()) for root in class_loading.import_roots(spec)]
    if problems := class_loading.check(spec):
        raise SpecError(problems)
    return roots


def corners(spec: SweepSpec, roots: Sequence[str]) -> dict[str, Corner]:
    """The ``cheap`` and the ``dear`` corner by time, the ``large`` one by memory; each measured in its own process.

    Which end of a parameter is which is found by trying each, the other parameters at their first, all in one process.
    Raises UsageError where a corner cannot be trained.
    """
    found = {kind: dict(sorted(params.items())) for kind, params in _corners(spec, roots).items()}
    measured: dict[str, Corner] = {}
    for kind, params in found.items():
        same = next((corner for corner in measured.values() if corner.params == params), None)
        measured[kind] = same or _measured(spec, kind, params, roots)
    return measured


def largest(spec: SweepSpec, roots: Sequence[str]) -> Corner:
    """The corner that takes the most memory, that of a GPU where there is one.

    Raises UsageError where it cannot be trained.
    """
    return _measured(spec, "large", dict(sorted(_corners(spec, roots)["large"].items())), roots)


def _corners(spec: SweepSpec, roots: Sequence[str]) -> dict[str, dict[str, Any]]:
    tried = list(_scouts(spec.space))[:_SCOUTED]
    ends: dict[str, dict[str, Any]] = {"cheap": {}, "dear": {}, "large": {}}
    if tried:
        answers = _ask(spec, [params for _, params in tried], roots, _SCOUT_STEPS)
        for name in dict.fromkeys(name for name, _ in tried):
            options = [(p[name], a) for (n, p), a in zip(tried, answers, strict=True) if n == name]
            ends["cheap"][name] = min(options, key=lambda option: _seconds(option[1]))[0]
            ends["dear"][name] = max(options, key=lambda option: _seconds(option[1]))[0]
            largest = _largest(options)
            ends["large"][name] = largest[0] if largest else ends["dear"][name]
    return {kind: configuration(spec.space, wanted) for kind, wanted in ends.items()}


def _largest(options: Sequence[Option]) -> Option | None:
    """The value that takes the most memory; None where that hangs on the parameter no more than on chance."""
    sizes = [_bytes(answer) for _, answer in options]
    return options[sizes.index(max(sizes))] if max(sizes) > _NOISE * min(sizes) else None


def _scouts(space: Space) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each parameter at each of its ends or choices, the others at their first."""
    for name in space.order:
        probes = space[name].probes()
        for value in probes if len(probes) > 1 else ():
            params = configuration(space, _conditions(space, name) | {name: value})
            if name in params:
                yield name, params


def _conditions(space: Space, name: str) -> dict[str, Any]:
    """Values of others under which a parameter is there."""
    wanted: dict[str, Any] = {}
    for other, values in space[name].when.items():
        wanted |= {**_conditions(space, other), other: values[0]}
    return wanted


def configuration(space: Space, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """A whole configuration with these values, where the parameters are active, and the first probe of each other."""
    params: dict[str, Any] = {}
    for name in space.order:
        if space.active(params, name):
            params[name] = wanted[name] if name in wanted else space[name].probes()[0]
    return params


def _seconds(answer: Mapping[str, Any]) -> float:
    """What could not be trained is the dearest."""
    return float(answer.get("seconds") or ("error" in answer and float("inf")) or 0.0)


def _bytes(answer: Mapping[str, Any]) -> float:
    return float("inf") if "error" in answer else answer["device_memory"] or answer["memory"]


def _measured(spec: SweepSpec, kind: str, params: dict[str, Any], roots: Sequence[str]) -> Corner:
    [answer] = _ask(spec, [params], roots, _STEPS)
    if "error" in answer:
        raise UsageError(f"the {kind} corner of the space cannot be trained: {answer['error']}", hint=f"it is {params}")
    return Corner(params, Measured(**answer))


def _ask(spec: SweepSpec, many: Sequence[dict[str, Any]], roots: Sequence[str], steps: int) -> list[dict[str, Any]]:
    """What each configuration costs; ``{"error": …}`` for one that fails, and for those behind one that ends it all."""
    jobs = [asdict(_job(spec, params)) for params in many]
    asked = json.dumps({"roots": list(roots), "jobs": jobs, "steps": steps})
    child = subprocess.run([sys.executable, "-m", _MODULE], input=asked, capture_output=True, text=True, check=False)
    answers = [json.loads(line) for line in child.stdout.splitlines()]
    last = (child.stderr.strip().splitlines() or ["without a word"])[-1]
    gone = {"error": f"its process ended with code {child.returncode}: {last}"}
    return answers + [gone] * (len(many) - len(answers))


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
        threads=max(1, int(spec.resources.cpus)),  # as Ray gives them to a trial
    )
