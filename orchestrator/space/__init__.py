"""Hyperparameter spaces: domains, how they are sampled, and the conditions under which a parameter exists."""

from __future__ import annotations

from orchestrator.space.choices import Choice, Const
from orchestrator.space.domain import Domain, KeyProblem, Value
from orchestrator.space.normals import LogNormal, Normal
from orchestrator.space.ranges import Int, LogInt, LogUniform, Uniform
from orchestrator.space.search_space import Space
from orchestrator.space.syntax import (
    KINDS,
    choice,
    const,
    from_yaml,
    integer,
    log_int,
    log_normal,
    log_uniform,
    normal,
    uniform,
)

__all__ = [
    "KINDS",
    "Choice",
    "Const",
    "Domain",
    "Int",
    "KeyProblem",
    "LogInt",
    "LogNormal",
    "LogUniform",
    "Normal",
    "Space",
    "Uniform",
    "Value",
    "choice",
    "const",
    "from_yaml",
    "integer",
    "log_int",
    "log_normal",
    "log_uniform",
    "normal",
    "uniform",
]
