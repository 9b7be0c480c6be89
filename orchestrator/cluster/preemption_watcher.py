"""Watch for the notice that this machine is being preempted, and report it to Ray. Each worker node runs this program.

    python -m orchestrator.cluster.preemption_watcher aws HEAD:6379      poll EC2's metadata service (IMDSv2)
    python -m orchestrator.cluster.preemption_watcher gcp HEAD:6379      poll Google Cloud's metadata server
    python -m orchestrator.cluster.preemption_watcher now HEAD:6379 30   report a preemption in 30 s at once

AWS gives two minutes' notice, Google Cloud 30 seconds. Trials there stop after their batch and
resume elsewhere. Ray is imported only after a notice.

Sources: `Spot instance interruption notices` of EC2's user guide (recommendations to rebalance are ignored);
`instance/preempted` of Google Cloud's metadata server.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import datetime

from orchestrator.secrets import guard_streams

_EC2 = "http://169.254.169.254/latest"
_EC2_POLL_SECONDS = 5.0
_EC2_TOKEN_SECONDS = 21600
_GCP = "http://metadata.google.internal/computeMetadata/v1/instance/preempted"
_GCP_POLL_SECONDS = 1.0
_GCP_NOTICE_SECONDS = 30.0
_ANSWER_SECONDS = 2.0
_RETRY_SECONDS = 1.0


class Ec2:
    """EC2's metadata service, polled by a call."""

    poll = _EC2_POLL_SECONDS

    def __init__(self) -> None:
        self._token = ""

    def __call__(self) -> float | None:
        """Return the seconds until this instance is taken back; None if there is no notice."""
        if not self._token:
            headers = {"X-aws-ec2-metadata-token-ttl-seconds": str(_EC2_TOKEN_SECONDS)}
            self._token = _request(f"{_EC2}/api/token", headers, method="PUT")
        try:
            notice = _request(f"{_EC2}/meta-data/spot/instance-action", {"X-aws-ec2-metadata-token": self._token})
        except urllib.error.HTTPError as error:
            if error.code == 401:  # the token has expired
                self._token = ""
            elif error.code != 404:  # 404: there is no notice
                raise
            return None
        return max(0.0, datetime.fromisoformat(json.loads(notice)["time"]).timestamp() - time.time())


class Gcp:
    """Google Cloud's metadata server, polled by a call."""

    poll = _GCP_POLL_SECONDS

    def __call__(self) -> float | None:
        """Return the seconds until this instance is taken back; None if there is no notice."""
        return _GCP_NOTICE_SECONDS if _request(_GCP, {"Metadata-Flavor": "Google"}).strip() == "TRUE" else None


def wait_for_notice(source: Callable[[], float | None], poll: float) -> float:
    """Poll ``source`` until there is a notice. Return the seconds until the preemption. Errors are printed."""
    while True:
        try:
            if (seconds := source()) is not None:
                return seconds
        except (OSError, ValueError, KeyError, TypeError) as error:
            print(f"no answer: {error}", file=sys.stderr, flush=True)
        time.sleep(poll)


def main(kind: str, head: str, seconds: str = "") -> int:
    """Watch for a notice of the provider ``kind``, then report it to Ray. Return an exit code."""
    if kind == "now":
        remaining = float(seconds)
    else:
        source = Ec2() if kind == "aws" else Gcp()
        remaining = wait_for_notice(source, source.poll)
    return _report(head, time.monotonic() + remaining)


def _report(head: str, deadline: float) -> int:
    """Report the preemption until the head has accepted it, up to ``deadline``. Return an exit code."""
    from orchestrator.cluster import ray_client

    while (remaining := deadline - time.monotonic()) > 0:
        try:
            nodes = ray_client.drain(head, remaining)
        except Exception as error:  # the head may be restarting
            print(f"the head at {head} does not answer: {error}", file=sys.stderr, flush=True)
        else:
            print(f"{nodes} nodes of Ray here are being preempted in {remaining:.0f} s", flush=True)
            return 0
        time.sleep(_RETRY_SECONDS)
    return 1


def _request(url: str, headers: dict[str, str], method: str = "GET") -> str:
    request = urllib.request.Request(url, headers=headers, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a proxy cannot reach the metadata service
    with opener.open(request, timeout=_ANSWER_SECONDS) as answer:
        return str(answer.read().decode())


if __name__ == "__main__":
    guard_streams()
    sys.exit(main(*sys.argv[1:]))
