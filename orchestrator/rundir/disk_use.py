"""How much room a run takes, by what its files are."""

from __future__ import annotations

from dataclasses import dataclass, fields

from orchestrator.rundir.run_directory import RunDirectory


@dataclass(frozen=True)
class DiskUse:
    """The bytes that a run takes, on the disk or in object storage. What a link leads to is not counted.

    Attributes:
        checkpoints: of the trials and of the finals.
        logs: what trials and trackers log.
        bundles: exported models.
        journal: the journal and its lease.
        other: the report, the spec, Ray's own files.

    Example:
        ```python
        use = Sweep.attach("quickstart").disk_use()
        print(use.total, use.checkpoints)
        ```
    """

    checkpoints: int = 0
    logs: int = 0
    bundles: int = 0
    journal: int = 0
    other: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return sum(getattr(self, field.name) for field in fields(self))


def disk_use(run: RunDirectory) -> DiskUse:
    """Return the room that a run takes. Files that vanish meanwhile are left out. Raises OSError."""
    sizes = dict.fromkeys((field.name for field in fields(DiskUse)), 0)
    for path, size in run.file_sizes():
        sizes[_kind(path)] += size
    return DiskUse(**sizes)


def _kind(path: str) -> str:
    parts = path.split("/")
    if parts[0].startswith("journal") or "journal.jsonl" in parts:
        return "journal"
    if "trials" in parts[:-1]:
        return next((part for part in ("checkpoints", "logs") if part in parts), "other")
    return "bundles" if parts[0] == "export" else "other"
