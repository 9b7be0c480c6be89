"""Where a sweep comes from: commit, versions; for the record."""

from __future__ import annotations

import subprocess


def git_commit() -> str | None:
    """The commit checked out in the working directory, with ``+`` where files differ from it; for the record."""
    asked = ["git", "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, timeout=5, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
