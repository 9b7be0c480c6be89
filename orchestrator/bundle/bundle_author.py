"""Who exported a bundle, and whether the present user trusts it: before any command imports what it names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestrator.bundle.bundle_manifest import CONFIG, Manifest
from orchestrator.trust import authors, require_trust


def bundle_authors(config: Mapping[str, Any], digests: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the signatures of a new bundle's config.json and files (name → SHA-256), for its manifest."""
    return authors(_signed(config, digests), [])


def require_bundle_trust(manifest: Manifest, *, trust: bool) -> None:
    """Check that the user has exported the bundle, trusted it before, or does so now.

    Raises:
        UntrustedRunError: It is not trusted; the message lists what it names.
    """
    digests = {name: sha256 for name, (_, sha256) in manifest.files.items()}
    created = {"spec": _signed(manifest.read_json(CONFIG), digests), "authors": manifest.content.get("authors")}
    require_trust(str(manifest.folder), created, (), trust=trust)


def _signed(config: Mapping[str, Any], digests: Mapping[str, str]) -> dict[str, Any]:
    return {**config, "files": dict(digests)}
