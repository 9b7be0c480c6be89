"""Ask in a terminal whether to trust a run of somebody else; elsewhere ``--trust`` says so."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from orchestrator.cli.output import warn

if TYPE_CHECKING:
    from orchestrator.rundir import RunDirectory


def settle_trust(run: RunDirectory, trust: bool) -> bool:
    """Return whether the user trusts the run, asked if need be; a run of the user's own needs no answer.

    Raises:
        UntrustedRunError: The user says no, or cannot be asked.
    """
    from orchestrator.errors import UntrustedRunError
    from orchestrator.results.run_state import read_state
    from orchestrator.results.run_trust import trusted_roots

    try:
        trusted_roots(run, read_state(run), trust=trust)
    except UntrustedRunError as error:
        if not _confirmed(error):
            raise
        return True
    return trust


def settle_bundle_trust(bundle: Path, trust: bool) -> bool:
    """Return whether the user trusts the code that a bundle names, as `settle_trust` does for a run."""
    from orchestrator.bundle.bundle_author import require_bundle_trust
    from orchestrator.bundle.bundle_manifest import verify_bundle
    from orchestrator.errors import UntrustedRunError

    try:
        require_bundle_trust(verify_bundle(bundle), trust=trust)
    except UntrustedRunError as error:
        if not _confirmed(error):
            raise
        return True
    return trust


def _confirmed(error: Exception) -> bool:
    """Ask in a terminal; return False elsewhere."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    warn(str(error).partition("\nhint: ")[0])
    return typer.confirm("Do you trust who wrote it?", default=False, err=True)
