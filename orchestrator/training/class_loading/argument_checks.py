"""Check the classes and arguments that a spec names, without building an object."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from orchestrator import codec
from orchestrator.errors import Problem, UsageError
from orchestrator.spec import ClassSpec, KeyProblem, SweepSpec, apply, canonical, plugin_of
from orchestrator.spec.interpolation import is_reference
from orchestrator.spec.old_trainer import HOOKS, present_arguments, present_spelling
from orchestrator.training.class_loading import argument_types
from orchestrator.training.class_loading.argument_types import Signature, signature
from orchestrator.training.class_loading.import_paths import import_class, import_from, import_roots
from orchestrator.training.class_loading.instantiation import (
    as_component,
    has_objects,
    holds_components,
    import_target,
    named_object,
    require_data,
)
from orchestrator.training.class_loading.logged_metrics import is_logged, logged_names
from orchestrator.training.class_loading.optimizer_sections import monitored, optimizer_bases, scheduler_bases
from orchestrator.training.class_loading.short_names import with_full_paths
from orchestrator.training.class_loading.training_length import length_problems

Path = tuple[str | int, ...]
Params = dict[str, Any]

_SET_BY_SWEEP = {
    "default_root_dir": "the sweep sets it: every trial has a folder of its own in the run directory",
    "enable_checkpointing": "the sweep sets it: checkpoints are how a trial is resumed and how the winner is kept",
    "enable_progress_bar": "the sweep sets it: it shows all trials in one table",
}
_UNUSABLE = {
    "fast_dev_run": "it logs and saves nothing; set limit_train_batches and limit_val_batches instead",
    "barebones": "it logs and saves nothing, so that a trial could not be judged",
}


def check(spec: SweepSpec) -> list[Problem]:
    """Return every problem with the spec's classes, their arguments, the Trainer's, and the space's values for them.

    Imports the named classes and leaves ``import_roots(spec)`` on ``sys.path``. Each domain is tried at its ends or
    choices, each time in a complete configuration, so conditions and required arguments count as in a trial. The
    problems are sorted by their position in the sweep file.
    """
    import_from(import_roots(spec))
    spec = with_full_paths(spec)
    problems: dict[tuple[Path, str], Problem] = {}
    for problem in _searcher_problems(spec):
        problems[problem.path, problem.message] = with_position(spec, problem)
    for params in () if spec.is_code else configurations(spec):
        for problem in _configuration_problems(spec, params):
            located = _located_in_space(spec, problem, params)
            problems.setdefault((located.path, located.message.split(", but got")[0]), located)
    return sorted(problems.values(), key=lambda problem: (problem.line == 0, problem.line, problem.column))


def never_logged(spec: SweepSpec) -> list[Problem]:
    """Return the objectives and constraints whose metric the model's source shows to be never logged.

    It is a suspicion: reading source cannot know what running it does.
    """
    model, _, trainer = apply(spec, _configuration(spec, {}))
    if not isinstance(model, ClassSpec):
        return []
    return [with_position(spec, problem) for problem in _metric_problems(spec, model, trainer)]


def _searcher_problems(spec: SweepSpec) -> Iterator[Problem]:
    """Yield the problems of a sampler that is named by its import path."""
    if base := plugin_of(spec.searcher).class_base:
        yield from _class_problems(
            spec.searcher.model_dump(include={"class_path", "init_args"}), ("searcher",), (import_class(base),)
        )


def configurations(spec: SweepSpec) -> Iterator[Params]:
    """Yield complete configurations in which every domain takes each of its probes at least once."""
    first = _configuration(spec, {})
    yield first
    for name in spec.space.order:
        for index, probe in enumerate(spec.space[name].probes()):
            if index or name not in first:
                yield _configuration(spec, _activating_params(spec, name) | {name: probe})


def _activating_params(spec: SweepSpec, name: str) -> Params:
    """Return values under which the parameter ``name`` is active."""
    params: Params = {}
    for parent, allowed in spec.space[name].when.items():
        params |= {**_activating_params(spec, parent), parent: allowed[0]}
    return params


def _configuration(spec: SweepSpec, fixed: Params) -> Params:
    params: Params = {}
    for name in spec.space.order:
        if spec.space.active(params, name):
            params[name] = fixed[name] if name in fixed else spec.space[name].probes()[0]
    return params


def with_position(spec: SweepSpec, problem: Problem) -> Problem:
    """Add the position in the sweep file."""
    return replace(problem, **spec.locate(problem.path, key=isinstance(problem, KeyProblem)))


def _located_in_space(spec: SweepSpec, problem: Problem, params: Params) -> Problem:
    """Add the position of the space's parameter that caused the problem, else of the argument itself."""
    dotted = canonical(".".join(map(str, problem.path)))
    swept = [name for name in params if f"{dotted}.".startswith(f"{canonical(name)}.")]
    if not swept:
        return with_position(spec, problem)
    path = ("space", max(swept, key=len))
    return replace(problem, message=f"{path[1]}: {problem.message}", path=path, **spec.locate(path, key=True))


def _configuration_problems(spec: SweepSpec, params: Params) -> Iterator[Problem]:
    from lightning import LightningDataModule, LightningModule

    model, data, trainer = apply(spec, params)
    written = model.model_dump()
    yield from _class_problems(written, ("model",), (LightningModule,))
    yield from _hook_problems(written["class_path"])
    if data is not None:
        yield from _class_problems(data.model_dump(), ("data",), (LightningDataModule,))
    if written.get("optimizer"):
        yield from _class_problems(written["optimizer"], ("optimizer",), optimizer_bases(), "params")
    if written.get("lr_scheduler"):
        scheduler = monitored(written["lr_scheduler"])
        yield from _class_problems(scheduler, ("lr_scheduler",), scheduler_bases(), "optimizer")
        if not written.get("optimizer"):
            yield Problem("`lr_scheduler` needs an `optimizer`", "add the section", ("lr_scheduler",))
    for name, part in (written.get("objects") or {}).items():
        yield from _class_problems(part, ("objects", name), ())
    yield from _trainer_problems(trainer)


def _hook_problems(class_path: str) -> Iterator[Problem]:
    """Yield the hooks of a module that Lightning 2 no longer calls."""
    try:
        cls = import_target(class_path)
    except UsageError:
        return
    if not isinstance(cls, type):
        return
    for owner in cls.__mro__:
        if owner.__module__.startswith(("lightning.", "torch.")):
            break
        for name in vars(owner).keys() & HOOKS.keys():
            message = f"{cls.__name__}.{name} is of an earlier Lightning, and is not called"
            yield Problem(message, f"today it is {HOOKS[name]}", ("model", "class_path"))


def _class_problems(
    component: Mapping[str, Any], path: Path, bases: tuple[type, ...], passed: str = ""
) -> Iterator[Problem]:
    """Yield the problems of a class or function and its arguments; ``passed`` names one that the sweep passes."""
    try:
        target = import_target(component["class_path"], () if path == ("data",) else bases)
        if path == ("data",):
            require_data(target, component["class_path"])
    except UsageError as error:
        yield Problem(error.message, error.hint, (*path, "class_path"))
        return
    accepted = signature(target)
    extra = component.get("dict_kwargs") or {}
    if extra and not accepted.takes_any:
        message = f"{_name(target)} takes no **kwargs, so no dict_kwargs"
        yield KeyProblem(message, "write them under init_args", (*path, "dict_kwargs"))
    given = {**(component.get("init_args") or {})}
    for problem in _argument_problems(target, given, (*path, "init_args"), {passed, *extra}):
        if not (component.get("partial") and " needs the argument " in problem.message):
            yield problem


def _name(target: Any) -> str:
    return getattr(target, "__name__", type(target).__name__)


def _argument_problems(
    cls: Any, init_args: dict[str, Any], path: Path, given: Collection[str] = ()
) -> Iterator[Problem]:
    accepted = signature(cls)
    for name, value in init_args.items():
        if name in accepted.arguments:
            label = f"{_name(cls)}'s `{name}`"
            yield from _value_problems(accepted.arguments[name].annotation, value, (*path, name), label)
        elif not accepted.open:
            yield KeyProblem(f"{_name(cls)} takes no argument {name!r}", _name_hint(name, accepted), (*path, name))
    misspelt = {near for name in init_args if name not in accepted.arguments for near in _close_names(name, accepted)}
    for name, argument in accepted.arguments.items():
        if argument.required and name not in init_args and name not in misspelt and name not in given:
            hint = f"add {'.'.join(map(str, path))}.{name}, {argument_types.type_name(argument.annotation)}"
            yield Problem(f"{_name(cls)} needs the argument `{name}`", hint, path)


def _close_names(name: str, accepted: Signature) -> list[str]:
    return get_close_matches(name, list(accepted.arguments), n=1)


def _name_hint(name: str, accepted: Signature) -> str:
    close = _close_names(name, accepted)
    if close:
        return f"did you mean {close[0]}?"
    return f"it takes {', '.join(accepted.arguments)}" if accepted.arguments else "it takes no arguments"


def _value_problems(annotation: Any, value: Any, path: Path, label: str) -> Iterator[Problem]:
    if is_reference(value):  # to what is not built yet
        return
    if codec.tagged_inside(value) and not holds_components(value) and as_component(annotation, value) is None:
        yield from _tag_problems(annotation, value, path, label)
        return
    if argument_types.is_factory(annotation):
        yield from _parse_problems(annotation, value, path, label)
        return
    component = as_component(annotation, value)
    if component is not None:
        yield from _component_problems(annotation, value, component, path)
    elif has_objects(annotation, value):
        item_annotation = argument_types.element(annotation)
        for key, item in argument_types.items_of(value):
            yield from _value_problems(item_annotation, item, (*path, key), label)
    elif not argument_types.fits(annotation, value):
        yield from _parse_problems(annotation, value, path, label)


def _tag_problems(annotation: Any, value: Any, path: Path, label: str) -> Iterator[Problem]:
    """Yield why a tagged value cannot be read, or is not what the argument takes."""
    try:
        decoded = codec.decode(value, named_object)
    except UsageError as error:
        yield Problem(f"{label}: {error.message}", error.hint, path)
        return
    if not argument_types.accepts(annotation, decoded):
        name = argument_types.type_name(annotation)
        message = f"{label} must be {name}, but got {decoded!r} ({type(decoded).__name__})"
        yield Problem(message, f"give a value of type {name}", path)


def _component_problems(annotation: Any, value: Any, component: dict[str, Any], path: Path) -> Iterator[Problem]:
    """Yield the problems of a nested class, at the path where its arguments are written."""
    has_class_path = isinstance(value, dict) and "class_path" in value
    classes = argument_types.component_classes(annotation)
    if isinstance(value, dict) and not has_class_path and signature(classes[0]).open:  # an nn.Module, of any kind
        message = f"a {classes[0].__name__} is needed, but {value!r} does not name its class"
        yield Problem(message, _class_path_hint(path), path)
        return
    for problem in _class_problems(component, path, classes):
        if has_class_path or isinstance(value, str):
            yield problem
            continue
        relative = problem.path[len(path) + 1 :] if problem.path[len(path) : len(path) + 1] == ("init_args",) else ()
        hint = problem.hint if "did you mean" in problem.hint else _class_path_hint(path)
        yield replace(problem, hint=hint, path=(*path, *relative))


def _class_path_hint(path: Path) -> str:
    return f"name the class: {'.'.join(map(str, path))}.class_path"


def _parse_problems(annotation: Any, value: Any, path: Path, label: str) -> Iterator[Problem]:
    if argument_types.fits(annotation, value):
        return
    if not argument_types.is_plain(annotation):
        try:
            argument_types.parse_value(annotation, value)
        except ValueError as error:
            hint = str(error)
        else:
            return
    else:
        close = get_close_matches(str(value), argument_types.literal_choices(annotation), n=1)
        hint = f"did you mean {close[0]}?" if close else f"give a value of type {argument_types.type_name(annotation)}"
    kind = type(value).__name__
    yield Problem(f"{label} must be {argument_types.type_name(annotation)}, but got {value!r} ({kind})", hint, path)


def _trainer_problems(trainer: dict[str, Any]) -> Iterator[Problem]:
    from lightning import Callback, Trainer

    accepted = signature(Trainer)
    for name, value in trainer.items():
        path: Path = ("trainer", name)
        if name in _SET_BY_SWEEP or (name in _UNUSABLE and value):
            hint = _SET_BY_SWEEP.get(name) or _UNUSABLE[name]
            yield KeyProblem(f"`{name}` cannot be set for a sweep's Trainer", hint, path)
        elif name == "callbacks":
            for index, callback in enumerate(value):
                yield from _class_problems(callback, (*path, index), (Callback,))
        elif name not in accepted.arguments and (present := present_spelling(name)):
            message = f"Trainer's `{name}` is of an earlier Lightning"
            yield KeyProblem(message, _present_hint(name, value, present), path)
        elif name not in accepted.arguments:
            yield KeyProblem(f"Trainer takes no argument {name!r}", _name_hint(name, accepted), path)
        elif not (name == "precision" and value == "auto"):
            yield from _value_problems(accepted.arguments[name].annotation, value, path, f"Trainer's `{name}`")
    yield from length_problems(trainer)


def _present_hint(name: str, value: Any, present: str) -> str:
    written = present_arguments(name, value) or {}
    return f"write {', '.join(f'{key}: {item}' for key, item in written.items()) or present}"


def _metric_problems(spec: SweepSpec, model: ClassSpec, trainer: dict[str, Any]) -> Iterator[Problem]:
    """Yield the objectives and constraints whose metric the model's source shows to be never logged."""
    from lightning import LightningModule

    callbacks = [callback["class_path"] for callback in trainer.get("callbacks", [])]
    if any(not path.startswith(("lightning.", "orchestrator.")) for path in callbacks):
        return  # a callback may log as well
    try:
        cls = import_class(model.class_path)
    except UsageError:
        return
    names = logged_names(cls) if LightningModule in cls.__mro__ else None
    if names is None:  # the source does not tell
        return
    metrics: list[tuple[str, Path]] = [(spec.objective.metric, ("objective", "metric"))]
    metrics += [(goal.metric, ("objective", "also", n, "metric")) for n, goal in enumerate(spec.objective.also)]
    metrics += [(bound.metric, ("constraints", n, "metric")) for n, bound in enumerate(spec.constraints)]
    for metric, path in metrics:
        if not is_logged(metric, names):
            yield _never_logged(model.class_path.rpartition(".")[2], metric, names, path)


def _never_logged(class_name: str, metric: str, names: Sequence[str], path: Path) -> Problem:
    candidates = [name for name in names if not name.startswith("test")]
    close = get_close_matches(metric, candidates, n=1)
    logs = f"it logs {', '.join(candidates) or 'nothing'}"
    hint = f"did you mean {close[0]}?" if close and "*" not in close[0] else logs
    return Problem(f"{class_name} never logs {metric!r}", hint, path)
