"""Translate a LightningCLI config: the same sections, and a space to fill in."""

from __future__ import annotations

from typing import Any

from orchestrator.spec.fixed_folders import fixed_folders_notice
from orchestrator.spec.importers.draft import PLACEHOLDER_MODEL, Draft

SET_BY_SWEEP = ("logger", "default_root_dir", "enable_checkpointing", "enable_progress_bar")
"""Trainer arguments that a sweep sets itself."""

_SUBCOMMANDS = ("fit", "validate", "test", "predict")
_TRANSLATED = ("seed_everything", "model", "data", "trainer", "ckpt_path", "subcommand", *_SUBCOMMANDS)


def translate(config: dict[str, Any], file: str, model: str | None, data: str | None) -> Draft:
    """Return the draft of a sweep over the config's training. ``model`` and ``data`` name classes that it omits."""
    draft = Draft(file)
    settings = _fit_settings(config, draft)
    draft.name()
    _seed(settings, draft)
    draft.sections["objective"] = _objective(settings, draft)
    draft.sections["model"] = _class(settings.get("model"), model or PLACEHOLDER_MODEL, "model", draft)
    if settings.get("data") is not None or data:
        if data or _names_class(settings["data"]):
            draft.sections["data"] = _class(settings.get("data"), data or "", "data", draft)
        else:
            draft.notes.append("`data` names no class; pass --data with the DataModule's import path")
    draft.sections["trainer"] = _trainer(settings.get("trainer") or {}, draft)
    if settings.get("ckpt_path") is not None:
        draft.notes.append(f"ckpt_path: {settings['ckpt_path']} is left out: each trial starts afresh")
    for key in settings:
        if key not in _TRANSLATED and settings[key] is not None:
            draft.notes.append(f"`{key}` is left out: set it in the module, or among the model's init_args")
    return draft


def _fit_settings(config: dict[str, Any], draft: Draft) -> dict[str, Any]:
    """Return the settings of `fit`, which are a section of their own if the config has subcommands."""
    for name in _SUBCOMMANDS[1:]:
        if isinstance(config.get(name), dict):
            draft.notes.append(f"the section `{name}` is left out: a sweep fits")
    shared = {key: value for key, value in config.items() if key not in _SUBCOMMANDS}
    fit = config.get("fit")
    return shared | fit if isinstance(fit, dict) else shared


def _seed(config: dict[str, Any], draft: Draft) -> None:
    seed = config.get("seed_everything")
    if isinstance(seed, int) and not isinstance(seed, bool):
        draft.sections["seed"] = seed
    elif seed is not None:
        draft.notes.append(f"seed_everything: {str(seed).lower()} names no seed; the sweep's is 0")


def _objective(config: dict[str, Any], draft: Draft) -> dict[str, str]:
    """Return what a callback of the config monitors, else a guess that is noted as one."""
    callbacks = (config.get("trainer") or {}).get("callbacks") or []
    for callback in callbacks if isinstance(callbacks, list) else [callbacks]:
        arguments = callback.get("init_args") if isinstance(callback, dict) else None
        if isinstance(arguments, dict) and arguments.get("monitor"):
            metric, mode = str(arguments["monitor"]), arguments.get("mode")
            draft.notes.append(f"the objective is the metric that {callback.get('class_path')} monitors: check it")
            return {"metric": metric, "mode": mode if mode in ("min", "max") else "min"}
    draft.notes.append("the config names no objective: check `objective`")
    return {"metric": "val_loss", "mode": "min"}


def _names_class(section: Any) -> bool:
    return isinstance(section, str) or (isinstance(section, dict) and "class_path" in section)


def _class(section: Any, class_path: str, root: str, draft: Draft) -> dict[str, Any]:
    """Return the section as {class_path, init_args}; a config of one fixed class holds its arguments alone."""
    if isinstance(section, str):
        section = {"class_path": section}
    if _names_class(section):
        return {"class_path": section["class_path"], "init_args": section.get("init_args") or {}}
    if class_path == PLACEHOLDER_MODEL:
        draft.notes.append(f"`{root}` names no class: put its import path for {class_path}, or pass --{root}")
    return {"class_path": class_path, "init_args": section or {}}


def _trainer(arguments: dict[str, Any], draft: Draft) -> dict[str, Any]:
    trainer = {name: value for name, value in arguments.items() if value is not None}
    for name in SET_BY_SWEEP:
        if name in trainer:
            draft.notes.append(f"trainer.{name} is left out: the sweep sets it")
            del trainer[name]
    if notice := fixed_folders_notice(trainer):
        draft.notes.append(notice)
    for name in ("fast_dev_run", "barebones"):
        if trainer.pop(name, False):
            draft.notes.append(f"trainer.{name} is left out: a trial must log and save")
    return trainer
