"""Sign what a new run names, and tell whether a run is the user's own.

The signature lies in the journal's first record. It covers the spec and the folders to import from, so neither can be
changed, and no other run can carry it. Without the user's key, which is in no run directory, it cannot be made.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from orchestrator.errors import UntrustedRunError
from orchestrator.trust import user_key
from orchestrator.trust.named_code import named_code

CARRIED = "SWEEP_SIGNED"
"""The environment variable in which a job on a cluster carries the signature of the user who submitted it."""
_SETTLED = "resources"  # a launch settles them for its machine
_SHOWN = 20


def authors(spec: Mapping[str, Any], roots: Sequence[str]) -> list[dict[str, Any]]:
    """Return the signatures for a new run: the present user's, and that of who submitted it to a cluster.

    Args:
        spec: as the journal records it.
        roots: the folders to import from.
    """
    found = []
    if key := user_key.create():
        found.append(_signature(key, spec, list(roots)))
    with contextlib.suppress(ValueError):
        carried = json.loads(os.environ.get(CARRIED, ""))
        if isinstance(carried, dict):
            found.append(carried)
    return found


def carried_author(spec: Mapping[str, Any]) -> str:
    """Return the value of `CARRIED` for a job that launches the spec elsewhere; empty without a key."""
    key = user_key.create()
    return json.dumps(_signature(key, spec, [])) if key else ""


def own_roots(created: Mapping[str, Any]) -> list[str] | None:
    """Return the signed folders of a run by its first record; None if the present user has not signed it."""
    key, signatures = user_key.read(), created.get("authors")
    for author in signatures if key and isinstance(signatures, list) else ():
        roots = author.get("roots") if isinstance(author, dict) else None
        if isinstance(roots, list) and all(isinstance(root, str) for root in roots):
            expected = user_key.sign(key, _content(created.get("spec"), roots))
            if hmac.compare_digest(expected.encode(), str(author.get("mac")).encode()):
                return roots
    return None


def require_trust(name: str, created: Mapping[str, Any], params: Iterable[Any], *, trust: bool) -> list[str]:
    """Return the folders that a run's code is imported from, beside those of the present command.

    A run is trusted if the present user signed it, trusted it before, or does so now. Trials may name no code beyond
    that of the signed spec.

    Args:
        name: of the run.
        created: the fields of its first record.
        params: the parameters of its trials.
        trust: whether the user says so now; remembered.

    Raises:
        UntrustedRunError: It is not trusted; the message lists what would be imported.
    """
    spec = created.get("spec")
    spec = spec if isinstance(spec, Mapping) else {}
    roots, code = own_roots(created), named_code(spec, params)
    if roots is not None and code == named_code(spec):
        return roots
    digest = _digest(spec, code)
    if trust:
        remember(digest)
    elif not _is_remembered(digest):
        raise _untrusted(name, created, code)
    return roots or []


def remember(digest: str) -> None:
    """Remember that the user trusts a run; without a place for it, the user is asked again."""
    place = _remembered(digest)
    if place is not None:
        with contextlib.suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            place.touch(mode=0o600)


def _is_remembered(digest: str) -> bool:
    place = _remembered(digest)
    try:
        return place is not None and place.stat().st_uid == os.geteuid()
    except OSError:
        return False


def _remembered(digest: str) -> Path | None:
    folder = user_key.folder()
    return folder / "trusted" / digest if folder else None


def _signature(key: str, spec: Mapping[str, Any], roots: list[str]) -> dict[str, Any]:
    return {"key": user_key.fingerprint(key), "roots": roots, "mac": user_key.sign(key, _content(spec, roots))}


def _content(spec: Any, roots: Sequence[str]) -> bytes:
    """Return what is signed, as one sequence of bytes whatever the order of keys."""
    signed = {name: value for name, value in spec.items() if name != _SETTLED} if isinstance(spec, Mapping) else None
    text = json.dumps({"roots": list(roots), "spec": signed}, default=str)
    return json.dumps(json.loads(text), sort_keys=True).encode()  # keys are text now, and can be sorted


def _digest(spec: Mapping[str, Any], code: Sequence[str]) -> str:
    return hashlib.sha256(_content(spec, code)).hexdigest()


def _untrusted(name: str, created: Mapping[str, Any], code: Sequence[str]) -> UntrustedRunError:
    signed = bool(created.get("authors"))
    why = "another user's key signed it, or it was changed since" if signed else "it is not signed"
    listed = ", ".join(code[:_SHOWN]) + (f" and {len(code) - _SHOWN} more" if len(code) > _SHOWN else "")
    return UntrustedRunError(
        f"{name!r} was not written under your key: {why}. The command would import or run: {listed or 'nothing'}",
        hint="if you trust who wrote it, repeat the command with --trust (in Python: trust=True); asked once a run",
    )
