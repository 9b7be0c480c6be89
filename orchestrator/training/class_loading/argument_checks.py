"""What is wrong with the classes and arguments that a spec names, found without building any of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from orchestrator.errors import Problem, UsageError
from orchestrator.spec import ClassSpec, KeyProblem, SamplerSearcher, SweepSpec, apply, canonical
from orchestrator.training.class_loading import argument_values
from orchestrator.training.class_loading.building_objects import as_component, is_entered
from orchestrator.training.class_loading.import_paths import import_class, import_from, import_roots
from orchestrator.training.class_loading.logged_metrics import is_logged, logged
from orchestrator.training.class_loading.signature import Signature, signature

Path = tuple[str | int, ...]
Params = dict[str, Any]

_OURS = {
    "logger": "the sweep sets it: every trial logs to its own folder, and to W&B under `tracking`",
    "default_root_dir": "the sweep sets it: every trial has a folder of its own in the run directory",
    "enable_checkpointing": "the sweep sets it: checkpoints are how a trial is resumed and how the winner is kept",
    "enable_progress_bar": "the sweep sets it: it shows all trials in one table",
}
_SHORTCUTS = {
    "fast_dev_run": "it logs and saves nothing; set limit_train_batches and limit_val_batches instead",
    "barebones": "it logs and saves nothing, so that a trial could not be judged",
}


def check(spec: SweepSpec) -> list[Problem]:
    """Every problem with the spec's classes, their arguments, the Trainer's, and the space's values for them.

    Imports the named classes and leaves ``import_roots(spec)`` on ``sys.path``. Each domain is tried at its ends or
    choices, each time within a whole configuration, so conditions and required arguments count as in a trial.
    """
    import_from(import_roots(spec))
    found: dict[tuple[Path, str], Problem] = {}
    for problem in _searcher_problems(spec):
        found[problem.path, problem.message] = replace(
            problem, **spec.locate(problem.path, key=isinstance(problem, KeyProblem))
        )
    for params in _configurations(spec):
        for problem in _configuration_problems(spec, params):
            placed = _placed(spec, problem, params)
            found.setdefault((placed.path, placed.message.split(", but got")[0]), placed)
    return sorted(found.values(), key=lambda problem: (problem.line == 0, problem.line, problem.column))


def _searcher_problems(spec: SweepSpec) -> Iterator[Problem]:
    """What is wrong with a sampler that is named by its import path."""
    if isinstance(spec.searcher, SamplerSearcher):
        wanted = import_class("optuna.samplers.BaseSampler")
        yield from _class_problems(
            spec.searcher.model_dump(include={"class_path", "init_args"}), ("searcher",), (wanted,)
        )


def _configurations(spec: SweepSpec) -> Iterator[Params]:
    """Whole configurations in which every domain takes each of its probes at least once."""
    first = _configuration(spec, {})
    yield first
    for name in spec.space.order:
        for index, probe in enumerate(spec.space[name].probes()):
            if index or name not in first:
                yield _configuration(spec, _wanted(spec, name) | {name: probe})


def _wanted(spec: SweepSpec, name: str) -> Params:
    """Values under which ``name`` is active."""
    wanted: Params = {}
    for other, allowed in spec.space[name].when.items():
        wanted |= {**_wanted(spec, other), other: allowed[0]}
    return wanted


def _configuration(spec: SweepSpec, wanted: Params) -> Params:
    params: Params = {}
    for name in spec.space.order:
        if spec.space.active(params, name):
            params[name] = wanted[name] if name in wanted else spec.space[name].probes()[0]
    return params


def _placed(spec: SweepSpec, problem: Problem, params: Params) -> Problem:
    """The problem at the space's parameter that caused it, or where it is written."""
    dotted = canonical(".".join(map(str, problem.path)))
    swept = [name for name in params if f"{dotted}.".startswith(f"{canonical(name)}.")]
    if swept:
        path = ("space", max(swept, key=len))
        return replace(problem, message=f"{path[1]}: {problem.message}", path=path, **spec.locate(path, key=True))
    return replace(problem, **spec.locate(problem.path, key=isinstance(problem, KeyProblem)))


def _configuration_problems(spec: SweepSpec, params: Params) -> Iterator[Problem]:
    from lightning import LightningDataModule, LightningModule

    model, data, trainer = apply(spec, params)
    yield from _class_problems(model.model_dump(), ("model",), (LightningModule,))
    if data is not None:
        yield from _class_problems(data.model_dump(), ("data",), (LightningDataModule,))
    yield from _trainer_problems(trainer)
    yield from _metric_problems(spec, model, trainer)


def _class_problems(component: dict[str, Any], path: Path, wanted: tuple[type, ...]) -> Iterator[Problem]:
    try:
        cls = import_class(component["class_path"])
    except UsageError as error:
        yield Problem(error.message, error.hint, (*path, "class_path"))
        return
    if wanted and not issubclass(cls, wanted):
        names = " or ".join(known.__name__ for known in wanted)
        yield Problem(f"{component['class_path']} is not a {names}", _base_hint(cls, names), (*path, "class_path"))
        return
    yield from _argument_problems(cls, component.get("init_args") or {}, (*path, "init_args"))


def _base_hint(cls: type, names: str) -> str:
    if any(base.__module__.startswith("pytorch_lightning") for base in cls.__mro__):
        return "it is built on pytorch_lightning; import `lightning` there instead, which the Trainer here is of"
    return f"name a subclass of {names}"


def _argument_problems(cls: type, given: dict[str, Any], path: Path) -> Iterator[Problem]:
    takes = signature(cls)
    for name, value in given.items():
        if name in takes.arguments:
            label = f"{cls.__name__}'s `{name}`"
            yield from _value_problems(takes.arguments[name].annotation, value, (*path, name), label)
        elif not takes.open:
            yield KeyProblem(f"{cls.__name__} takes no argument {name!r}", _nearest(name, takes), (*path, name))
    misspelt = {near for name in given if name not in takes.arguments for near in _close(name, takes)}
    for name, argument in takes.arguments.items():
        if argument.required and name not in given and name not in misspelt:
            hint = f"add {'.'.join(map(str, path))}.{name}, {argument_values.shown(argument.annotation)}"
            yield Problem(f"{cls.__name__} needs the argument `{name}`", hint, path)


def _close(name: str, takes: Signature) -> list[str]:
    return get_close_matches(name, list(takes.arguments), n=1)


def _nearest(name: str, takes: Signature) -> str:
    close = _close(name, takes)
    if close:
        return f"did you mean {close[0]}?"
    return f"it takes {', '.join(takes.arguments)}" if takes.arguments else "it takes none"


def _value_problems(annotation: Any, value: Any, path: Path, label: str) -> Iterator[Problem]:
    if argument_values.is_factory(annotation):
        yield from _parse_problems(annotation, value, path, label)
        return
    component = as_component(annotation, value)
    if component is not None:
        yield from _component_problems(annotation, value, component, path)
    elif is_entered(annotation, value):
        inside = argument_values.element(annotation)
        for key, item in argument_values.parts(value):
            yield from _value_problems(inside, item, (*path, key), label)
    elif not argument_values.fits(annotation, value):
        yield from _parse_problems(annotation, value, path, label)


def _component_problems(annotation: Any, value: Any, component: dict[str, Any], path: Path) -> Iterator[Problem]:
    """Problems of a nested class, placed where its arguments were written."""
    written_out = isinstance(value, dict) and "class_path" in value
    wanted = argument_values.component_classes(annotation)
    if isinstance(value, dict) and not written_out and signature(wanted[0]).open:  # an nn.Module, of any kind
        yield Problem(f"a {wanted[0].__name__} is wanted, but {value!r} does not say which", _by_name(path), path)
        return
    for problem in _class_problems(component, path, wanted):
        if written_out or isinstance(value, str):
            yield problem
            continue
        inside = problem.path[len(path) + 1 :] if problem.path[len(path) : len(path) + 1] == ("init_args",) else ()
        hint = problem.hint if "did you mean" in problem.hint else _by_name(path)
        yield replace(problem, hint=hint, path=(*path, *inside))


def _by_name(path: Path) -> str:
    return f"name the class: {'.'.join(map(str, path))}.class_path"


def _parse_problems(annotation: Any, value: Any, path: Path, label: str) -> Iterator[Problem]:
    if argument_values.fits(annotation, value):
        return
    if not argument_values.is_plain(annotation):
        try:
            argument_values.through_jsonargparse(annotation, value)
        except ValueError as error:
            hint = str(error)
        else:
            return
    else:
        close = get_close_matches(str(value), argument_values.words(annotation), n=1)
        hint = f"did you mean {close[0]}?" if close else f"give a value of type {argument_values.shown(annotation)}"
    kind = type(value).__name__
    yield Problem(f"{label} must be {argument_values.shown(annotation)}, but got {value!r} ({kind})", hint, path)


def _trainer_problems(trainer: dict[str, Any]) -> Iterator[Problem]:
    from lightning import Callback, Trainer

    takes = signature(Trainer)
    for name, value in trainer.items():
        path: Path = ("trainer", name)
        if name in _OURS or (name in _SHORTCUTS and value):
            yield KeyProblem(f"`{name}` cannot be set for a sweep's Trainer", _OURS.get(name) or _SHORTCUTS[name], path)
        elif name == "callbacks":
            for index, callback in enumerate(value):
                yield from _class_problems(callback, (*path, index), (Callback,))
        elif name not in takes.arguments:
            yield KeyProblem(f"Trainer takes no argument {name!r}", _nearest(name, takes), path)
        elif not (name == "precision" and value == "auto"):
            yield from _value_problems(takes.arguments[name].annotation, value, path, f"Trainer's `{name}`")
    epochs = trainer.get("max_epochs")
    if type(epochs) is int and epochs < 1 and epochs != -1:
        yield Problem(f"`max_epochs >= 1` must hold, but got {epochs}", "a trial is judged after an epoch, at least",
                      ("trainer", "max_epochs"))  # fmt: skip


def _metric_problems(spec: SweepSpec, model: ClassSpec, trainer: dict[str, Any]) -> Iterator[Problem]:
    """What trials are judged by, if the source shows that it is never logged. What the source leaves open is let be."""
    from lightning import LightningModule

    callbacks = [callback["class_path"] for callback in trainer.get("callbacks", [])]
    if any(not path.startswith(("lightning.", "orchestrator.")) for path in callbacks):
        return  # a callback may log as well
    try:
        cls = import_class(model.class_path)
    except UsageError:
        return
    names = logged(cls) if LightningModule in cls.__mro__ else None
    if names is None:
        return
    wanted: list[tuple[str, tuple[str | int, ...]]] = [(spec.objective.metric, ("objective", "metric"))]
    wanted += [(goal.metric, ("objective", "also", n, "metric")) for n, goal in enumerate(spec.objective.also)]
    wanted += [(bound.metric, ("constraints", n, "metric")) for n, bound in enumerate(spec.constraints)]
    for metric, path in wanted:
        if not is_logged(metric, names):
            yield _never_logged(model.class_path.rpartition(".")[2], metric, names, path)


def _never_logged(name: str, metric: str, names: Sequence[str], path: tuple[str | int, ...]) -> Problem:
    seen = [known for known in names if not known.startswith("test")]
    close = get_close_matches(metric, seen, n=1)
    hint = f"did you mean {close[0]}?" if close and "*" not in close[0] else f"it logs {', '.join(seen) or 'nothing'}"
    return Problem(f"{name} never logs {metric!r}", hint, path)
