"""A W&B sweep file as a sweep file."""

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

_SEARCHERS = {"grid": "grid", "random": "random", "bayes": "tpe"}
_KNOWN = ("name", "method", "metric", "parameters", "early_terminate", "run_cap", "description")
_OF_DATA = ("batch_size", "num_workers", "data_dir")
_OF_TRAINER = ("max_epochs", "gradient_clip_val", "accumulate_grad_batches", "precision", "max_steps")
_EPOCHS = ("epochs", "num_epochs", "n_epochs")


def translate(written: dict[str, Any], file: str, model: str | None, data: str | None) -> Draft:
    """The draft of the same search. W&B names no classes: ``model`` and ``data`` do."""
    draft = Draft(file)
    draft.name(written.get("name"))
    draft.sections["objective"] = _objective(written.get("metric"), draft)
    draft.sections["model"] = model or PLACEHOLDER_MODEL
    if model is None:
        draft.notes.append(f"put your LightningModule's import path for {PLACEHOLDER_MODEL}, or pass --model")
    if data:
        draft.sections["data"] = data
    draft.sections["space"] = dict(_space(written["parameters"] or {}, draft, has_data=data is not None))
    draft.sections["searcher"] = _searcher(written.get("method"), draft)
    draft.sections["scheduler"] = _scheduler(written.get("early_terminate"), draft)
    if isinstance(written.get("run_cap"), int):
        draft.sections["budget"] = {"trials": written["run_cap"]}
    for key in written:
        if key not in _KNOWN:
            draft.notes.append(f"`{key}` is left out: a sweep runs the classes it names, not a program")
    return draft


def _objective(metric: Any, draft: Draft) -> dict[str, str]:
    if not isinstance(metric, dict) or not metric.get("name"):
        draft.notes.append("the file names no metric: check `objective`")
        return {"metric": "val_loss", "mode": "min"}
    if "target" in metric:
        draft.notes.append(f"metric.target: {metric['target']} is left out: a sweep spends its budget")
    return {"metric": str(metric["name"]), "mode": "max" if metric.get("goal") == "maximize" else "min"}


def _searcher(method: Any, draft: Draft) -> dict[str, str]:
    if method == "bayes":
        draft.notes.append("method: bayes became tpe, which serves the same end by another model")
    elif method not in list(_SEARCHERS):
        draft.notes.append(f"method: {method} is not known; searcher random stands in for it")
    name = _SEARCHERS.get(str(method), "random")
    if name == "grid" and _has_no_grid(draft.sections["space"]):
        draft.notes.append("a grid needs separate values, and a parameter here is continuous: searcher random instead")
        name = "random"
    return {"name": name}


def _has_no_grid(space: dict[str, Any]) -> bool:
    from orchestrator.space import Space

    try:
        return Space(space).grid_size < 0
    except SpecError:
        return True


def _scheduler(terminate: Any, draft: Draft) -> dict[str, Any]:
    """Hyperband's brackets as ASHA's rungs: ``min_iter``, or ``max_iter`` divided ``s`` times by ``eta``."""
    if not isinstance(terminate, dict):
        return {"name": "fifo"}
    eta = terminate.get("eta", 3)
    eta = eta if isinstance(eta, int) and eta >= 2 else 3
    grace = terminate.get("min_iter")
    if grace is None and isinstance(terminate.get("max_iter"), int):
        brackets = terminate.get("s", 2)
        grace = terminate["max_iter"] / eta ** (brackets if isinstance(brackets, int) and 0 <= brackets < 50 else 2)
    draft.notes.append("early_terminate became asha; W&B counts logged steps, asha counts epochs: check grace_epochs")
    return {"name": "asha", "grace_epochs": max(1, int(grace or 1)) if is_number(grace) else 1, "reduction_factor": eta}


def _space(parameters: dict[str, Any], draft: Draft, *, has_data: bool) -> Iterator[tuple[str, Any]]:
    seen: set[str] = set()
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
        if target in seen:
            draft.notes.append(f"{name} is left out: another parameter became {target} already")
            continue
        seen.add(target)
        if target == "trainer.max_epochs" and name != "max_epochs":
            draft.notes.append(f"{name} became trainer.max_epochs")
        yield target, domain.to_yaml()
    draft.notes.append("parameters are taken for the model's, but for a few well-known names: check their prefixes")


def _flat(parameters: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Nested ``parameters`` with dots between."""
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


def _domain(given: dict[str, Any], name: str, draft: Draft) -> Domain:
    """The domain of one parameter; raises what its constructor raises, ValueError for an unknown distribution."""
    kind = given.get("distribution") or _implied(given)
    if kind not in _DISTRIBUTIONS:
        raise ValueError(f"the distribution {kind} has no counterpart")
    if "probabilities" in given:
        draft.notes.append(f"{name}: probabilities are left out: every choice is equally likely")
    if kind.startswith("inv_"):
        draft.notes.append(f"{name}: {kind} became log_uniform, the nearest there is")
    return _DISTRIBUTIONS[kind](given)


def _implied(given: dict[str, Any]) -> str:
    if "values" in given:
        return "categorical"
    if "value" in given:
        return "constant"
    whole = all(isinstance(given.get(end), int) for end in ("min", "max"))
    return "int_uniform" if whole else "uniform"


def _ends(given: dict[str, Any]) -> tuple[Any, Any]:
    return given.get("min", 0), given.get("max", 1)


def _powers(given: dict[str, Any]) -> tuple[float, float]:
    """The ends of W&B's ``log_uniform``, which are natural logarithms."""
    low, high = _ends(given)
    return math.exp(low), math.exp(high)


def _inner(low: Any, high: Any, step: Any) -> tuple[Any, Any]:
    """The multiples of ``step`` that W&B rounds to between the two ends: its steps start at 0, ours at the low end."""
    first, last = math.floor(low / step + 0.5) * step, math.floor(high / step + 0.5) * step
    return (first, last) if isinstance(step, int) else (round(first, 12), round(last, 12))


def _stepped(make: Callable[..., Domain], low: Any, high: Any, step: Any) -> Domain:
    low, high = _inner(low, high, step)
    if make is log_uniform and low <= 0:
        low = step
    if isinstance(step, int):
        return (integer if make is uniform else log_int)(int(low), int(high), step if low < high else None)
    return make(low, high, step) if low < high else const(low)


def _q(given: dict[str, Any]) -> Any:
    return given.get("q", 1)


def _mu_sigma(given: dict[str, Any]) -> tuple[Any, Any]:
    return given.get("mu", 0), given.get("sigma", 1)


_DISTRIBUTIONS: dict[str, Callable[[dict[str, Any]], Domain]] = {
    "constant": lambda given: const(given["value"]),
    "categorical": lambda given: choice(list(given["values"])),
    "categorical_w_probabilities": lambda given: choice(list(given["values"])),
    "int_uniform": lambda given: integer(*_ends(given)),
    "uniform": lambda given: uniform(*_ends(given)),
    "q_uniform": lambda given: _stepped(uniform, *_ends(given), _q(given)),
    "log_uniform": lambda given: log_uniform(*_powers(given)),
    "log_uniform_values": lambda given: log_uniform(*_ends(given)),
    "q_log_uniform": lambda given: _stepped(log_uniform, *_powers(given), _q(given)),
    "q_log_uniform_values": lambda given: _stepped(log_uniform, *_ends(given), _q(given)),
    "inv_log_uniform": lambda given: log_uniform(1 / _powers(given)[1], 1 / _powers(given)[0]),
    "inv_log_uniform_values": lambda given: log_uniform(*_ends(given)),
    "normal": lambda given: normal(*_mu_sigma(given)),
    "q_normal": lambda given: normal(*_mu_sigma(given), _q(given)),
    "log_normal": lambda given: log_normal(*_mu_sigma(given)),
    "q_log_normal": lambda given: log_normal(*_mu_sigma(given), _q(given)),
}
