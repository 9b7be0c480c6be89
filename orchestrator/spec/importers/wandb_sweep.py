"""Translate a W&B sweep file."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

from orchestrator.errors import SpecError
from orchestrator.space import Domain, choice, const, integer, log_int, log_normal, log_uniform, normal, uniform
from orchestrator.space.domain import is_number
from orchestrator.space.search_space import SPACE_LIMIT
from orchestrator.spec.importers.draft import PLACEHOLDER_MODEL, Draft
from orchestrator.spec.parameters import ROOTS

_SEARCHERS = {"grid": "grid", "random": "random"}
_TRANSLATED = ("name", "method", "metric", "parameters", "early_terminate", "run_cap", "description")
_OF_DATA = ("batch_size", "num_workers", "data_dir")
_OF_TRAINER = ("max_epochs", "gradient_clip_val", "accumulate_grad_batches", "precision", "max_steps")
_EPOCHS = ("epochs", "num_epochs", "n_epochs")


def translate(config: dict[str, Any], file: str, model: str | None, data: str | None) -> Draft:
    """Return the draft of the same search. W&B names no classes: ``model`` and ``data`` do."""
    draft = Draft(file)
    draft.name(config.get("name"))
    draft.sections["objective"] = _objective(config.get("metric"), draft)
    draft.sections["model"] = model or PLACEHOLDER_MODEL
    if model is None:
        draft.notes.append(f"put your LightningModule's import path for {PLACEHOLDER_MODEL}, or pass --model")
    if data:
        draft.sections["data"] = data
    draft.sections["space"] = dict(_space(config["parameters"] or {}, draft, has_data=data is not None))
    draft.sections |= _searcher(config.get("method"), draft)
    draft.sections |= _scheduler(config.get("early_terminate"), draft)
    if isinstance(config.get("run_cap"), int):
        draft.sections["budget"] = {"trials": config["run_cap"]}
    for key in config:
        if key not in _TRANSLATED:
            draft.notes.append(f"`{key}` is left out: a sweep runs the classes it names, not a program")
    return draft


def _objective(metric: Any, draft: Draft) -> dict[str, str]:
    if not isinstance(metric, dict) or not metric.get("name"):
        draft.notes.append("the file names no metric: check `objective`")
        return {"metric": "val_loss", "mode": "min"}
    if "target" in metric:
        draft.notes.append(f"metric.target: {metric['target']} is left out: a sweep spends its budget")
    return {"metric": str(metric["name"]), "mode": "max" if metric.get("goal") == "maximize" else "min"}


def _searcher(method: Any, draft: Draft) -> dict[str, Any]:
    """Return the ``searcher`` section; none for ``bayes``, which becomes the default."""
    if method == "bayes":
        draft.notes.append("method: bayes became the default searcher, which also learns from earlier trials")
        return {}
    if method not in list(_SEARCHERS):
        draft.notes.append(f"method: {method} is unknown; searcher random replaces it")
    name = _SEARCHERS.get(str(method), "random")
    if name == "grid" and _has_no_grid(draft.sections["space"]):
        draft.notes.append("a grid needs separate values, and a parameter here is continuous: searcher random instead")
        name = "random"
    return {"searcher": {"name": name}}


def _has_no_grid(space: dict[str, Any]) -> bool:
    from orchestrator.space import Space

    try:
        return Space(space).grid_size < 0
    except SpecError:
        return True


def _scheduler(terminate: Any, draft: Draft) -> dict[str, Any]:
    """Return the ``scheduler`` section; none without ``early_terminate``, where the default stops trials early.

    Hyperband's brackets become ASHA's rungs: ``min_iter``, or ``max_iter`` divided ``s`` times by ``eta``.
    """
    if not isinstance(terminate, dict):
        draft.notes.append("no early_terminate: the default scheduler is used; `scheduler: fifo` trains all in full")
        return {}
    eta = terminate.get("eta", 3)
    eta = eta if isinstance(eta, int) and eta >= 2 else 3
    grace = terminate.get("min_iter")
    if grace is None and isinstance(terminate.get("max_iter"), int):
        brackets = terminate.get("s", 2)
        grace = terminate["max_iter"] / eta ** (brackets if isinstance(brackets, int) and 0 <= brackets < 50 else 2)
    draft.notes.append("early_terminate became asha; W&B counts logged steps, asha counts epochs: check grace_epochs")
    grace = max(1, int(grace or 1)) if is_number(grace) else 1
    return {"scheduler": {"name": "asha", "grace_epochs": grace, "reduction_factor": eta}}


def _space(parameters: dict[str, Any], draft: Draft, *, has_data: bool) -> Iterator[tuple[str, Any]]:
    targets: set[str] = set()
    flat = list(_flat(parameters))
    if len(flat) > SPACE_LIMIT:
        draft.notes.append(f"the last {len(flat) - SPACE_LIMIT:,} parameters are left out: {SPACE_LIMIT} are the limit")
    for name, parameter in flat[:SPACE_LIMIT]:
        target = _target(name, has_data=has_data)
        try:
            domain = _domain(parameter if isinstance(parameter, dict) else {"value": parameter}, name, draft)
        except (SpecError, ValueError, TypeError, KeyError, ArithmeticError) as error:
            reason = error.problems[0].message if isinstance(error, SpecError) else str(error)
            draft.notes.append(f"{name}: {parameter} is left out: {reason}")
            continue
        if target in targets:
            draft.notes.append(f"{name} is left out: another parameter became {target} already")
            continue
        targets.add(target)
        if target == "trainer.max_epochs" and name != "max_epochs":
            draft.notes.append(f"{name} became trainer.max_epochs")
        yield target, domain.to_yaml()
    draft.notes.append("parameters became arguments of the model, except a few well-known names: check their prefixes")


def _flat(parameters: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield nested ``parameters`` under dotted names."""
    for name, parameter in parameters.items():
        if isinstance(parameter, dict) and isinstance(parameter.get("parameters"), dict):
            yield from _flat(parameter["parameters"], f"{above}{name}.")
        else:
            yield f"{above}{name}", parameter


def _target(name: str, *, has_data: bool) -> str:
    root = name.split(".")[0]
    if root in ROOTS and "." in name and (root != "data" or has_data):
        return name
    if name in _EPOCHS:
        return "trainer.max_epochs"
    if name in _OF_TRAINER:
        return f"trainer.{name}"
    return f"data.{name}" if name in _OF_DATA and has_data else f"model.{name}"


def _domain(parameter: dict[str, Any], name: str, draft: Draft) -> Domain:
    """Return one parameter's domain. Raises its constructor's errors, and ValueError for an unknown distribution."""
    kind = parameter.get("distribution") or _implied(parameter)
    if kind not in _DISTRIBUTIONS:
        raise ValueError(f"the distribution {kind} has no counterpart")
    if "probabilities" in parameter:
        draft.notes.append(f"{name}: probabilities are left out: every choice is equally likely")
    if kind.startswith("inv_"):
        draft.notes.append(f"{name}: {kind} became log_uniform, the nearest domain")
    return _DISTRIBUTIONS[kind](parameter)


def _implied(parameter: dict[str, Any]) -> str:
    if "values" in parameter:
        return "categorical"
    if "value" in parameter:
        return "constant"
    integers = all(isinstance(parameter.get(end), int) for end in ("min", "max"))
    return "int_uniform" if integers else "uniform"


def _ends(parameter: dict[str, Any]) -> tuple[Any, Any]:
    return parameter.get("min", 0), parameter.get("max", 1)


def _powers(parameter: dict[str, Any]) -> tuple[float, float]:
    """Return the ends of W&B's ``log_uniform``, which are natural logarithms."""
    low, high = _ends(parameter)
    return math.exp(low), math.exp(high)


def _inner(low: Any, high: Any, step: Any) -> tuple[Any, Any]:
    """Return the outermost multiples of ``step`` that W&B rounds to: its steps start at 0, ours at the low end."""
    first, last = math.floor(low / step + 0.5) * step, math.floor(high / step + 0.5) * step
    return (first, last) if isinstance(step, int) else (round(first, 12), round(last, 12))


def _stepped(make: Callable[..., Domain], low: Any, high: Any, step: Any) -> Domain:
    low, high = _inner(low, high, step)
    if make is log_uniform and low <= 0:
        low = step
    if isinstance(step, int):
        return (integer if make is uniform else log_int)(int(low), int(high), step if low < high else None)
    return make(low, high, step) if low < high else const(low)


def _q(parameter: dict[str, Any]) -> Any:
    return parameter.get("q", 1)


def _mu_sigma(parameter: dict[str, Any]) -> tuple[Any, Any]:
    return parameter.get("mu", 0), parameter.get("sigma", 1)


_DISTRIBUTIONS: dict[str, Callable[[dict[str, Any]], Domain]] = {
    "constant": lambda parameter: const(parameter["value"]),
    "categorical": lambda parameter: choice(list(parameter["values"])),
    "categorical_w_probabilities": lambda parameter: choice(list(parameter["values"])),
    "int_uniform": lambda parameter: integer(*_ends(parameter)),
    "uniform": lambda parameter: uniform(*_ends(parameter)),
    "q_uniform": lambda parameter: _stepped(uniform, *_ends(parameter), _q(parameter)),
    "log_uniform": lambda parameter: log_uniform(*_powers(parameter)),
    "log_uniform_values": lambda parameter: log_uniform(*_ends(parameter)),
    "q_log_uniform": lambda parameter: _stepped(log_uniform, *_powers(parameter), _q(parameter)),
    "q_log_uniform_values": lambda parameter: _stepped(log_uniform, *_ends(parameter), _q(parameter)),
    "inv_log_uniform": lambda parameter: log_uniform(1 / _powers(parameter)[1], 1 / _powers(parameter)[0]),
    "inv_log_uniform_values": lambda parameter: log_uniform(*_ends(parameter)),
    "normal": lambda parameter: normal(*_mu_sigma(parameter)),
    "q_normal": lambda parameter: normal(*_mu_sigma(parameter), _q(parameter)),
    "log_normal": lambda parameter: log_normal(*_mu_sigma(parameter)),
    "q_log_normal": lambda parameter: log_normal(*_mu_sigma(parameter), _q(parameter)),
}
