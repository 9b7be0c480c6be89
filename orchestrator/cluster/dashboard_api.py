"""What a head's dashboard says over HTTP: who asks for a token, who is there, which jobs there are."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import SweepError, UsageError


@dataclass(frozen=True)
class Node:
    """A host of a cluster. ``resources`` are those that Ray schedules by: CPU, GPU."""

    name: str
    address: str
    alive: bool
    head: bool
    resources: dict[str, float]


@dataclass(frozen=True)
class Dashboard:
    """The dashboard at ``url``; every question but the first carries the ``token``, if there is one."""

    url: str
    token: str = ""

    @property
    def headers(self) -> dict[str, str]:
        """The HTTP headers that carry the token."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def require_token(self, insecure: bool) -> None:
        """Raises UsageError where the cluster asks nobody for a token, unless ``insecure``, or does not take ours."""
        guarded = self.ask("/api/authentication_mode").get("authentication_mode") == "token"
        if not guarded and not insecure:
            raise UsageError(
                f"the cluster at {self.url} asks nobody for a token: whoever reaches it runs code on every node",
                hint="start it with RAY_AUTH_MODE=token, as `sweep cluster init` has it; or say --insecure",
            )
        if guarded and not self.token:
            raise UsageError(f"the cluster at {self.url} asks for a token", hint="--token FILE")
        self.ask("/api/version")

    def nodes(self) -> list[Node]:
        """Every host that has been in the cluster, the head first."""
        told = self.ask("/nodes?view=summary")["data"]["summary"]
        found = [_node(one) for one in told]
        return sorted(found, key=lambda node: (not node.head, not node.alive, node.name))

    def jobs(self) -> list[dict[str, Any]]:
        """What was submitted, oldest first."""
        jobs: list[dict[str, Any]] = self.ask("/api/jobs/")
        return sorted((job for job in jobs if job.get("submission_id")), key=lambda job: job.get("start_time") or 0)

    def ask(self, path: str) -> Any:
        """The JSON at a path. Raises UsageError where the token is refused, SweepError where there is no answer."""
        request = urllib.request.Request(f"{self.url}{path}", headers=self.headers)
        try:
            with urllib.request.urlopen(request, timeout=30.0) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code in (401, 403):
                raise UsageError(
                    f"the cluster at {self.url} does not take this token",
                    hint="the one that it was started with: --token FILE; its fingerprint: sweep cluster token",
                ) from None
            raise SweepError(f"the cluster at {self.url} answers {path} with {error.code}") from None
        except (OSError, ValueError) as error:
            raise SweepError(f"the cluster at {self.url} does not answer: {error}", hint="is it up?") from None


def _node(one: dict[str, Any]) -> Node:
    raylet = one.get("raylet", {})
    room = raylet.get("resourcesTotal", {})
    return Node(
        name=str(one.get("hostname") or raylet.get("nodeManagerHostname", "")),
        address=str(one.get("ip") or raylet.get("nodeManagerAddress", "")),
        alive=raylet.get("state") == "ALIVE",
        head=bool(raylet.get("isHeadNode")),
        resources={name: float(room[name]) for name in ("CPU", "GPU") if name in room},
    )
