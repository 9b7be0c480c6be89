"""Sweep files made of other tools' files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.errors import Problem, SpecError
from orchestrator.spec.document import read
from orchestrator.spec.importers.draft import Draft
from orchestrator.spec.importers.lightning_cli import translate as translate_lightning_cli
from orchestrator.spec.importers.wandb import translate as translate_wandb
from orchestrator.spec.problems import validated


def import_file(path: str | Path, model: str | None = None, data: str | None = None) -> str:
    """A W&B sweep file or a LightningCLI config as the text of a sweep file, which ``load`` reads.

    ``model`` and ``data`` are import paths for what the file does not name. What could not be translated is said in
    comments at the top. Raises SpecError where the file cannot be read or is neither of the two.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise SpecError([Problem(f"cannot be read: {error.strerror}", "check the path", file=str(path))]) from None
    document, problems = read(content, str(path))
    if problems:
        raise SpecError(problems)
    draft = _translated(document.data, str(path), model, data)
    _, left = validated(read(draft.text().encode(), "")[0].data)
    draft.notes += [f"to correct before it can be launched: {problem.message} ({problem.hint})" for problem in left]
    return draft.text()


def _translated(written: Any, file: str, model: str | None, data: str | None) -> Draft:
    if isinstance(written, dict) and isinstance(written.get("parameters"), dict):
        return translate_wandb(written, file, model, data)
    if isinstance(written, dict) and written.keys() & {"model", "trainer", "fit"}:
        return translate_lightning_cli(written, file, model, data)
    hint = "a W&B sweep file has `parameters`, a LightningCLI config has `model` or `trainer`"
    raise SpecError([Problem("neither a W&B sweep file nor a LightningCLI config", hint, (), file, 1, 1)])
