"""Errors as JSON: with ``--json``, a command that fails prints one object on stdout instead of its result.

It is ``{"error": {"code", "message", "place", "hint", "transient", "problems"}}``. The codes are stable: see
`orchestrator.errors.SweepError`.
"""

from __future__ import annotations

from typing import Any

from orchestrator.errors import Problem, SpecError, SweepError


def error_record(error: SweepError, hint: str) -> dict[str, Any]:
    """Return an error as a record. ``hint`` is what to do about it; empty if nothing can be done."""
    problems = [_problem(problem) for problem in error.problems] if isinstance(error, SpecError) else []
    record = failure(error.code, error.message, hint=hint, transient=error.transient)
    if problems:
        first = problems[0]
        record["error"] |= {"message": first["message"], "place": first["place"], "hint": first["hint"]}
    record["error"]["problems"] = problems
    return record


def failure(code: str, message: str, *, hint: str = "", transient: bool = False) -> dict[str, Any]:
    """Return the record of a failure that is no SweepError."""
    error: dict[str, Any] = {
        "code": code,
        "message": message,
        "place": None,
        "hint": hint,
        "transient": transient,
        "problems": [],
    }
    return {"error": error}


def _problem(problem: Problem) -> dict[str, Any]:
    path = ".".join(map(str, problem.path))
    place = {"file": problem.file, "line": problem.line or None, "column": problem.column or None, "path": path}
    placed = any(value for value in place.values())
    return {"message": problem.message, "place": place if placed else None, "hint": problem.hint}
