"""Translate a Hydra config with a sweeper: Optuna's, Ax's or the basic one."""

from __future__ import annotations

from typing import Any

from orchestrator.codec import key_path
from orchestrator.errors import SpecError
from orchestrator.spec.importers.defaults import note_budget, set_training_length
from orchestrator.spec.importers.draft import PLACEHOLDER_MODEL, Door, Draft
from orchestrator.spec.importers.foreign_yaml import ForeignFile
from orchestrator.spec.importers.hydra_overrides import domain_of
from orchestrator.spec.importers.parameter_names import target_name
from orchestrator.spec.importers.words import MODES, known
from orchestrator.spec.yaml_document import Path

_SAMPLERS = {
    "TPESampler": "tpe",
    "RandomSampler": "random",
    "CmaEsSampler": "cmaes",
    "GridSampler": "grid",
    "NSGAIISampler": "nsga2",
    "NSGAIIISampler": "nsga3",
    "GPSampler": "gp",
    "QMCSampler": "sobol",
}
_OPTIONS = {
    "tpe": "TPESampler",
    "random": "RandomSampler",
    "cmaes": "CmaEsSampler",
    "grid": "GridSampler",
    "nsgaii": "NSGAIISampler",
}
"""The classes of the options of the plug-in's config group ``hydra/sweeper/sampler``."""
_OTHERS = ("nevergrad", "orion", "syne_tune", "smac", "hebo")
_SECTIONS = ("model", "data", "trainer")
_AX_TRIALS, _OPTUNA_TRIALS = 10, 20  # the defaults of the plug-ins


def sweeper_of(content: Any) -> dict[str, Any] | None:
    """Return the sweeper's section of a Hydra config; None if there is none."""
    hydra = content.get("hydra") if isinstance(content, dict) else None
    sweeper = hydra.get("sweeper") if isinstance(hydra, dict) else None
    return sweeper if isinstance(sweeper, dict) else None


def translate(source: ForeignFile, door: Door) -> Draft:
    """Return the draft of the same search. A section with a ``_target_`` is a class, unless the user names a script."""
    draft, sweeper = Draft(source), sweeper_of(source.data) or {}
    kind = _kind(source, sweeper)
    draft.name(sweeper.get("study_name"))
    draft.take("hydra", "sweeper", "study_name")
    _objective(kind, sweeper, draft)
    if door.train:
        door.open(draft)
    else:
        _classes(draft, door.model, door.data)
    draft.sections["space"] = _space(kind, sweeper, draft, door)
    _sampler(kind, sweeper, draft)
    if not door.train:
        set_training_length(draft, {})
    _budget(kind, sweeper, draft)
    draft.note("Hydra runs each trial in full; here the default scheduler stops trials early, unless `scheduler: fifo`")
    for path, value in draft.left():
        if path[0] in ("defaults", "hydra"):
            draft.note(f"{'.'.join(map(str, path))}: {value} is Hydra's own, and left out", *path)
        elif door.train:
            draft.note(f"{'.'.join(map(str, path))}: {value} is left out: the script composes its own config", *path)
    return draft


def _kind(source: ForeignFile, sweeper: dict[str, Any]) -> str:
    named = str(sweeper.get("_target_", "")) + str(source.data.get("defaults", ""))
    if "ax_config" in sweeper or "hydra_ax" in named or "sweeper': 'ax" in named:
        return "ax"
    other = next((word for word in _OTHERS if word in named), "")
    if other:
        message = f"Hydra's sweeper {other} cannot be translated"
        raise source.refusal(message, "those of Optuna and Ax can, and the basic one", ("hydra", "sweeper"))
    optuna = {"direction", "n_trials", "sampler", "search_space", "study_name", "n_jobs"} & sweeper.keys()
    return "optuna" if optuna or "optuna" in named else "basic"


def _objective(kind: str, sweeper: dict[str, Any], draft: Draft) -> None:
    metric = draft.source.data.get("optimized_metric")
    draft.take("optimized_metric")
    if not metric:
        draft.note("a Hydra sweep optimizes what the script returns: objective.metric is val_loss; put its name there")
    mode = "min"
    if kind == "ax":
        minimize = ((sweeper.get("ax_config") or {}).get("experiment") or {}).get("minimize", True)
        mode = "min" if minimize else "max"
        draft.take("hydra", "sweeper", "ax_config", "experiment", "minimize")
    elif kind == "optuna":
        written = sweeper.get("direction")
        directions = written if isinstance(written, list) else [written or "minimize"]
        for word in directions:
            known(draft.source, word, list(MODES), "direction of Optuna", ("hydra", "sweeper", "direction"))
        mode = MODES[directions[0]]
        if written is None:
            draft.note("the sweeper has no direction: it is minimize, the plug-in's default")
        if len(directions) > 1:
            rest = ", ".join(directions[1:])
            draft.note(f"of several directions the first counts; write the others ({rest}) under objective.also")
        draft.take("hydra", "sweeper", "direction")
    else:
        draft.note("the basic sweeper optimizes nothing: objective is min")
    draft.sections["objective"] = {"metric": str(metric or "val_loss"), "mode": mode}


def _classes(draft: Draft, model: str | None, data: str | None) -> None:
    content = draft.source.data
    given = {"model": model, "data": data}
    for name in _SECTIONS:
        section = content.get(name) if isinstance(content.get(name), dict) else None
        if section and (name == "trainer" or "_target_" in section) and not given.get(name):
            kept = {key: value for key, value in section.items() if not (name == "trainer" and key == "_target_")}
            draft.sections[name] = {k: v for k, v in kept.items() if v is not None} if name == "trainer" else kept
            draft.take(name)
        elif given.get(name):
            init = {key: value for key, value in (section or {}).items() if key != "_target_"}
            draft.sections[name] = {"class_path": given[name], "init_args": init}
            draft.take(name)
        elif name == "model":
            draft.sections[name] = {"class_path": PLACEHOLDER_MODEL, "init_args": section or {}}
            draft.note(f"put your LightningModule's import path for {PLACEHOLDER_MODEL}, or pass --model")
            draft.take(name)
    seed = content.get("seed")
    if isinstance(seed, int):
        draft.sections["seed"] = seed
        draft.take("seed")


def _space(kind: str, sweeper: dict[str, Any], draft: Draft, door: Door) -> dict[str, Any]:
    space: dict[str, Any] = {}
    holders = [("params",), ("search_space",), ("ax_config", "params")]
    for holder in holders:
        written: Any = sweeper
        for key in holder:
            written = written.get(key) if isinstance(written, dict) else None
        for name, value in (written or {}).items() if isinstance(written, dict) else ():
            path = ("hydra", "sweeper", *holder, name)
            target = str(name) if door.train else _argument(str(name), draft)
            if str(name).startswith("~"):
                word = f"{name}={value}" if value not in (None, "null") else str(name)
                _remove(word, draft)
                draft.take(*path)
                continue
            try:
                space[target] = domain_of(value, kind).to_yaml()
            except (SpecError, ValueError, TypeError, KeyError) as error:
                reason = error.problems[0].message if isinstance(error, SpecError) else str(error)
                draft.note(f"{name}: {value} is left out: {reason}", *path)
                continue
            draft.note(f"{'.'.join(map(str, path))}: {value} became {target}", *path)
    return space


def _argument(name: str, draft: Draft) -> str:
    """Return the name in ``space`` of an override, as an argument of a class."""
    clean = name.lstrip("+~")
    clean = f"data.{clean.removeprefix('datamodule.')}" if clean.startswith("datamodule.") else clean
    return target_name(clean, has_data="data" in draft.sections)


def _remove(word: str, draft: Draft) -> None:
    """Pass on an override that removes a key: it is the same in all trials."""
    if "program" in draft.sections:
        standard = ["${env}", "${interpreter}", "${program}", "${args_no_hyphens}"]
        draft.sections["command"] = [*draft.sections.get("command", standard)[:-1], word, "${args_no_hyphens}"]
        draft.note(f"{word} became a word of the command")
    else:
        draft.note(f"{word} is left out: remove the argument from the sections below")


def _sampler(kind: str, sweeper: dict[str, Any], draft: Draft) -> None:
    if kind == "basic":
        draft.sections["searcher"] = {"name": "grid"}
        return
    if kind == "ax":
        draft.note("Ax's model became searcher gp")
        draft.sections["searcher"] = {"name": "gp"}
        return
    path: Path = ("hydra", "sweeper", "sampler")
    sampler = sweeper["sampler"] if isinstance(sweeper.get("sampler"), dict) else {}
    name, place = _named_sampler(draft.source, sampler, path)
    if name:
        known(draft.source, name, list(_SAMPLERS), "sampler that can be translated", place)
        draft.note(f"{key_path(place)}: {name} became searcher {_SAMPLERS[name]}", *place)
    else:
        draft.note("the sampler is chosen elsewhere: searcher is tpe, the plug-in's default")
    draft.sections["searcher"] = {"name": _SAMPLERS[name or "TPESampler"]}
    if name == "TPESampler" and isinstance(sampler.get("n_startup_trials"), int):
        draft.sections["searcher"]["startup_trials"] = sampler["n_startup_trials"]
        draft.take(*path, "n_startup_trials")
    if isinstance(sampler.get("seed"), int) and "seed" not in draft.sections:
        draft.sections["seed"] = sampler["seed"]
        draft.take(*path, "seed")


def _named_sampler(source: ForeignFile, sampler: dict[str, Any], path: Path) -> tuple[str, Path]:
    """Return the name of the sampler's class, and where it is chosen; empty if the file does not choose it."""
    if sampler.get("_target_"):
        return str(sampler["_target_"]).rpartition(".")[2], (*path, "_target_")
    defaults = source.data.get("defaults")
    for index, chosen in enumerate(defaults if isinstance(defaults, list) else []):
        for group, option in chosen.items() if isinstance(chosen, dict) else ():
            if str(group).split()[-1:] == ["hydra/sweeper/sampler"]:
                return _OPTIONS.get(str(option), str(option)), ("defaults", index, group)
    return "", ()


def _budget(kind: str, sweeper: dict[str, Any], draft: Draft) -> None:
    if kind == "basic":
        return
    holder, word, default = (
        (("ax_config",), "max_trials", _AX_TRIALS) if kind == "ax" else ((), "n_trials", _OPTUNA_TRIALS)
    )
    section: Any = sweeper.get(holder[0]) if holder else sweeper
    trials = (section or {}).get(word)
    if isinstance(trials, int):  # else an interpolation, or nothing
        draft.sections["budget"] = {"trials": trials}
        draft.take("hydra", "sweeper", *holder, word)
    else:
        note_budget(draft, word, f"the plug-in's own default is {default}")
        draft.sections["budget"] = {"trials": default}
        what = f"the file has no {word}" if trials is None else f"{word} is {trials!r}, which is no number"
        draft.notes[-1] = f"{what}: budget.trials is {default}, the plug-in's default"
    if isinstance(sweeper.get("n_jobs"), int) and sweeper["n_jobs"] > 0:
        draft.sections["resources"] = {"concurrent": sweeper["n_jobs"]}
        draft.take("hydra", "sweeper", "n_jobs")
