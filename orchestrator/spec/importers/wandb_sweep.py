"""Translate a W&B sweep file."""

from __future__ import annotations

from typing import Any

from orchestrator.errors import SpecError
from orchestrator.space.domain import is_number
from orchestrator.spec.importers.defaults import note_budget, set_training_length
from orchestrator.spec.importers.draft import Door, Draft
from orchestrator.spec.importers.foreign_yaml import ForeignFile
from orchestrator.spec.importers.wandb_domains import translate_parameters
from orchestrator.spec.importers.words import MODES, known

_METHODS = ("grid", "random", "bayes")
_METRIC = ("name", "goal", "target", "impute", "impute_while_running")
_TERMINATE = ("type", "min_iter", "max_iter", "s", "eta", "strict")
_LEFT_OUT = {
    "description": "a sweep file has comments for that",
    "project": "write tracking: {wandb: {project: …}} to send trials there",
    "entity": "write tracking: {wandb: {entity: …}} to send trials there",
    "controller": "this sweep decides itself",
    "job": "a sweep runs on the machine or cluster that it is launched on",
    "scheduler": "the sweep's own process decides which trials run",
    "image_uri": "a sweep runs on the machine or cluster that it is launched on",
    "prior_runs": "export them and launch with --warm-start",
}
_KEYS = ("name", "method", "metric", "parameters", "early_terminate", "run_cap", "program", "command", *_LEFT_OUT)


def translate(source: ForeignFile, door: Door) -> Draft:
    """Return the draft of the same search.

    A sweep that names a ``program`` runs that script, unless the user names a class or other code instead.
    """
    config, draft = source.data, Draft(source)
    draft.name(config.get("name"))
    draft.take("name")
    draft.sections["objective"], target = _objective(config, draft)
    if door.model is None and not door.train and _names_script(config):
        door = Door(train=str(config.get("program") or "its command"))
        _script(config, draft)
    else:
        door.open(draft)
    parameters = config.get("parameters") or {}
    draft.sections["space"] = translate_parameters(parameters, draft, door)
    draft.sections |= _searcher(config.get("method"), draft)
    scheduler = _scheduler(config.get("early_terminate"), draft)
    if not door.train:
        set_training_length(draft, scheduler, _longest(config))
    draft.sections |= {"scheduler": scheduler} if scheduler else {}
    _budget(config, target, draft)
    for key in config:
        _other_key(key, config[key], draft)
    if source.exponents:
        named = ", ".join(f"{'.'.join(map(str, path))}: {text}" for path, text in source.exponents.items())
        draft.note(f"YAML 1.1 reads these as text, and this file as numbers: {named}")
    return draft


def _other_key(key: str, value: Any, draft: Draft) -> None:
    if key in ("program", "command") and value is not None and key not in draft.sections:
        trained = draft.sections.get("train") or draft.sections.get("program") or "the model"
        draft.note(f"{key}: {value} is left out: the sweep trains {trained}", key)
    elif key in _LEFT_OUT:
        draft.note(f"{key}: {value} is left out: {_LEFT_OUT[key]}", key)
    elif key not in _KEYS:
        from difflib import get_close_matches

        if close := get_close_matches(str(key), _KEYS, n=1, cutoff=0.8):
            raise draft.source.refusal(f"{key!r} is no key of a W&B sweep", f"did you mean {close[0]}?", (key,))
        draft.note(f"{key}: {value} is left out: it is no key of a W&B sweep", key)


def _names_script(config: dict[str, Any]) -> bool:
    """Return whether a sweep names what it runs: a program, or a command that names it itself."""
    command = config.get("command")
    return bool(config.get("program")) or (isinstance(command, list) and "${program}" not in command)


def _script(config: dict[str, Any], draft: Draft) -> None:
    for key in ("program", "command"):
        if config.get(key) is not None:
            draft.sections[key] = config[key]
            draft.take(key)


def _objective(config: dict[str, Any], draft: Draft) -> tuple[dict[str, str], float | None]:
    """Return the ``objective`` section, and the value that ends the sweep if the file has one."""
    metric = config.get("metric")
    if metric is None:
        draft.note("the file names no metric: objective.metric is val_loss, mode min")
        return {"metric": "val_loss", "mode": "min"}, None
    if not isinstance(metric, dict):
        message = f"`metric` must be a mapping, but got {metric!r}"
        raise draft.source.refusal(message, "metric: {name: val_loss, goal: minimize}", ("metric",))
    for word in metric:
        known(draft.source, word, _METRIC, "key of W&B's metric", ("metric", word))
    goal = metric.get("goal")
    if goal is None:
        draft.note("metric has no goal: it is minimize, W&B's default")
    else:
        known(draft.source, goal, list(MODES), "goal of W&B", ("metric", "goal"))
    if not metric.get("name"):
        draft.note("metric has no name: objective.metric is val_loss")
    target = metric.get("target")
    for word in ("name", "goal"):
        draft.take("metric", word)
    if is_number(target):
        draft.take("metric", "target")
    mode = MODES.get(str(goal), "min")
    return {"metric": str(metric.get("name") or "val_loss"), "mode": mode}, target if is_number(target) else None


def _searcher(method: Any, draft: Draft) -> dict[str, Any]:
    """Return the ``searcher`` section; none for ``bayes``, which becomes the default."""
    if method is None:
        draft.note("the file names no method: the default searcher is used")
        return {}
    name = known(draft.source, method, _METHODS, "method of W&B", ("method",))
    draft.take("method")
    if name == "bayes":
        draft.note("method: bayes became the default searcher, which also learns from earlier trials")
        return {}
    if name == "grid" and _has_no_grid(draft.sections["space"]):
        draft.note("method: grid needs separate values, and a parameter here is continuous: searcher random instead")
        name = "random"
    return {"searcher": {"name": name}}


def _has_no_grid(space: dict[str, Any]) -> bool:
    from orchestrator.space import Space

    try:
        return Space(space).grid_size < 0
    except SpecError:
        return True


def _longest(config: dict[str, Any]) -> int | None:
    terminate = config.get("early_terminate")
    value: Any = terminate.get("max_iter", 0) if isinstance(terminate, dict) else 0
    return int(value) if is_number(value) and value >= 1 else None


def _scheduler(terminate: Any, draft: Draft) -> dict[str, Any]:
    """Return the ``scheduler`` section; empty without ``early_terminate``, where the default stops trials early.

    Hyperband's brackets become ASHA's rungs: ``min_iter``, or ``max_iter`` divided ``s`` times by ``eta``.
    """
    if terminate is None:
        draft.note("no early_terminate: the default scheduler stops trials early; `scheduler: fifo` trains all in full")
        return {}
    if not isinstance(terminate, dict):
        raise draft.source.refusal(f"`early_terminate` must be a mapping, but got {terminate!r}",
                            "early_terminate: {type: hyperband, min_iter: 3}", ("early_terminate",))  # fmt: skip
    for word in terminate:
        known(draft.source, word, _TERMINATE, "key of W&B's early_terminate", ("early_terminate", word))
    if "type" in terminate:
        known(draft.source, terminate["type"], ["hyperband"], "type of early_terminate", ("early_terminate", "type"))
    eta = terminate.get("eta", 3)
    if not (is_number(eta) and float(eta) >= 2):
        raise draft.source.refusal(
            f"`eta >= 2` must hold, but got {eta!r}", "W&B's default is 3", ("early_terminate", "eta")
        )
    grace, longest = terminate.get("min_iter"), terminate.get("max_iter")
    if grace is None and is_number(longest):
        brackets = terminate.get("s", 2)
        grace = longest / eta ** (brackets if isinstance(brackets, int) and 0 <= brackets < 50 else 2)
    grace = max(1, int(grace)) if isinstance(grace, int | float) and is_number(grace) else 1
    if terminate.get("strict"):
        draft.note(f"early_terminate.strict is left out: asha stops all but the best 1/{int(eta)} at each rung")
    if eta != int(eta):
        draft.note(f"early_terminate: eta {eta} became reduction_factor {int(eta)}, which is a whole number")
    said = ", ".join(f"{key}: {value}" for key, value in terminate.items())
    text = f"early_terminate ({said}) became asha; W&B counts logged steps, asha counts epochs: check grace_epochs"
    draft.note(f"{text}, {grace}", "early_terminate")
    return {"name": "asha", "grace_epochs": grace, "reduction_factor": int(eta)}


def _budget(config: dict[str, Any], target: float | None, draft: Draft) -> None:
    budget: dict[str, Any] = {} if target is None else {"target": target}
    cap = config.get("run_cap")
    if cap is not None:
        if type(cap) is not int or cap < 1:
            raise draft.source.refusal(
                f"`run_cap` must be a whole number, but got {cap!r}", "run_cap: 20", ("run_cap",)
            )
        budget["trials"] = cap
        draft.take("run_cap")
    elif draft.sections.get("searcher") != {"name": "grid"}:
        budget["trials"] = note_budget(draft, "run_cap", "W&B goes on until it is stopped")
    if budget:
        draft.sections["budget"] = budget
