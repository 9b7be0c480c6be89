"""One launch or resume of a sweep, as the journal records it: program, code, libraries, arithmetic, and rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Launch:
    """What a driver ran with. A journal of version 0.1.0 records none of it for a resume.

    Attributes:
        seq: of its record.
        version: of the program; empty if it is not recorded.
        code: the user's code: ``commit`` (with ``+`` if files differ from it), ``diff`` (a hash of the differences) and
            ``files`` (a hash of each).
        versions: of Python and the libraries.
        numerics: see `orchestrator.policies.numerics`.
        policies: the versions of searcher and scheduler.
    """

    seq: int
    version: str = ""
    code: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    numerics: Mapping[str, str] = field(default_factory=dict)
    policies: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
