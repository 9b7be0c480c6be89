"""``sweep launch --script train.py --lr log_uniform:1e-4,1e-2 -- --fixed flag``: a sweep file of a command line.

The words become a sweep file in the working directory, which is then launched like any other, so
that the sweep can be launched again and changed. This module loads neither typer nor the sweep's own parts before it
is needed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.secrets import masked

_OPTION = re.compile(r"--(?P<name>[A-Za-z_][\w.-]*)(=(?P<value>.*))?", re.DOTALL)
_EXAMPLE = "sweep launch --script train.py --objective val_loss:min --lr log_uniform:1e-4,1e-2 -- --fixed flag"


def is_of_script(words: Sequence[str]) -> bool:
    """Return whether a command line launches a script by its own options."""
    before = words[: words.index("--")] if "--" in words else words
    return words[:1] == ["launch"] and any(word.partition("=")[0] == "--script" for word in before)


def launch_options() -> dict[str, bool]:
    """Return the options of ``sweep launch``, and whether each takes a value."""
    import typer.main

    from orchestrator.cli.app import app

    group: Any = typer.main.get_command(app)
    parameters = group.commands["launch"].params
    return {name: not each.is_flag for each in parameters if hasattr(each, "is_flag") for name in each.opts}


def with_sweep_file(words: Sequence[str], options: Mapping[str, bool]) -> list[str]:
    """Return a command line in which ``--script`` and the script's own options are replaced by a sweep file.

    The file is ``train.sweep.yaml`` in the working directory for ``train.py``. One that is there with other content
    is not overwritten. A command line without ``--script`` is returned as it is.

    Args:
        words: of the command line, after the program's name.
        options: the command's own options, and whether each takes a value.

    Raises:
        UsageError: A word is no option of the script or of the command, no objective is given, or a file of that name
            has other content.
    """
    if not is_of_script(words):
        return list(words)
    own, script, fixed = _taken(words[1:], options)
    program = script.pop("script")
    if "objective" not in script and not any("objective" in word for word in own):
        raise UsageError("--script needs an objective: the metric to judge trials by", hint=_EXAMPLE)
    content = _text(program, script, fixed)
    file = Path(f"{Path(program).stem}.sweep.yaml")
    if file.exists() and file.read_text() != content:
        raise UsageError(f"{file} exists and says something else", hint=f"launch or remove it: sweep launch {file}")
    file.write_text(content)
    print(masked(f"wrote {file}; change it there, and launch it again: sweep launch {file}"), file=sys.stderr)
    return ["launch", str(file), *own]


def _taken(words: Sequence[str], options: Mapping[str, bool]) -> tuple[list[str], dict[str, str], list[str]]:
    """Return the command's own words, the script's options by name, and its fixed words."""
    before = list(words[: words.index("--")] if "--" in words else words)
    fixed = list(words[words.index("--") + 1 :] if "--" in words else [])
    own: list[str] = []
    script: dict[str, str] = {}
    while before:
        word = before.pop(0)
        match = _OPTION.fullmatch(word)
        if match is None and word not in options:
            raise UsageError(f"unexpected argument {word!r}", hint=_EXAMPLE)
        name = word.partition("=")[0]
        if name in options:
            own += [word, *([before.pop(0)] if options[name] and "=" not in word and before else [])]
            continue
        assert match is not None
        value = match["value"]
        if value is None:
            if not before or before[0].startswith("--"):
                raise UsageError(f"{word} has no value", hint=f"fixed words come after --: {_EXAMPLE}")
            value = before.pop(0)
        script[match["name"]] = value
    return own, script, fixed


def _text(program: str, script: Mapping[str, str], fixed: Sequence[str]) -> str:
    from orchestrator.spec.yaml_text import dump

    space = {name: dict([domain]) for name, value in script.items() if (domain := _domain(value))}
    args = {name: _scalar(value) for name, value in script.items() if name not in space and name != "objective"}
    command = {"command": ["python", "${program}", *fixed, "${args}"]} if fixed else {}
    return dump(
        {
            "program": program,
            **command,
            **({"objective": _objective(script["objective"])} if "objective" in script else {}),
            "space": space,
            **({"args": args} if args else {}),
        }
    )


def _objective(text: str) -> dict[str, str]:
    metric, colon, mode = text.rpartition(":")
    if not colon or mode not in ("min", "max"):
        message = f"--objective {text} is not of the form METRIC:min or METRIC:max"
        raise UsageError(message, hint="--objective val_loss:min")
    return {"metric": metric, "mode": mode}


def _domain(text: str) -> tuple[str, list[Any]] | None:
    """Return the kind and the values of ``log_uniform:1e-4,1e-2``; None for a plain value."""
    from orchestrator.space import KINDS

    kind, colon, values = text.partition(":")
    return (kind, list(map(_scalar, _split(values)))) if colon and kind in KINDS else None


def _split(values: str) -> Iterator[str]:
    yield from (value.strip() for value in values.split(","))


def _scalar(text: str) -> Any:
    """Return a value as a sweep file reads it."""
    from orchestrator.spec.yaml_document import read

    document, problems = read(f"value: {text}\n".encode(), "")
    value = document.data["value"] if not problems and isinstance(document.data, dict) else text
    return value if isinstance(value, bool | int | float | str) or value is None else text
