"""The git commit and uncommitted changes that a sweep is launched from."""

from __future__ import annotations

import subprocess

from orchestrator.secrets import masked

LARGEST_DIFF = 1_000_000
"""Characters; a longer diff is truncated."""


def git_commit() -> str | None:
    """Return the commit of the working directory, with ``+`` if files differ from it; None outside of git."""
    return _git("describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*").strip() or None


def git_diff() -> str:
    """Return the changes, secrets masked, of the working directory since its commit."""
    diff = masked(_git("diff", "HEAD"))
    return diff if len(diff) <= LARGEST_DIFF else f"{diff[:LARGEST_DIFF]}\n(cut off here: {len(diff):,} characters)\n"


def _git(*arguments: str) -> str:
    try:
        process = subprocess.run(["git", *arguments], capture_output=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return process.stdout.decode(errors="replace")
