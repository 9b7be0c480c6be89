"""Check a sweep's function or script before the start, without training."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.errors import Problem, UsageError
from orchestrator.spec import SweepSpec, apply
from orchestrator.spec.command_line import invocation
from orchestrator.spec.training_code import training_code
from orchestrator.training.class_loading.argument_checks import configurations, with_position
from orchestrator.training.class_loading.import_paths import import_from, import_roots
from orchestrator.training.doors.call_arguments import argument_problems
from orchestrator.training.doors.code_segment import import_function
from orchestrator.training.doors.script_run import find_script


def check_code(spec: SweepSpec) -> list[Problem]:
    """Return every problem with the function or script of a spec, each at its place; none for a spec with a model.

    Leaves ``import_roots(spec)`` on ``sys.path``, as `class_loading.check`.
    """
    if not spec.is_code:
        return []
    import_from(import_roots(spec))
    problems: dict[tuple[Any, str], Problem] = {}
    for problem in code_problems(spec, list(configurations(spec))):
        problems.setdefault((problem.path, problem.message.split(", but got")[0]), with_position(spec, problem))
    return sorted(problems.values(), key=lambda problem: (problem.line == 0, problem.line, problem.column))


def code_problems(spec: SweepSpec, configurations: Sequence[Mapping[str, Any]]) -> Iterator[Problem]:
    """Yield the problems of the code that a spec names, and of each configuration's arguments for it."""
    if not spec.train:
        yield from _script_problems(spec)
        return
    try:
        function = import_function(spec.train)
        for params in configurations:
            code, _, _ = apply(spec, params)
            for problem in argument_problems(function, code.model_dump()["args"]):
                yield _placed(spec, problem)
    except UsageError as error:
        yield Problem(error.message, error.hint, ("train",))


def _script_problems(spec: SweepSpec) -> Iterator[Problem]:
    """Yield why the script cannot be found or compiled."""
    code = training_code(spec, {}).model_dump()
    field = "program" if spec.program else "command"
    try:
        found = invocation({**code, "args": {}}, {}, json_file="args.json")
        if not found.program:
            return
        path = find_script(found.program)
        ast.parse(path.read_bytes(), str(path))
    except UsageError as error:
        yield Problem(error.message, error.hint, (field,))
    except SyntaxError as error:
        place = f"{error.filename}:{error.lineno}"
        yield Problem(f"the script has an error at {place}: {error.msg}", "correct the script", (field,))


def _placed(spec: SweepSpec, problem: Problem) -> Problem:
    """Return the problem with the place of its argument: in the space, among the fixed ones, or of the function."""
    name = ".".join(map(str, problem.path))
    swept = [each for each in spec.space if f"{name}.".startswith(f"{each}.") or f"{each}.".startswith(f"{name}.")]
    if swept:
        named = max(swept, key=len)
        return replace(problem, message=f"{named}: {problem.message}", path=("space", named))
    return replace(problem, path=("args", name) if name in spec.args else ("train",))
