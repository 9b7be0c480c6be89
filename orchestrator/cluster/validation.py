"""Cluster files: found, read and checked, each problem with its position."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from orchestrator.cluster.cluster_file import ClusterFile
from orchestrator.cluster.rules import broken, unfinished
from orchestrator.cluster.schema_check import shape_problems
from orchestrator.errors import Problem, SpecError
from orchestrator.space import KeyProblem
from orchestrator.spec.yaml_document import SIZE_LIMIT, Document, read, readable

DEFAULT = "cluster.yaml"


def load(source: str | Path = DEFAULT) -> ClusterFile:
    """The cluster file at ``source``, checked. Raises SpecError with every problem found, each with its position."""
    path = Path(source)
    document, problems = read(_content(path), str(source))
    data = document.data
    if not isinstance(data, dict):
        problem = Problem("a cluster file is a mapping", "sweep cluster init aws writes one")
        raise SpecError([_located(problem, document)])
    problems += _all_located(shape_problems(data), document)
    if not problems:  # what follows takes Ray's own types for granted
        problems += _all_located(broken(ClusterFile(path.absolute(), data)), document)
    if problems:
        raise SpecError(readable(problems))
    found = ClusterFile(path.absolute(), data)
    return replace(found, notes=tuple(readable(_all_located(unfinished(found), document))))


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(SIZE_LIMIT + 1)
    except OSError as error:
        hint = "name one, or let one be written: sweep cluster init aws|gcp|local"
        raise SpecError([Problem(f"cannot be read: {error.strerror}", hint, file=str(path))]) from None


def _all_located(problems: Iterable[Problem], document: Document) -> list[Problem]:
    return [_located(problem, document) for problem in problems]


def _located(problem: Problem, document: Document) -> Problem:
    return replace(problem, **document.locate(problem.path, key=isinstance(problem, KeyProblem)))
