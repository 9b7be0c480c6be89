"""Where a sweep comes from: the commit, and what differs from it; for the record."""

from __future__ import annotations

import subprocess

from orchestrator.secrets import redact

LARGEST_DIFF = 1_000_000
"""Characters; of a longer one only its beginning is kept."""


def git_commit() -> str | None:
    """The commit checked out in the working directory, with ``+`` where files differ from it; None outside of git."""
    return _git("describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*").strip() or None


def git_diff() -> str:
    """What differs from the commit in the working directory, keys and passwords left out."""
    diff = redact(_git("diff", "HEAD"))
    return diff if len(diff) <= LARGEST_DIFF else f"{diff[:LARGEST_DIFF]}\n(cut off here: {len(diff):,} characters)\n"


def _git(*asked: str) -> str:
    try:
        answer = subprocess.run(["git", *asked], capture_output=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.decode(errors="replace")
