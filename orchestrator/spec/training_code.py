"""Training code that is a function or a script: what a sweep file says of it, and what a trial gets of that."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from orchestrator import codec
from orchestrator.errors import Problem
from orchestrator.spec.command_line import command_problem, flat
from orchestrator.spec.parts import Part, plain_mapping, shown
from orchestrator.spec.progress_section import CODE_FIELDS

if TYPE_CHECKING:
    from orchestrator.spec.sweep_spec import SweepSpec

_FUNCTION = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*[:.][^\W\d]\w*(\.[^\W\d]\w*)*")


def _function(value: object) -> object:
    """Return ``module:function`` for a function, and text as it is."""
    if callable(value):
        module, _, name = codec.path_of(value).rpartition(".")
        return f"{module}:{name}"
    return value


def _function_path(value: str) -> str:
    if not _FUNCTION.fullmatch(value):
        raise ValueError(f"expected the import path of a function, such as my_project.train:main, but got {value!r}")
    return value


def _program(value: str) -> str:
    if not value.strip() or "\0" in value:
        raise ValueError(f"expected the path of a script, such as train.py, but got {value!r}")
    return value


def _words(value: object) -> object:
    """Return the words of a command as text: YAML reads some of them as numbers."""
    if isinstance(value, str):
        raise ValueError(
            f"expected a list of words, such as [{', '.join(value.split()) or 'python'}], but got {value!r}"
        )
    if isinstance(value, list | tuple):
        for word in value:
            if isinstance(word, dict | list | tuple) or word is None:
                raise ValueError(f"each word of a command is text, but got {shown(word)}")
        return [word if isinstance(word, str) else _as_written(word) for word in value]
    return value


def _as_written(word: object) -> str:
    return str(word).lower() if isinstance(word, bool) else str(word)


Function = Annotated[str, AfterValidator(_function_path), BeforeValidator(_function)]
Program = Annotated[str, AfterValidator(_program)]
Command = Annotated[list[str], BeforeValidator(_words)]
PlainArguments = Annotated[dict[str, Any], BeforeValidator(plain_mapping)]


class TrainingCode(Part):
    """A function or a script with the arguments of one trial.

    Attributes:
        train: import path of the function; empty for a script.
        program: path of the script; empty if the command names a module.
        command: the words that start it; empty for the usual ones.
        args: arguments by name, those of the sweep file and the trial's parameters.
    """

    train: str = ""
    program: str = ""
    command: list[str] = Field(default_factory=list)
    args: dict[str, Any] = Field(default_factory=dict)


def names_code(sections: Mapping[str, Any]) -> bool:
    """Return whether the sections of a sweep file name a function or a script."""
    return any(sections.get(name) for name in CODE_FIELDS)


def training_code(spec: SweepSpec, params: Mapping[str, Any]) -> TrainingCode:
    """Return the code of a spec that names a function or a script, with a trial's parameters."""
    return TrainingCode(
        train=spec.train or "", program=spec.program or "", command=spec.command or [], args={**spec.args, **params}
    )


def code_problems(spec: SweepSpec) -> Iterator[Problem]:
    """Yield fields that exclude each other, or that a function or a script has no use for."""
    if not spec.is_code:
        if spec.args:
            yield Problem("`args` are the arguments of a function or a script, but the sweep has a `model`",
                          "write arguments of the model under model.init_args", ("args",))  # fmt: skip
        return
    door = "train" if spec.train else "program" if spec.program else "command"
    if spec.model is not None or spec.data is not None:
        field = "model" if spec.model is not None else "data"
        yield Problem(f"`{field}` and `{door}` exclude each other: each says what a trial trains",
                      f"leave one of them out; a {_noun(door)} makes its model and data itself", (field,))  # fmt: skip
    if spec.train and (spec.program or spec.command):
        yield Problem("`train` names a function, and `program` or `command` a script", "keep one of them", ("train",))
    elif not spec.train:
        yield from command_problem(spec.program or "", spec.command or [], list(spec.space), list(flat(spec.args)))
    if spec.resources.workers > 1:
        yield Problem(f"a {_noun(door)} trains in one process, but resources.workers is {spec.resources.workers}",
                      "leave resources.workers out, or name the LightningModule under model:",
                      ("resources", "workers"))  # fmt: skip
    if spec.resources.tpu:
        yield Problem(f"a {_noun(door)} cannot be trained on TPU slices: only a `model` can",
                      "name the LightningModule under model:, or leave resources.tpu out",
                      ("resources", "tpu"))  # fmt: skip
    for name in spec.space:
        if name in spec.args:
            yield Problem(f"{name} is in `space` and in `args`", "keep one of the two", ("args", name))


def _noun(door: str) -> str:
    return "function" if door == "train" else "script"
