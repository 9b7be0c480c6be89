"""The command that starts a script, in W&B's own form: ``["${env}", "${interpreter}", "${program}", "${args}"]``."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import PurePath
from typing import Any

from orchestrator.errors import Problem

STANDARD = ("${env}", "${interpreter}", "${program}", "${args}")
"""The command of a sweep file without one."""
_ARGUMENTS = ("args", "args_no_boolean_flags", "args_no_hyphens", "args_json", "args_json_file")
_TRIAL = ("seed", "trial", "folder")
_MACRO = re.compile(r"\$\{(?P<name>[^}]*)\}")
_PYTHON = re.compile(r"python(\d+(\.\d+)?)?w?(\.exe)?")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
_HINT = "a trial runs in a worker's own process, so a command starts Python: [python, train.py, ${args}]"
_STARTERS = ("torch", "accelerate", "deepspeed", "ray", "horovod", "composer")
"""Packages whose commands start further processes."""


@dataclass(frozen=True)
class Invocation:
    """What a command runs in Python.

    Attributes:
        program: path of the script; empty for a module or a function.
        module: name after ``-m``; empty for a script.
        function: ``package.module:name`` of a command that an installed package brings; empty for others.
        words: the script's ``sys.argv[1:]``.
        environment: variables that the command sets.
    """

    program: str
    module: str
    words: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    function: str = ""


def command_problem(
    program: str, command: Sequence[str], space: Sequence[str] = (), args: Sequence[str] = ()
) -> Iterator[Problem]:
    """Yield why a command cannot run a script with a trial's parameters, whose names are in ``space``."""
    path, known = ("command",), ("program", *_ARGUMENTS, *_TRIAL, *space, *args)
    for word in command:
        for match in _MACRO.finditer(word):
            name = match["name"]
            if name not in ("env", "interpreter", *known) and not name.startswith("envvar:"):
                hint = f"known: {', '.join(f'${{{each}}}' for each in known)}"
                yield Problem(f"the command has ${{{name}}}, which nothing replaces", hint, path)
                return
    try:
        invocation({"program": program, "command": list(command), "args": {}}, {}, json_file="args.json")
    except ValueError as error:
        yield Problem(str(error), _HINT, path if command else ("program",))
        return
    if not command or any(f"${{{name}" in word for word in command for name in _ARGUMENTS):
        return
    missing = [name for name in space if name not in _named_in(command)]
    if missing or not space:
        lost = f"{', '.join(missing)} would not" if missing else "no parameter would"
        message = f"the command has no ${{args}}, so that {lost} reach the script"
        hint = "add ${args}, ${args_no_hyphens} for Hydra, or a parameter by its name, as in ${lr}"
        yield Problem(message, hint, path)


def _named_in(command: Sequence[str]) -> set[str]:
    """Return the names between ``${`` and ``}``."""
    return {match["name"] for word in command for match in _MACRO.finditer(word)}


def invocation(
    code: Mapping[str, Any], macros: Mapping[str, str], *, json_file: str = "", standard: Sequence[str] = STANDARD
) -> Invocation:
    """Return what the command of a script runs.

    Args:
        code: ``program``, ``command`` and ``args`` of the trial.
        macros: text for ``${seed}``, ``${trial}`` and ``${folder}``, also in arguments.
        json_file: the file that ``${args_json_file}`` names.
        standard: the command if there is none in ``code``.

    Raises:
        ValueError: It does not start Python.
    """
    args = {name: _replaced(value, macros) for name, value in flat(code["args"]).items()}
    command = code.get("command") or standard
    by_name = {name: as_text(value) for name, value in args.items() if name in _named_in(command)}
    args = {name: value for name, value in args.items() if name not in by_name}
    macros = {**by_name, **macros}
    as_json = json.dumps(nested({name: _replaced(value, macros) for name, value in code["args"].items()}))
    program = code.get("program") or ""
    words = [
        expanded
        for word in command
        for expanded in _expanded(word, program, args, {**macros, "args_json": as_json, "args_json_file": json_file})
    ]
    return _parsed(words)


def flat(args: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Return nested arguments by their dotted names."""
    found: dict[str, Any] = {}
    for name, value in args.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{above}{name}.")
        else:
            found[f"{above}{name}"] = value
    return found


def nested(args: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments with dotted names as mappings in each other: ``{"cfg.lr": 1}`` as ``{"cfg": {"lr": 1}}``."""
    tree: dict[str, Any] = {}
    for name, value in sorted(args.items(), key=lambda item: item[0].count(".")):
        *above, last = name.split(".")
        target = tree
        for part in above:
            inner = target.get(part)
            target[part] = dict(inner) if isinstance(inner, Mapping) else {}
            target = target[part]
        target[last] = value
    return tree


def _replaced(value: Any, macros: Mapping[str, str]) -> Any:
    if not isinstance(value, str):
        return value
    return _MACRO.sub(lambda match: _value_of(match, macros), value)


def _value_of(match: re.Match[str], macros: Mapping[str, str]) -> str:
    name = match["name"]
    if name.startswith("envvar:"):
        return os.environ.get(name.removeprefix("envvar:"), "")
    return macros.get(name, match[0])


def _expanded(word: str, program: str, args: Mapping[str, Any], macros: Mapping[str, str]) -> Iterator[str]:
    if word == "${args}":
        yield from (f"--{name}={as_text(value)}" for name, value in args.items())
    elif word == "${args_no_boolean_flags}":
        for name, value in args.items():
            if value is True:
                yield f"--{name}"
            elif value is not False:
                yield f"--{name}={as_text(value)}"
    elif word == "${args_no_hyphens}":
        yield from (f"{name}={as_text(value)}" for name, value in args.items())
    elif word == "${env}":
        yield from ("/usr/bin/env",)
    else:
        yield str(_replaced(word, {**macros, "interpreter": "python", "program": program}))


def as_text(value: Any) -> str:
    """Return a value as a word of a command line: lists and null as JSON, true and false as Python's."""
    if isinstance(value, list | tuple | dict) or value is None:
        return json.dumps(value)
    return str(value)


def _parsed(words: Sequence[str]) -> Invocation:
    """Take the words apart as a shell and Python would. Raises ValueError."""
    rest, environment = list(words), {}
    if rest and PurePath(rest[0]).name == "env":
        rest.pop(0)
    while rest and _ASSIGNMENT.fullmatch(rest[0]):
        name, _, value = rest.pop(0).partition("=")
        environment[name] = value
    if rest and _PYTHON.fullmatch(PurePath(rest[0]).name):
        rest.pop(0)
        while rest and rest[0].startswith("-") and rest[0] not in ("-m", "-"):
            if rest[0] == "-c":
                raise ValueError("the command has -c, but a trial runs a script or a module")
            rest = rest[2:] if rest[0] in ("-W", "-X") else rest[1:]
        if rest[:1] == ["-m"]:
            if len(rest) < 2 or not rest[1]:
                raise ValueError("the command has no module after -m")
            return Invocation("", rest[1], rest[2:], environment)
    elif rest and not rest[0].endswith(".py"):
        return Invocation("", "", rest[1:], environment, _installed(rest[0]))
    if not rest or not rest[0] or rest[0].startswith("-"):
        raise ValueError("there is no script to run: the command has no ${program} and names no file")
    return Invocation(rest[0], "", rest[1:], environment)


def _installed(command: str) -> str:
    """Return the function of a command that an installed package brings. Raises ValueError if there is none."""
    for entry in entry_points(group="console_scripts", name=PurePath(command).name):
        if entry.module.partition(".")[0] not in _STARTERS:
            return f"{entry.module}:{entry.attr}"
    raise ValueError(f"the command starts {command!r}, not Python")
