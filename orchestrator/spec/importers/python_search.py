"""Translate the search in a Python file, without running it: of W&B, Ray Tune or an Optuna objective."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import SpecError
from orchestrator.space import Domain, choice, const, integer, log_int, log_uniform, normal, uniform
from orchestrator.spec.importers import optuna_objective, wandb_sweep
from orchestrator.spec.importers.defaults import note_budget, set_training_length
from orchestrator.spec.importers.draft import Door, Draft
from orchestrator.spec.importers.foreign_yaml import ForeignFile
from orchestrator.spec.importers.python_values import Call, PythonValues, Unknown
from orchestrator.spec.importers.words import known
from orchestrator.spec.yaml_document import brief

_SAMPLED = ("choice", "uniform", "quniform", "loguniform", "qloguniform", "randn", "qrandn", "randint", "qrandint",
            "lograndint", "qlograndint", "grid_search", "sample_from")  # fmt: skip
_SEARCHERS = {"OptunaSearch": "tpe", "HyperOptSearch": "tpe", "TuneBOHB": "bohb", "BayesOptSearch": "gp",
              "AxSearch": "gp", "BasicVariantGenerator": "random"}  # fmt: skip
_ASHA = ("ASHAScheduler", "AsyncHyperBandScheduler")
_SCHEDULERS = {"HyperBandScheduler": "hyperband", "HyperBandForBOHB": "hyperband", "MedianStoppingRule": "median",
               "FIFOScheduler": "fifo"}  # fmt: skip
_CALLBACKS = ("TuneReportCheckpointCallback", "TuneReportCallback")
_RUNS = ("TuneConfig", "run", "Tuner", "RunConfig")
_TRANSLATED = ("metric", "mode", "num_samples", "time_budget_s", "param_space", "config", "tune_config", "run_config")
_OF_RESOURCES = ("max_concurrent_trials", "resources_per_trial")


def translate(text: str, file: str, door: Door) -> Draft:
    """Return the draft of the search that a Python file describes.

    Raises SpecError if it is not Python, or describes none.
    """
    source = ForeignFile(file)
    try:
        values = PythonValues(text, optuna_objective.results)
    except (SyntaxError, ValueError, RecursionError) as error:
        source.marks[()] = (getattr(error, "lineno", None) or 1, 1)
        raise source.refusal(f"not Python: {error}", "is it the file of the search?") from None
    name, value = _sweep_config(values)
    if value:
        source.data = {**_plain(value), **({} if door.model or door.train else _agent(values, file))}
        draft = wandb_sweep.translate(source, door)
        draft.note(f"it is the dictionary {name} of the file, which was read and not run")
        _note_unread(values, value, draft)
        return draft
    name, space = _param_space(values)
    if not space and optuna_objective.suggestions(values):
        return optuna_objective.translate(source, text, values, door)
    if not space:
        raise source.refusal("it holds no W&B sweep_config, no param_space of Ray Tune and no objective of Optuna",
                             "name the file with the dictionary, written out in it; an Optuna study is imported from "
                             "its storage, such as study.db")  # fmt: skip
    source.data = _plain(space)
    functions = _functions(text)
    trained = _trainable(values, functions)
    is_found = bool(trained) and not (door.model or door.train)
    draft = _ray(source, name, space, values, Door(train=f"{Path(file).stem}:{trained}") if is_found else door)
    lines, metric = functions.get(trained, ()), draft.sections["objective"]["metric"]
    if not any(call.line in lines and _reports(call, metric) for call in values.calls):
        _name_as_trainer(draft, values.calls)
    if is_found:
        draft.note(f"the function {trained} stays as it is: its tune.report and tune.get_checkpoint act on the trial")
    _note_unread(values, space, draft)
    return draft


def _note_unread(values: PythonValues, content: dict[str, Any], draft: Draft) -> None:
    for text in values.unread(content):
        draft.note(f"{text} is left out: only running the file would tell its name")


def kind_of(text: str) -> str:
    """Return what search a Python file describes; empty if it describes none, or is not Python."""
    try:
        values = PythonValues(text, optuna_objective.results)
    except (SyntaxError, ValueError, RecursionError):
        return ""
    if _sweep_config(values)[1]:
        return "Python file with a sweep of W&B"
    if _param_space(values)[1]:
        return "Python file with a param_space of Ray Tune"
    return "Python file with an objective of Optuna" if optuna_objective.suggestions(values) else ""


def _sweep_config(values: PythonValues) -> tuple[str, dict[str, Any]]:
    """Return the name and content of W&B's dictionary; both empty if there is none."""
    for name, value in values.variables.items():
        if isinstance(value, dict) and isinstance(value.get("parameters"), dict) and "method" in value:
            return name, value
    return "", {}


def _agent(values: PythonValues, file: str) -> dict[str, Any]:
    """Return W&B's keys for a file that starts an agent itself: it is the program, run once a trial."""
    agent = next((call for call in values.calls if call.name == "agent"), None)
    if agent is None:
        return {}
    count = agent.named.get("count")
    return {"program": file, **({"run_cap": count} if type(count) is int else {})}


def _plain(value: Any) -> Any:
    """Return a value with the source text of what was not evaluated."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | range):
        return [_plain(item) for item in value]
    return value.text if isinstance(value, Call | Unknown) else value


def _param_space(values: PythonValues) -> tuple[str, dict[str, Any]]:
    """Return the name and content of the dictionary of Ray Tune: what a Tuner gets, else one with its functions."""
    for call in values.calls:
        for key in ("param_space", "config"):
            given = call.named.get(key)
            if call.name in ("Tuner", "run") and isinstance(given, dict) and _sampled(given):
                return key, given
    for name, value in values.variables.items():
        if isinstance(value, dict) and _sampled(value):
            return name, value
    return "", {}


def _functions(text: str) -> dict[str, range]:
    """Return the functions at the top of a file, with their lines."""
    nodes = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
    return {node.name: range(node.lineno, (node.end_lineno or node.lineno) + 1) for node in nodes}


def _trainable(values: PythonValues, functions: Collection[str]) -> str:
    """Return the function of the file that Ray Tune runs; empty if it is none of these, or takes more arguments."""
    for call in values.calls:
        if call.name not in ("Tuner", "run"):
            continue
        given: Any = [*call.arguments[:1], call.named.get("trainable")][0]
        while isinstance(given, Call) and given.name == "with_resources":
            given = [*given.arguments[:1], given.named.get("trainable")][0]
        if isinstance(given, Unknown) and given.text in functions:
            return given.text
    return ""


def _sampled(value: Any) -> bool:
    if isinstance(value, Call):
        return value.name in _SAMPLED
    if isinstance(value, dict):
        return any(map(_sampled, value.values()))
    return False


def _ray(source: ForeignFile, name: str, space: dict[str, Any], values: PythonValues, door: Door) -> Draft:
    draft = Draft(source)
    draft.name()
    draft.note(f"it is the dictionary {name} of the file, which was read and not run")
    calls = {call.name: call for call in values.calls}
    settings = {key: item for run in _RUNS if run in calls for key, item in calls[run].named.items()}
    _objective(settings, values.calls, draft)
    door.open(draft)
    points = _space(space, draft, door)
    scheduler, longest = _scheduler(calls, draft)
    stop = settings.get("stop")
    if longest is None and isinstance(stop, dict) and type(stop.get("training_iteration")) is int:
        longest = stop["training_iteration"]
        draft.note(f"stop: training_iteration {longest} became the length of a trial, in epochs")
    _searcher(calls, points, draft)
    if not door.train:
        set_training_length(draft, scheduler, longest)
    elif longest:
        draft.sections["progress"] = {"unit": "epochs", "until": longest}
    draft.sections |= {"scheduler": scheduler} if scheduler else {}
    _budget(settings, points, draft)
    resources = _resources(settings, calls)
    draft.sections |= {"resources": resources} if resources else {}
    for key, item in settings.items():
        if key not in _TRANSLATED and not (key in _OF_RESOURCES and resources):
            draft.note(f"{key}: {_brief(item)} is left out, or named above")
    return draft


@dataclass(frozen=True)
class _Points:
    """The part of a space that is a grid: how many points it has, and whether all that varies is in it."""

    count: int
    is_whole: bool


def _budget(settings: dict[str, Any], points: _Points, draft: Draft) -> None:
    samples = settings.get("num_samples", 1 if points.is_whole else None)
    if not isinstance(samples, int) or samples < 1:
        trials = note_budget(draft, "num_samples", "Ray's own default is 1")
        if samples is not None:
            endless = samples == -1
            why = "without an end" if endless else "which only a run tells"
            draft.notes[-1] = f"num_samples is {_plain(samples)}, {why}: budget.trials is {trials}"
        draft.sections["budget"] = {"trials": trials}
    elif not points.is_whole:
        draft.sections["budget"] = {"trials": samples * points.count}
        if points.count > 1:
            draft.note(
                f"num_samples {samples} for each of {points.count} points of grid_search makes "
                f"{samples * points.count} trials; here each value of the grid is drawn like the others"
            )
    elif samples > 1:
        draft.sections["repeats"] = {"seeds": samples}
        draft.note(f"num_samples: {samples} of a grid became repeats: each point under {samples} seeds")
    seconds = settings.get("time_budget_s")
    if isinstance(seconds, int | float) and seconds > 0:
        draft.sections["budget"] = {**draft.sections.get("budget", {}), "wall_clock": f"{seconds:g}s"}


def _resources(settings: dict[str, Any], calls: dict[str, Call]) -> dict[str, Any]:
    """Return the section ``resources`` of what Ray gives each trial, and how many run at a time."""
    with_resources = calls.get("with_resources")
    given = settings.get("resources_per_trial")
    if given is None and with_resources is not None:
        given = [*with_resources.arguments[1:], *with_resources.named.values(), None][0]
    made: dict[str, Any] = {}
    for theirs, ours in (("cpu", "cpus"), ("gpu", "gpus")):
        amount = given.get(theirs) if isinstance(given, dict) else None
        if isinstance(amount, int | float) and amount > 0:
            made[ours] = amount
    concurrent = settings.get("max_concurrent_trials", _limit(calls))
    return made | ({"concurrent": concurrent} if isinstance(concurrent, int) and concurrent > 0 else {})


def _limit(calls: dict[str, Call]) -> Any:
    limiter = calls.get("ConcurrencyLimiter")
    return limiter.named.get("max_concurrent") if limiter else None


def _brief(value: Any) -> str:
    return brief(str(_plain(value)))


def _objective(settings: dict[str, Any], calls: list[Call], draft: Draft) -> None:
    """Set the objective: of the run, else of its scheduler or its search, which take one, too."""
    named = [settings, *(call.named for call in calls if {"metric", "mode"} <= call.named.keys())]
    metric, mode = (next((each[key] for each in named if each.get(key)), None) for key in ("metric", "mode"))
    if mode is not None:
        known(draft.source, mode, ["min", "max"], "mode of Ray Tune", ())
    if not isinstance(metric, str) or mode is None:
        draft.note(
            f"the file names metric {metric or 'nowhere'}, mode {mode or 'nowhere'}: where nowhere, val_loss, min"
        )
    name = metric if isinstance(metric, str) else "val_loss"
    draft.sections["objective"] = {"metric": name, "mode": mode or "min"}


def _reports(call: Call, metric: str) -> bool:
    """Return whether a call reports a metric, or something that only a run would tell."""
    given = [*call.arguments[:1], call.named.get("metrics", call.named)][0]
    return call.name == "report" and (not isinstance(given, Mapping) or metric in given)


def _name_as_trainer(draft: Draft, calls: list[Call]) -> None:
    """Name the objective as the Trainer does, if a callback renames what the Trainer reports."""
    name = draft.sections["objective"]["metric"]
    for call in calls:
        given = call.named.get("metrics", *call.arguments[:1] or [None])
        if call.name in _CALLBACKS and isinstance(given, dict) and isinstance(given.get(name), str):
            draft.note(f"{call.name} calls {given[name]} {name}: the Trainer's own name is the objective")
            draft.sections["objective"]["metric"] = given[name]
            return


def _leaves(value: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, item in value.items():
        if isinstance(item, dict) and item and set(item) != {"grid_search"}:
            yield from _leaves(item, (*path, str(key)))
        else:
            yield (*path, str(key)), item


def _space(space: dict[str, Any], draft: Draft, door: Door) -> _Points:
    """Set the section ``space``; return what of it is a grid."""
    domains: dict[str, Any] = {}
    kinds: set[bool] = set()
    count = 1
    for path, value in _leaves(space):
        name = ".".join(path).removeprefix("train_loop_config.")  # of Ray Train
        try:
            domain = _domain(value)
        except (SpecError, ValueError, TypeError, IndexError) as error:
            reason = error.problems[0].message if isinstance(error, SpecError) else str(error)
            draft.note(f"{name}: {_plain(value)} is left out: {reason}", *path)
            continue
        target = door.target(name)
        if isinstance(value, Call | dict):
            is_grid = isinstance(value, dict) or value.name == "grid_search"
            kinds.add(is_grid)
            count *= (domain.size or 1) if is_grid else 1
        domains[target] = domain.to_yaml()
        draft.note(f"{name}: {_plain(value)} became {target}", *path)
    draft.sections["space"] = domains
    return _Points(count, kinds == {True})


def _domain(value: Any) -> Domain:
    """Return the domain of a value in ``param_space``. Raises ValueError where there is no counterpart."""
    if isinstance(value, dict) and set(value) == {"grid_search"}:
        if _needs_run(value):
            raise ValueError("only running the file would tell its values")
        return choice(_distinct(value["grid_search"]))
    if not isinstance(value, Call):
        if _needs_run(value):
            raise ValueError("only running the file would tell its value")
        return const(_plain(value))
    if value.text.startswith(("hp.", "hyperopt.")):
        raise ValueError("it is a distribution of hyperopt: write it as Ray's, such as tune.uniform(0, 1)")
    if value.name not in _SAMPLED or value.name == "sample_from":
        raise ValueError(f"{value.text} is a function of the file")
    names = {
        "choice": ("categories",),
        "grid_search": ("values",),
        "randn": ("mean", "sd"),
        "qrandn": ("mean", "sd", "q"),
    }
    order = names.get(value.name, ("lower", "upper", "q"))
    given = dict(zip(order, value.arguments, strict=False)) | {k: v for k, v in value.named.items() if k in order}
    if any(map(_needs_run, given.values())):
        raise ValueError("only running the file would tell its arguments")
    if missing := [word for word in order if word not in (*given, "q", "mean", "sd")]:
        raise ValueError(f"`{missing[0]}` is missing")
    if value.name in ("choice", "grid_search"):
        return choice(_distinct(given[order[0]]))
    if value.name in ("randn", "qrandn"):
        return normal(given.get("mean", 0), given.get("sd", 1), given.get("q"))
    low, high, step = given["lower"], given["upper"], given.get("q")
    if value.name.endswith("randint"):
        last = high if value.name.startswith("q") else high - 1  # Ray leaves the upper end out, but not with a step
        return (log_int if "log" in value.name else integer)(low, last, step)
    return (log_uniform if "log" in value.name else uniform)(float(low), float(high), step)


def _needs_run(value: Any) -> bool:
    """Return whether a value, or a part of it, is one that only running the file would tell."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return isinstance(value, Call | Unknown) or any(map(_needs_run, parts))


def _distinct(values: Any) -> list[Any]:
    if not isinstance(values, list | range):
        raise TypeError(f"a list is needed, but got {values!r}")
    return list({repr(value): _plain(value) for value in values}.values())


def _scheduler(calls: dict[str, Call], draft: Draft) -> tuple[dict[str, Any], int | None]:
    for name, call in calls.items():
        if name in _ASHA:
            grace, factor, most = (call.named.get(key) for key in ("grace_period", "reduction_factor", "max_t"))
            grace, factor = grace if isinstance(grace, int) else 1, factor if isinstance(factor, int) else 4
            draft.note(f"{call.text} became asha: grace_epochs {grace}, reduction_factor {factor}, in epochs")
            most = most if isinstance(most, int) else 100
            return {"name": "asha", "grace_epochs": grace, "reduction_factor": factor}, most
        if name in _SCHEDULERS:
            draft.note(f"{call.text} became scheduler {_SCHEDULERS[name]}; check its options")
            return {"name": _SCHEDULERS[name]}, None
        if name.endswith("Scheduler") or name in ("PopulationBasedTraining", "PB2"):
            draft.note(f"{call.text} is left out: the default scheduler is used")
    draft.note("no scheduler that is known: the default one stops trials early; `scheduler: fifo` trains all in full")
    return {}, None


def _searcher(calls: dict[str, Call], points: _Points, draft: Draft) -> None:
    named = next((name for name in calls if name in _SEARCHERS), "")
    if points.is_whole:
        draft.sections["searcher"] = {"name": "grid"}
    elif named:
        draft.sections["searcher"] = {"name": _SEARCHERS[named]}
        draft.note(f"{calls[named].text} became searcher {_SEARCHERS[named]}")
    else:
        draft.sections["searcher"] = {"name": "random"}
        draft.note("no search_alg: Ray draws at random, so searcher random")
