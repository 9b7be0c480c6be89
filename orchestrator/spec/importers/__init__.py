"""Translate other tools' files into sweep files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.errors import Problem, SpecError
from orchestrator.spec.importers.draft import Draft
from orchestrator.spec.importers.lightning_cli import translate as translate_lightning_cli
from orchestrator.spec.importers.wandb_sweep import translate as translate_wandb
from orchestrator.spec.validation_errors import validated
from orchestrator.spec.yaml_document import SIZE_LIMIT, read, readable


def import_file(path: str | Path, model: str | None = None, data: str | None = None) -> str:
    """Return the text of a sweep file, made from a W&B sweep file or a LightningCLI config; ``load`` reads it.

    Comments at the top list what could not be translated.

    Args:
        path: The file to translate.
        model: Import path of the LightningModule, for a file that names none.
        data: Import path of the LightningDataModule, for a file that names none.

    Raises:
        SpecError: The file cannot be read, or is neither of the two.
    """
    try:
        with Path(path).open("rb") as source:
            text = source.read(SIZE_LIMIT + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or error
        raise SpecError([Problem(f"cannot be read: {reason}", "check the path", file=str(path))]) from None
    document, problems = read(text, str(path))
    if problems:
        raise SpecError(readable(problems))
    draft = _translated(document.data, str(path), model, data)
    _, remaining = validated(read(draft.text().encode(), "")[0].data)
    draft.notes += [
        f"to correct before it can be launched: {problem.message} ({problem.hint})" for problem in readable(remaining)
    ]
    return draft.text()


def _translated(content: Any, file: str, model: str | None, data: str | None) -> Draft:
    if isinstance(content, dict) and isinstance(content.get("parameters"), dict):
        return translate_wandb(content, file, model, data)
    if isinstance(content, dict) and content.keys() & {"model", "trainer", "fit"}:
        _check_sections(content, file)
        return translate_lightning_cli(content, file, model, data)
    hint = "a W&B sweep file has `parameters`, a LightningCLI config has `model` or `trainer`"
    raise SpecError([Problem("neither a W&B sweep file nor a LightningCLI config", hint, (), file, 1, 1)])


def _check_sections(content: dict[str, Any], file: str) -> None:
    """Raise SpecError if a section of a LightningCLI config is neither a mapping nor, for a class, its path."""
    fit = content.get("fit")
    sections = {**content, **(fit if isinstance(fit, dict) else {})}
    for name in ("fit", "trainer", "model", "data"):
        bare = name in ("model", "data") and isinstance(sections.get(name), str)
        if not bare and not isinstance(sections.get(name), dict | None):
            message = f"`{name}` must be a mapping, but got {sections[name]!r}"
            raise SpecError(readable([Problem(message, "is it a LightningCLI config?", (name,), file, 1, 1)]))
