"""The versions of the rules that a sweep is decided by: what the journal records, and what a resume has to say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator import registry
from orchestrator.errors import JournalVersionError
from orchestrator.journal import program_version, upgrade_hint
from orchestrator.policies.plugin import PolicyPlugin
from orchestrator.spec import SweepSpec

Recorded = Mapping[str, Mapping[str, Any]]
"""``{"searcher": {"name": …, "version": …}, "scheduler": …}``, as the journal has it."""


def policy_versions(spec: SweepSpec) -> dict[str, dict[str, Any]]:
    """Return name and version of the spec's searcher and scheduler."""
    return {part: {"name": plugin.name, "version": plugin.version} for part, plugin in _plugins(spec)}


def same_version(spec: SweepSpec, part: str, recorded: Recorded) -> bool:
    """Return whether the searcher or scheduler decides here by the rules of the recorded version."""
    return _version(recorded, part) == dict(_plugins(spec))[part].version


def version_changes(spec: SweepSpec, recorded: Recorded, writer: str) -> list[str]:
    """Return a sentence for each policy that decides by a newer version from here on.

    Args:
        spec: the sweep.
        recorded: the versions that decided last.
        writer: the version of the program that recorded them.

    Raises:
        JournalVersionError: A policy has decided by a version that this program does not have.
    """
    sentences = []
    for part, plugin in _plugins(spec):
        before = _version(recorded, part)
        if before > plugin.version:
            raise JournalVersionError(
                f"{part} {plugin.name} has decided by version {before} of its rules, but sweep-orchestrator "
                f"{program_version()} has version {plugin.version}",
                hint=f"nothing was changed; {upgrade_hint(writer)}",
            )
        if before < plugin.version:
            changes = (plugin.changes.get(number, "") for number in range(before + 1, plugin.version + 1))
            what = "".join(f" {change.rstrip('.')}." for change in changes if change)
            sentences.append(
                f"{part} {plugin.name}: version {plugin.version} of its rules applies from here on, version {before} "
                f"decided before.{what} Recorded decisions stand."
            )
    return sentences


def _plugins(spec: SweepSpec) -> Iterator[tuple[str, type[PolicyPlugin]]]:
    yield "searcher", registry.load("searchers", spec.searcher.name)
    yield "scheduler", registry.load("schedulers", spec.scheduler.name)


def _version(recorded: Recorded, part: str) -> int:
    """Return a recorded version; 1 in a journal from before versions were recorded."""
    return int(recorded.get(part, {}).get("version", 1))
