"""Translate a LightningCLI config: the same sections, and a space to fill in."""

from __future__ import annotations

import copy
from typing import Any

from orchestrator.spec.fixed_folders import fixed_folders_notice
from orchestrator.spec.importers.draft import PLACEHOLDER_MODEL, Door, Draft
from orchestrator.spec.importers.foreign_yaml import ForeignFile, leaves
from orchestrator.spec.old_trainer import present_arguments, present_spelling
from orchestrator.spec.sweep_spec import DEFAULT_EPOCHS

SET_BY_SWEEP = ("default_root_dir", "enable_checkpointing", "enable_progress_bar")
"""Trainer arguments that a sweep sets itself."""

_SUBCOMMANDS = ("fit", "validate", "test", "predict")
_SECTIONS = ("fit", "trainer", "model", "data", "optimizer", "lr_scheduler")
_CLASS_WORDS = ("class_path", "init_args", "dict_kwargs")


def translate(source: ForeignFile, door: Door) -> Draft:
    """Return the draft of a sweep over the config's training. The user names the classes that it omits.

    A script that is a LightningCLI gets the config itself, by ``--config``.
    """
    draft = Draft(source)
    check_sections(source)
    if door.train:
        return _with_config(draft, door)
    model, data = door.model, door.data
    settings, paths = _fit_settings(source.data, draft)
    draft.name()
    _seed(settings, paths, draft)
    draft.sections["objective"] = _objective(settings, draft)
    draft.sections["model"] = _class(settings.get("model"), model or PLACEHOLDER_MODEL, "model", draft)
    draft.take(*paths["model"])
    if settings.get("data") is not None or data:
        if data or _names_class(settings["data"]):
            draft.sections["data"] = _class(settings.get("data"), data or "", "data", draft)
            draft.take(*paths["data"])
        else:
            text = f"`data` names no class; pass --data with the DataModule's import path: {settings['data']}"
            draft.note(text, *paths["data"])
    for name in ("optimizer", "lr_scheduler"):
        if settings.get(name):
            draft.sections[name] = copy.deepcopy(settings[name])
            draft.take(*paths[name])
    draft.sections["trainer"] = _trainer(settings.get("trainer") or {}, paths["trainer"], draft)
    if settings.get("ckpt_path") is not None:
        text = f"ckpt_path: {settings['ckpt_path']} is left out: each trial starts afresh"
        draft.note(text, *paths["ckpt_path"])
    _note_nulls(draft)
    return draft


def _with_config(draft: Draft, door: Door) -> Draft:
    """Return the draft of a sweep of a script that reads the config itself."""
    config, source = draft.source.data, draft.source
    files = [*source.before, source.file]
    draft.name()
    fit = config.get("fit")
    draft.sections["objective"] = _objective(fit if isinstance(fit, dict) else config, draft)
    door.open(draft)
    if "program" in draft.sections:
        words = [word for file in files for word in ("--config", file)]
        draft.sections["command"] = ["${env}", "${interpreter}", "${program}", "fit", *words, "${args}"]
    named = ", ".join(".".join(map(str, path)) for path, _ in draft.left())
    draft.note(f"the script reads {', '.join(files)} itself, with all that is set there: {named}")
    for path, _ in draft.left():
        draft.take(*path)
    return draft


def check_sections(source: ForeignFile) -> None:
    """Raise SpecError if a section of the config is neither a mapping nor, for a class, its path."""
    fit = source.data.get("fit")
    sections = {**source.data, **(fit if isinstance(fit, dict) else {})}
    for name in _SECTIONS:
        bare = name not in ("fit", "trainer") and isinstance(sections.get(name), str)
        if not bare and not isinstance(sections.get(name), dict | None):
            message = f"`{name}` must be a mapping, but got {sections[name]!r}"
            raise source.refusal(message, "is it a LightningCLI config?", (name,))


class _Paths(dict[str, tuple[str, ...]]):
    """Where each section is written: at the top, or in the section of `fit`."""

    def __missing__(self, name: str) -> tuple[str, ...]:
        return (name,)


def _fit_settings(config: dict[str, Any], draft: Draft) -> tuple[dict[str, Any], _Paths]:
    """Return the settings of `fit`, which are a section of their own if the config has subcommands."""
    for name in _SUBCOMMANDS[1:]:
        if isinstance(config.get(name), dict):
            named = ", ".join(".".join(map(str, path)) for path, _ in leaves(config[name], (name,)))
            draft.note(f"the section `{name}` is left out, since a sweep fits: {named}", name)
    draft.take("subcommand")
    shared = {key: value for key, value in config.items() if key not in _SUBCOMMANDS}
    fit = config.get("fit")
    if not isinstance(fit, dict):
        return shared, _Paths()
    return shared | fit, _Paths({name: ("fit", name) for name in fit})


def _seed(config: dict[str, Any], paths: _Paths, draft: Draft) -> None:
    seed = config.get("seed_everything")
    if isinstance(seed, int) and not isinstance(seed, bool):
        draft.sections["seed"] = seed
        draft.take(*paths["seed_everything"])
    elif seed is not None:
        draft.note(f"seed_everything: {str(seed).lower()} names no seed; the sweep's is 0", *paths["seed_everything"])


def _objective(config: dict[str, Any], draft: Draft) -> dict[str, str]:
    """Return what a callback or the scheduler of the config monitors, else a guess that is noted as one."""
    callbacks = (config.get("trainer") or {}).get("callbacks") or []
    listed = [*(callbacks if isinstance(callbacks, list) else [callbacks]), config.get("lr_scheduler")]
    for component in listed:
        arguments = component.get("init_args") if isinstance(component, dict) else None
        if isinstance(arguments, dict) and arguments.get("monitor"):
            metric, mode = str(arguments["monitor"]), arguments.get("mode")
            name = component.get("class_path", "a callback") if isinstance(component, dict) else ""
            said = "" if mode in ("min", "max") else ", which names no mode: it is min"
            draft.note(f"the objective is the metric that {name} monitors{said}: check it")
            return {"metric": metric, "mode": mode if mode in ("min", "max") else "min"}
    draft.note("the config names no objective: it is val_loss, min; check `objective`")
    return {"metric": "val_loss", "mode": "min"}


def _names_class(section: Any) -> bool:
    return isinstance(section, str) or (isinstance(section, dict) and "class_path" in section)


def _class(section: Any, class_path: str, root: str, draft: Draft) -> dict[str, Any]:
    """Return the section as {class_path, init_args}; a config of one fixed class holds its arguments alone."""
    if isinstance(section, str):
        section = {"class_path": section}
    if section is not None and _names_class(section):
        unknown = {key: value for key, value in section.items() if key not in _CLASS_WORDS}
        if unknown:
            draft.note(f"{root}: {unknown} is left out: a class has {', '.join(_CLASS_WORDS)}")
        written = {"class_path": section["class_path"], "init_args": section.get("init_args") or {}}
        return written | ({"dict_kwargs": section["dict_kwargs"]} if section.get("dict_kwargs") else {})
    if class_path == PLACEHOLDER_MODEL:
        draft.note(f"`{root}` names no class: put its import path for {class_path}, or pass --{root}")
    return {"class_path": class_path, "init_args": section or {}}


def _trainer(arguments: dict[str, Any], path: tuple[str, ...], draft: Draft) -> dict[str, Any]:
    trainer = {name: value for name, value in arguments.items() if value is not None}
    for name in SET_BY_SWEEP:
        if name in trainer:
            draft.note(f"trainer.{name}: {trainer.pop(name)} is left out: the sweep sets it", *path, name)
    if isinstance(trainer.get("logger"), bool):
        draft.note(f"trainer.logger: {trainer.pop('logger')} is left out: a sweep logs every trial", *path, "logger")
    for name in ("fast_dev_run", "barebones"):
        if name in trainer:
            draft.note(f"trainer.{name}: {trainer.pop(name)} is left out: a trial must log and save", *path, name)
    for name in list(trainer):
        present = present_arguments(name, trainer[name])
        if present is not None:
            value, written = trainer.pop(name), ", ".join(f"{key}: {item}" for key, item in present.items())
            replaced = f"became {written}" if written else f"is left out; today it is {present_spelling(name)}"
            draft.note(f"trainer.{name}: {value} is of an earlier Lightning; it {replaced}", *path, name)
            callbacks = [*(trainer.get("callbacks") or []), *present.pop("callbacks", [])]
            trainer |= present | ({"callbacks": callbacks} if callbacks else {})
    if notice := fixed_folders_notice(trainer):
        draft.note(notice)
    if not trainer.keys() & {"max_epochs", "max_steps", "max_time"}:
        draft.note(f"the config says nothing of epochs: trainer.max_epochs is {DEFAULT_EPOCHS}")
        trainer["max_epochs"] = DEFAULT_EPOCHS
    for name in trainer:
        draft.take(*path, name)
    return trainer


def _note_nulls(draft: Draft) -> None:
    """Name the settings that are null, or an empty mapping or list: the defaults."""
    empty = [(path, value) for path, value in draft.left() if value is None or value in ({}, [])]
    if empty:
        named = ", ".join(".".join(map(str, path)) for path, _ in empty)
        draft.note(f"null or empty in the config, so the default: {named}")
        for path, _ in empty:
            draft.take(*path)
