"""What the shell completes: runs, numbers of trials, sweep files, and the fields that ``--set`` takes.

Nothing here raises: in the middle of a command line there is nobody to read an error.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

_DEPTH = 4  # of fields


def run_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the names of the runs here that begin so, newest first; for a path, the runs below it."""
    found: list[str] = []
    with contextlib.suppress(Exception):
        from orchestrator.rundir import list_runs

        folder, slash, begin = incomplete.rpartition("/")
        runs = (folder or "/") if slash else ctx.params.get("runs")
        listed = [run for run in list_runs(runs) if run.name.startswith(begin)]
        found = [f"{folder}{slash}{run.name}" for run in reversed(listed)]
        if slash:
            found += [path for path in _folders(incomplete) if path.rstrip("/") not in found]
    return found


def trial_numbers(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the numbers of the run's trials that begin so."""
    numbers: list[str] = []
    with contextlib.suppress(Exception):
        from orchestrator.results.run_state import find

        folder = find(_first(ctx, "name"), ctx.params.get("runs")).root / "trials"
        numbers = [str(int(path.name)) for path in sorted(folder.iterdir()) if path.name.isdecimal()]
    return [number for number in numbers if number.startswith(incomplete)]


def sweep_files(incomplete: str) -> list[str]:
    """Return the shipped sweep files, and the YAML files and folders on disk, that begin so."""
    found: list[str] = []
    with contextlib.suppress(Exception):
        from orchestrator.spec.sweep_file import shipped

        found = [name for name in sorted(shipped()) if name.startswith(incomplete)]
        files = [path for ending in ("yaml", "yml") for path in _matches(incomplete, f"*.{ending}")]
        found += [str(path) for path in sorted(files)] + _folders(incomplete)
    return found


def settings(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the fields of a sweep file that begin so, and those that the given file sets, each with ``=``."""
    found: list[str] = []
    with contextlib.suppress(Exception):
        from orchestrator.spec import json_schema

        schema = json_schema()
        found = [*_own_fields(_first(ctx, "spec")), *_fields(schema, schema.get("$defs", {}), ())]
    return [f"{name}=" for name in dict.fromkeys(found) if name.startswith(incomplete)]


def presets(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the presets of the given sweep file that begin so."""
    found: list[str] = []
    with contextlib.suppress(Exception):
        from orchestrator.spec.sweep_file import presets_of

        found = presets_of(str(_first(ctx, "spec")))
    return [name for name in found if name.startswith(incomplete)]


def _first(ctx: typer.Context, name: str) -> str | None:
    """Return the command's first argument; before an option's missing value the parser has left it over."""
    return ctx.params.get(name) or next(iter(ctx.args), None)


def _folders(incomplete: str) -> list[str]:
    return [f"{path}/" for path in sorted(_matches(incomplete, "*")) if path.is_dir() and path.name[:1] != "."]


def _matches(incomplete: str, pattern: str) -> Iterator[Path]:
    """Yield the paths that begin so and whose last part matches."""
    folder, _, begin = incomplete.rpartition("/")
    root = Path(folder or ("/" if incomplete.startswith("/") else "."))
    return (path for path in root.glob(pattern) if path.name.startswith(begin))


def _own_fields(spec: str | None) -> Iterator[str]:
    """Yield the fields of a sweep file that hold one value, by their path."""
    if spec is None:
        return
    from orchestrator.spec import load

    yield from _leaves(load(spec).model_dump(mode="json", exclude_unset=True), ())


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[str]:
    if path[:1] == ("space",):
        return
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _leaves(item, (*path, str(key)))
    elif path and path[-1] != "class_path":
        yield ".".join(path)


def _fields(schema: Any, parts: dict[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    """Yield the fields of a schema without fields of their own, by their path."""
    if "$ref" in schema:
        schema = parts[schema["$ref"].rsplit("/", 1)[-1]]
    options = [schema, *schema.get("anyOf", ()), *schema.get("oneOf", ())]
    options = [parts[each["$ref"].rsplit("/", 1)[-1]] if "$ref" in each else each for each in options]
    inner = [(key, each) for option in options for key, each in option.get("properties", {}).items()]
    if path and (not inner or len(path) == _DEPTH):
        yield ".".join(path)
        return
    for key, each in inner:
        if not each.get("deprecated"):
            yield from _fields(each, parts, (*path, key))
