"""The HTTP API of a head's dashboard: authentication mode, nodes, jobs."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import SweepError, UsageError


@dataclass(frozen=True)
class Node:
    """A host of a cluster. ``resources`` are the CPU and GPU counts that Ray schedules by."""

    name: str
    address: str
    alive: bool
    head: bool
    resources: dict[str, float]


@dataclass(frozen=True)
class Dashboard:
    """The dashboard at ``url``. Requests carry the ``token``, if there is one."""

    url: str
    token: str = ""

    @property
    def headers(self) -> dict[str, str]:
        """The HTTP headers that carry the token."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def require_token(self, insecure: bool) -> None:
        """Check that the cluster requires a token (unless ``insecure``) and accepts ours.

        Raises:
            UsageError: It does not.
        """
        requires_token = self.get("/api/authentication_mode").get("authentication_mode") == "token"
        if not requires_token and not insecure:
            raise UsageError(
                f"the cluster at {self.url} requires no token: anyone who reaches it can run code on every node",
                hint="start it with RAY_AUTH_MODE=token, as `sweep cluster init` does; or specify --insecure",
            )
        if requires_token and not self.token:
            raise UsageError(f"the cluster at {self.url} requires a token", hint="--token FILE")
        self.get("/api/version")

    def nodes(self) -> list[Node]:
        """Return every host that has been in the cluster, the head first."""
        nodes = map(_node, self.get("/nodes?view=summary")["data"]["summary"])
        return sorted(nodes, key=lambda node: (not node.head, not node.alive, node.name))

    def jobs(self) -> list[dict[str, Any]]:
        """Return the submitted jobs, oldest first."""
        jobs: list[dict[str, Any]] = self.get("/api/jobs/")
        return sorted((job for job in jobs if job.get("submission_id")), key=lambda job: job.get("start_time") or 0)

    def get(self, path: str) -> Any:
        """Return the JSON at a path.

        Raises:
            UsageError: The token is refused.
            SweepError: The request failed.
        """
        request = urllib.request.Request(f"{self.url}{path}", headers=self.headers)
        try:
            with urllib.request.urlopen(request, timeout=30.0) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code in (401, 403):
                raise UsageError(
                    f"the cluster at {self.url} refuses this token",
                    hint="specify the token it was started with: --token FILE; its fingerprint: sweep cluster token",
                ) from None
            raise SweepError(f"the cluster at {self.url} answers {path} with {error.code}") from None
        except (OSError, ValueError) as error:
            raise SweepError(
                f"the cluster at {self.url} does not answer: {error}", hint="check that it is up: sweep cluster status"
            ) from None


def _node(summary: dict[str, Any]) -> Node:
    raylet = summary.get("raylet", {})
    total = raylet.get("resourcesTotal", {})
    return Node(
        name=str(summary.get("hostname") or raylet.get("nodeManagerHostname", "")),
        address=str(summary.get("ip") or raylet.get("nodeManagerAddress", "")),
        alive=raylet.get("state") == "ALIVE",
        head=bool(raylet.get("isHeadNode")),
        resources={name: float(total[name]) for name in ("CPU", "GPU") if name in total},
    )
