"""Translate other tools' files into sweep files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from orchestrator.errors import Problem, SpecError, UsageError
from orchestrator.spec.foreign_trials import is_optuna, named_study
from orchestrator.spec.importers import (
    hydra_sweeper,
    katib_experiment,
    lightning_cli,
    optuna_search,
    overriding_configs,
    python_search,
    wandb_sweep,
)
from orchestrator.spec.importers.draft import Door, Draft
from orchestrator.spec.importers.foreign_yaml import ForeignFile, read_yaml_1_1
from orchestrator.spec.validation_errors import validated
from orchestrator.spec.yaml_document import SIZE_LIMIT, read, readable

_Translate = Callable[[ForeignFile, Door], Draft]


def import_file(
    path: str | Path,
    model: str | None = None,
    data: str | None = None,
    *,
    train: str | None = None,
    overriding: Sequence[str | Path] = (),
) -> str:
    """Return the text of a sweep file, made from another tool's file; ``load`` reads it.

    The file is a W&B sweep, a LightningCLI config, a Hydra config with a sweeper, a Katib experiment, or a Python file
    with a W&B ``sweep_config``, a ``param_space`` of Ray Tune or an objective of Optuna, which is read and not
    run; or an Optuna storage. Comments at the top list what could not be translated.

    Args:
        path: The file to translate.
        model: Import path of the LightningModule, for a file that names none.
        data: Import path of the LightningDataModule, for a file that names none.
        train: The script that trains, such as ``train.py``, or the function, such as ``my_project.train:main``, in
            place of a model. Parameters keep the names that they have in the file.
        overriding: Further LightningCLI configs, each of which overrides those before it, as several ``--config`` do.

    Raises:
        SpecError: The file cannot be read, is of no known kind, or has a word that its tool does not know.
        UsageError: Both a model and code are named.
    """
    if train and (model or data):
        raise UsageError("--train names code that makes its own model and data", hint="leave --model and --data out")
    door = Door(model, data, train)
    content = _content(storage := named_study(Path(path))[0])
    if is_optuna(storage):
        draft = optuna_search.translate(Path(path), door)
    elif overriding:
        draft = _of_several([path, *overriding], door)
    elif Path(path).suffix == ".py":
        draft = python_search.translate(content.decode(errors="replace"), str(path), door)
    else:
        draft = _translated(content, str(path), door)
    _, remaining = validated(read(draft.text().encode(), "")[0].data)
    draft.notes += [
        f"to correct before it can be launched: {problem.message} ({problem.hint})" for problem in readable(remaining)
    ]
    return draft.text()


def _of_several(paths: Sequence[str | Path], door: Door) -> Draft:
    sources = [read_yaml_1_1(_content(Path(path)), str(path)) for path in paths]
    for source in sources:
        kind = next((name for name, (matches, _) in _KINDS.items() if matches(source.data)), _CLI)
        if kind != _CLI:
            raise source.refusal(f"it is a {kind}, and only LightningCLI configs are merged", "import it by itself")
    whole, notes = overriding_configs.merged(sources)
    for source in sources:
        lightning_cli.check_sections(source)
    if not _is_lightning_cli(whole.data):
        raise whole.refusal("none of the files has a section of LightningCLI", _MARKS[_CLI])
    draft = lightning_cli.translate(whole, door)
    draft.notes += notes
    return draft


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as source:
            return source.read(SIZE_LIMIT + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise SpecError([Problem(f"cannot be read: {reason}", "check the path", file=str(path))]) from None


def _translated(content: bytes, file: str, door: Door) -> Draft:
    source = read_yaml_1_1(content, file)
    for matches, translate in _KINDS.values():
        if matches(source.data):
            return translate(source, door)
    known = ", ".join(f"{name} ({_MARKS[name]})" for name in _KINDS)
    raise source.refusal("of no kind that can be imported", known)


def _is_wandb(content: Any) -> bool:
    return isinstance(content, dict) and isinstance(content.get("parameters"), dict)


def _is_lightning_cli(content: Any) -> bool:
    return isinstance(content, dict) and bool(content.keys() & {"model", "trainer", "fit"})


def _is_katib(content: Any) -> bool:
    return isinstance(content, dict) and content.get("kind") == "Experiment" and "spec" in content


def _is_hydra(content: Any) -> bool:
    return hydra_sweeper.sweeper_of(content) is not None


def foreign_kind(content: bytes) -> str:
    """Return which other tool a file without a sweep file's own keys belongs to; empty for none of these."""
    try:
        data = read_yaml_1_1(content, "").data
    except SpecError:
        return ""
    if not isinstance(data, dict) or data.keys() <= _PARTS:
        return ""
    return next((name for name, (matches, _) in _KINDS.items() if matches(data)), "")


_PARTS = frozenset({"name", "seed", "model", "data"})
"""Keys that both a sweep file and a config have, without any that tells which it is."""


_CLI = "LightningCLI config"
_KINDS: dict[str, tuple[Callable[[Any], bool], _Translate]] = {
    "Katib experiment": (_is_katib, katib_experiment.translate),
    "Hydra sweeper": (_is_hydra, hydra_sweeper.translate),
    "W&B sweep": (_is_wandb, wandb_sweep.translate),
    _CLI: (_is_lightning_cli, lightning_cli.translate),
}
_MARKS = {
    "Katib experiment": "`kind: Experiment`",
    "Hydra sweeper": "`hydra.sweeper`",
    "W&B sweep": "`parameters`",
    _CLI: "`model` or `trainer`",
}
