"""Find, read and check sweep files, and write a spec back as one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path as FilePath
from typing import Any

from orchestrator.errors import Problem, SpecError
from orchestrator.secrets import allow, is_password_name, secret_in
from orchestrator.space import KeyProblem
from orchestrator.spec.first_rung import first_rung_problems
from orchestrator.spec.interpolation import with_environment
from orchestrator.spec.overrides import override, set_field
from orchestrator.spec.policy_options import plugin_written
from orchestrator.spec.presets import choose_preset, preset_names
from orchestrator.spec.readable_rest import readable_rest
from orchestrator.spec.sweep_spec import SweepSpec
from orchestrator.spec.validation_errors import validated
from orchestrator.spec.yaml_document import SIZE_LIMIT, Document, Path, brief, read, readable
from orchestrator.spec.yaml_text import dump


def shipped() -> dict[str, FilePath]:
    """Return the shipped sweep files by name: inside the package in a wheel, next to it in a checkout."""
    package = FilePath(__file__).resolve().parents[1]
    folders = [folder for folder in (package / "search_spaces", package.parent / "search_spaces") if folder.is_dir()]
    return {path.stem: path for folder in folders[:1] for path in sorted(folder.glob("*.yaml"))}


def load(
    source: str | FilePath, overrides: Sequence[str] = (), name: str | None = None, preset: str | None = None
) -> SweepSpec:
    """Return the spec in a file, or in the shipped file of that name, with each override ``key=value`` applied.

    The overrides of ``preset``, a name under ``presets`` in the file, are applied before the others. The file's own
    name is the default of ``name``. Raises SpecError with every problem and its position.

    Example:
        ```python
        spec = orchestrator.load_spec("sweep.yaml", ["budget.trials=3"])
        assert spec.budget.trials == 3
        ```
    """
    path = _find(source)
    content, file = _content(path, str(source)), str(source) if FilePath(source) == path else str(path)
    _refuse_other_than_yaml(path, content, file)
    document, problems = read(content, file)
    if not isinstance(document.data, dict) or not document.data.keys() & _OWN_KEYS:
        _refuse_foreign(content, file)
    if isinstance(document.data, dict):
        problems += choose_preset(document, preset)
    document, unusable = override(document, overrides)
    problems += unusable
    if isinstance(document.data, dict):
        problems += _lightning_cli_names(document)
        _name(document, path, name)
    return _checked(document, problems)


def presets_of(source: str | FilePath) -> list[str]:
    """Return the names of the presets in a file, or in the shipped file of that name. Raises SpecError."""
    path = _find(source)
    return preset_names(read(_content(path, str(source)), str(source))[0])


_OWN_KEYS = frozenset({"objective", "space", "budget", "searcher", "scheduler", "resources"})
"""Keys of which a sweep file has one at least."""


def _refuse_foreign(content: bytes, file: str) -> None:
    """Raise SpecError if the file is another tool's that `sweep import` translates."""
    from orchestrator.spec.importers import foreign_kind

    if kind := foreign_kind(content):
        raise _foreign(kind, file)


def _refuse_other_than_yaml(path: FilePath, content: bytes, file: str) -> None:
    """Raise SpecError if the file is an Optuna storage, or Python."""
    from orchestrator.spec.foreign_trials import is_optuna

    if is_optuna(path):
        raise _foreign("storage of Optuna", file)
    if path.suffix == ".py":
        from orchestrator.spec.importers.python_search import kind_of

        if kind := kind_of(content.decode(errors="replace")):
            raise _foreign(kind, file)
        hint = f"a script is swept by sweep launch --script {file} --objective val_loss:min --lr log_uniform:1e-4,1e-2"
        raise SpecError([Problem("this is Python, not a sweep file", hint, (), file, 1, 1)])


def _foreign(kind: str, file: str) -> SpecError:
    hint = f"sweep import {file} > sweep.yaml translates it; read its comments, then launch sweep.yaml"
    return SpecError([Problem(f"this is a {kind}, not a sweep file", hint, (), file, 1, 1)])


def from_mapping(values: Mapping[str, Any], overrides: Sequence[str] = ()) -> SweepSpec:
    """Return the spec in Python values with each override ``key=value`` applied, checked as a file's.

    Raises SpecError.
    """
    return _checked(*override(Document(data=dict(values)), overrides))


def _checked(document: Document, problems: list[Problem]) -> SweepSpec:
    if isinstance(document.data, dict):
        data, unresolved = with_environment(document.data)
        document = replace(document, data=data)
        problems = problems + [_located(problem, document) for problem in unresolved]
    secrets = list(_secret_problems(document.data))
    if secrets:
        raise SpecError(readable([_located(problem, document) for problem in secrets]))
    spec, invalid = validated(document.data)
    invalid = invalid or list(first_rung_problems(spec) if spec else ())
    problems = problems + [_located(problem, document) for problem in invalid]
    if problems or spec is None:
        raise SpecError(readable(problems), rest=readable_rest(document, problems))
    spec._document = document
    return spec


def _secret_problems(value: Any, path: Path = ()) -> Iterator[Problem]:
    """Yield keys and passwords of the environment in the spec, which would reach the journal and the trackers.

    A value that has the form of a name, as ``resnet50-v2``, is a setting, though a key is the same; not so a password.
    """
    if isinstance(value, str):
        if not (path and is_password_name(str(path[-1]).rpartition(".")[2])):
            allow(value)
        if source := secret_in(value):
            message = f"`{'.'.join(map(str, path))}` holds the secret of {source}: a sweep file must not hold secrets"
            yield Problem(message, "leave it in the environment, and read it there at its use", path)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _secret_problems(key, path)
            yield from _secret_problems(item, (*path, key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _secret_problems(item, (*path, index))


def _located(problem: Problem, document: Document) -> Problem:
    path = _written_path(problem.path, document.data)
    return replace(problem, **document.locate(path, key=isinstance(problem, KeyProblem)))


def _written_path(path: Path, data: Any) -> Path:
    """Return where an option of the scheduler is written: a file of an earlier version has its earlier name."""
    section = data.get("scheduler") if isinstance(data, Mapping) else None
    if path[:1] != ("scheduler",) or len(path) < 2 or not isinstance(section, Mapping) or path[1] in section:
        return path
    plugin = plugin_written("schedulers", section)
    renamed = plugin.Options.renamed if plugin else {}
    earlier = next((old for old, new in renamed.items() if new == path[1] and old in section), path[1])
    return "scheduler", earlier, *path[2:]


def _find(source: str | FilePath) -> FilePath:
    path = FilePath(source)
    try:
        if path.is_file():
            return path
    except (OSError, ValueError):  # no file can have this name: it is too long, or holds a NUL
        raise SpecError(
            [Problem("there is no such sweep file", "give a shorter name", file=brief(repr(str(source))))]
        ) from None
    names = shipped()
    if str(source) in names:
        return names[str(source)]
    close = get_close_matches(str(source), list(names), n=1)
    hint = f"did you mean {close[0]}?" if close else f"give a file, or one of {', '.join(names) or 'none shipped'}"
    message = "is a folder, not a sweep file" if path.is_dir() else "there is no such sweep file"
    raise SpecError([Problem(message, hint, file=str(source))])


def _content(path: FilePath, source: str) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(SIZE_LIMIT + 1)
    except OSError as error:
        raise SpecError([Problem(f"cannot be read: {error.strerror}", "check its permissions", file=source)]) from None


def _lightning_cli_names(document: Document) -> list[Problem]:
    """Read LightningCLI's ``seed_everything`` as ``seed``, and drop the empty ``ckpt_path`` that it writes."""
    data: Any = document.data
    if data.get("ckpt_path", 0) is None:
        del data["ckpt_path"]
    if "seed_everything" not in data:
        return []
    if "seed" in data:
        place = document.locate(("seed_everything",), key=True)
        return [Problem("`seed_everything` and `seed` are the same", "keep `seed`", ("seed_everything",), **place)]
    seed = data.pop("seed_everything")
    for marks in (document.keys, document.values):
        if ("seed_everything",) in marks:
            marks["seed",] = marks["seed_everything",]
    if not isinstance(seed, bool):  # true and false ask for any seed, and for none
        data["seed"] = seed
    return []


def _name(document: Document, path: FilePath, name: str | None) -> None:
    if name is not None:
        set_field(document, ("name",), name, source=brief(f"--name {name}"))
    elif document.data.get("name") is None:
        document.data["name"] = re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip(".-")[:100] or "sweep"


def to_yaml(spec: SweepSpec) -> str:
    """Return the spec as a sweep file with every default; ``load`` of it gives an equal spec."""
    return dump(spec.model_dump(mode="json"))
