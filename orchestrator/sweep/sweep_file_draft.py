"""Write a first sweep file for a class: what to search is guessed from its signature, and one training is tried."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from orchestrator.errors import SpecError, UsageError
from orchestrator.plan.extremes import Corner, checked_roots, first_configuration
from orchestrator.spec import SweepSpec, from_mapping, load
from orchestrator.training.class_loading import import_class
from orchestrator.training.class_loading.argument_types import Argument, alternatives, signature, type_name
from orchestrator.training.class_loading.import_paths import import_from
from orchestrator.training.class_loading.logged_metrics import logged_names

_RATES = re.compile(r"(^|_)(lr|learning_rate|weight_decay|l2|alpha|temperature)$")
_DROPOUT = re.compile(r"(^|_)drop")
_WIDTHS = re.compile(r"(^|_)(hidden|width|channels|units|dim|filters|features|heads|batch_size|hidden_size)(_|$)")
_FIXED = re.compile(r"(^|_)(in|out|input|output|num_classes|classes|vocab)(_|$)")
_DEPTHS = re.compile(r"(^|_)(layers|depth|blocks|num_layers)$")
_RISING = re.compile(r"acc|f1|auc|auroc|precision|recall|dice|iou|psnr|r2|score|reward|map")
_EPOCHS, _TRIALS = 10, 20
_STEPS = 5
_UNKNOWN = "unknown"


@dataclass(frozen=True)
class Draft:
    """A sweep file that was written.

    Attributes:
        file: its path.
        spec: what it says.
        seconds: of an epoch of one configuration on this machine; None if that is not known.
    """

    file: Path
    spec: SweepSpec
    seconds: float | None


def write_draft(model: str, data: str | None, settings: Sequence[str], out: Path | None = None) -> Draft:
    """Write a sweep file for a class, after a few steps of training under it, and return it.

    Args:
        model: import path of the LightningModule.
        data: import path of the LightningDataModule; None if the module brings its own data.
        settings: ``key=value`` as ``--set`` takes them, such as arguments without a default.
        out: the file; by default the class's name in lower case.

    Raises:
        SpecError: An argument lacks a value, or has a wrong one.
        UsageError: A class is not found, nothing that could be judged is logged, or the training fails.
    """
    import_from([str(Path.cwd())])
    parts = {"model": model} | ({"data": data} if data else {})
    classes = {section: import_class(path) for section, path in parts.items()}
    name = re.sub(r"[^a-z0-9._-]", "", classes["model"].__name__.lower()) or "sweep"
    file = out or Path(f"{name}.yaml")
    if file.exists():
        raise UsageError(f"{file} exists already", hint="specify another file: --out FILE")
    space = {key: domain for key, domain, is_sure in _domains(classes) if is_sure}
    goal = {"metric": _UNKNOWN, "mode": "min"}
    sections = {"name": name, "objective": goal, "trainer": {"max_epochs": _EPOCHS}, "space": space, **parts}
    spec = from_mapping(sections, [*settings])
    _require_arguments(spec, classes)
    roots = checked_roots(spec)
    tried = first_configuration(spec, roots, _STEPS)
    metrics = _metrics(classes["model"], spec, roots)
    if spec.objective.metric == _UNKNOWN:
        goal = _objective(metrics, name)
    else:
        goal = spec.objective.model_dump(include={"metric", "mode"})
    text = "\n".join(_lines(spec, classes, goal, metrics, tried)) + "\n"
    with file.open("x", encoding="utf-8") as stream:
        stream.write(text)
    try:
        return Draft(file, load(file), tried.measured.seconds)
    except SpecError:
        file.unlink()
        raise


def _require_arguments(spec: SweepSpec, classes: Mapping[str, type]) -> None:
    """Raise UsageError if an argument without a default has no value."""
    for section, cls in classes.items():
        given = {**(getattr(spec, section).init_args or {})}
        searched = {key.split(".")[1] for key in spec.space if key.startswith(f"{section}.")}
        lacking = [
            argument
            for argument in signature(cls).arguments.values()
            if argument.required and argument.name not in given and argument.name not in searched
        ]
        if lacking:
            named = ", ".join(f"`{argument.name}` ({type_name(argument.annotation)})" for argument in lacking)
            hint = " ".join(f"--set {section}.init_args.{argument.name}=…" for argument in lacking)
            raise UsageError(f"{cls.__name__} has no default for {named}", hint=hint)


def _metrics(model: type, spec: SweepSpec, roots: list[str]) -> list[str]:
    """Return what the model logs: as its source says, or if that does not tell, as a validation of two batches shows.

    ``*`` at the start of a name in the source stands for the stage.
    """
    names = [re.sub(r"^\*", "val", name) for name in logged_names(model) or ()]
    if names := [name for name in names if "*" not in name]:
        return names
    short = spec.model_copy(update={"trainer": {**spec.trainer, "limit_val_batches": 2}})
    shown = first_configuration(short, roots, _STEPS).measured.rates
    return [unit.removeprefix("metric:") for unit in shown if unit.startswith("metric:")]


def _objective(metrics: Sequence[str], name: str) -> dict[str, str]:
    """Return the metric to judge by: of validation, a loss before anything else. Raises UsageError if there is none."""
    validated = [metric for metric in metrics if re.search(r"val|valid|dev|eval", metric)]
    for metric in sorted(validated, key=lambda metric: "loss" not in metric):
        return {"metric": metric, "mode": "max" if _RISING.search(metric) and "loss" not in metric else "min"}
    raise UsageError(
        f"{name} logs nothing in validation that a trial could be judged by; it logs {', '.join(metrics) or 'nothing'}",
        hint='in validation_step: self.log("val_loss", loss); or --set objective.metric=NAME --set objective.mode=min',
    )


def _domains(classes: Mapping[str, type]) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Yield the parameter and the domain that suit each argument, and whether it should be searched at first."""
    for section, cls in classes.items():
        for argument in signature(cls).arguments.values():
            found = domain_of(argument)
            if found is not None and (section == "model" or argument.name == "batch_size"):
                yield f"{section}.{argument.name}", *found


def domain_of(argument: Argument) -> tuple[dict[str, Any], bool] | None:
    """Return a domain around an argument's default, and whether its name says what it is; None if nothing suits."""
    name, default = argument.name, argument.default
    literals = [
        value for each in alternatives(argument.annotation) if get_origin(each) is Literal for value in get_args(each)
    ]
    if len(literals) > 1:
        return {"choice": literals}, True
    if isinstance(default, bool):
        return {"choice": [False, True]}, False
    if isinstance(default, float) and _DROPOUT.search(name) and 0 <= default < 1:
        return {"uniform": [0.0, 0.5], "step": 0.05}, True
    if isinstance(default, float) and default > 0:
        low, high = (float(f"{default * factor:.3g}") for factor in (0.1, 10))
        return {"log_uniform": [low, high]}, bool(_RATES.search(name))
    if default == 0.0 and isinstance(default, float) and name == "weight_decay":
        return {"log_uniform": [1e-6, 1e-3]}, True
    if isinstance(default, int) and default > 1 and not _FIXED.search(name):
        if _DEPTHS.search(name):
            return {"int": [default - 1, default + 1]}, True
        return {"choice": [default // 2, default, 2 * default]}, bool(_WIDTHS.search(name))
    return None


def _lines(
    spec: SweepSpec, classes: Mapping[str, type], goal: Mapping[str, str], metrics: Sequence[str], tried: Corner
) -> Iterator[str]:
    """Yield the lines of the file."""
    yield f"# A first sweep of {spec.model.class_path}, written by `sweep init`. Start it with sweep launch."
    module = classes["model"].__module__.split(".")[0]
    yield f"# Python must find {module}: beside this file, or where the command runs."
    yield f"name: {spec.name}"
    yield f"objective: {_flow(dict(goal))}  # the model logs {', '.join(metrics) or 'what its code decides'}"
    yield ""
    for section, cls in classes.items():
        yield from _class_lines(section, cls, spec)
    yield f"trainer: {_flow(spec.trainer)}  # any argument of lightning.Trainer"
    yield ""
    yield "# What is searched. A line behind # is a suggestion: no name says what its argument does."
    yield "space:"
    for key in spec.space:
        yield f"  {key}: {_flow(spec.space.to_yaml()[key])}"
    for key, domain, is_sure in _domains(classes):
        if not is_sure and key not in spec.space:
            yield f"  # {key}: {_flow(domain)}"
    yield ""
    seconds = tried.measured.seconds
    cost = f"  # an epoch took {seconds:.2g} s here" if seconds is not None else ""
    yield f"budget: {{trials: {spec.budget.trials or _TRIALS}}}{cost}"
    yield "resources: auto  # fits trials to the cores and GPUs that are there"


def _class_lines(section: str, cls: type, spec: SweepSpec) -> Iterator[str]:
    written = getattr(spec, section)
    given = dict(written.init_args or {})
    yield f"{section}:"
    yield f"  class_path: {written.class_path}"
    if given:
        yield "  init_args:"
        for name, value in given.items():
            yield f"    {name}: {_flow(value)}"
    others = [argument for argument in signature(cls).arguments.values() if _is_left(argument, section, given, spec)]
    if others and not given:
        yield "  # init_args:  # with their defaults"
    for argument in others:
        yield f"  {'#   ' if not given else '  # '}{argument.name}: {_flow(argument.default)}"


def _is_left(argument: Argument, section: str, given: Mapping[str, Any], spec: SweepSpec) -> bool:
    """Return whether an argument keeps a default that a file can hold."""
    plain = isinstance(argument.default, bool | int | float | str | None | list | tuple)
    return (
        plain
        and not argument.required
        and argument.name not in given
        and f"{section}.{argument.name}" not in spec.space
    )


def _flow(value: Any) -> str:
    """Return a value in YAML's flow form."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z_][\w./-]*", value) and value not in ("true", "false", "null"):
        return value
    return json.dumps(value)
