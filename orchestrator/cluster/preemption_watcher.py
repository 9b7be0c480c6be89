"""Watches for the notice that this machine will be taken back, and tells Ray: run on each worker node.

    python -m orchestrator.cluster.preemption_watcher aws HEAD:6379      poll EC2's metadata service (IMDSv2)
    python -m orchestrator.cluster.preemption_watcher gcp HEAD:6379      poll Google Cloud's metadata server
    python -m orchestrator.cluster.preemption_watcher now HEAD:6379 30   report a preemption in 30 s at once

AWS gives two minutes' notice, Google Cloud 30 seconds.
Trials there end with their epoch, and go on elsewhere. Ray is imported after the notice only.

EC2: `Spot instance interruption notices` of its user guide; a recommendation to rebalance is only a hint and is passed
over. Google Cloud: `instance/preempted` of its metadata server.
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
_AGAIN_SECONDS = 1.0


class Ec2:
    """EC2's metadata service. Called, it says in how many seconds this instance goes; None while it stays."""

    poll = _EC2_POLL_SECONDS

    def __init__(self) -> None:
        self._token = ""

    def __call__(self) -> float | None:
        """Return the seconds until this instance is taken back; None if there is no notice."""
        if not self._token:
            asked = {"X-aws-ec2-metadata-token-ttl-seconds": str(_EC2_TOKEN_SECONDS)}
            self._token = _answer(f"{_EC2}/api/token", asked, method="PUT")
        try:
            said = _answer(f"{_EC2}/meta-data/spot/instance-action", {"X-aws-ec2-metadata-token": self._token})
        except urllib.error.HTTPError as refused:
            if refused.code == 401:  # the token has run out
                self._token = ""
            elif refused.code != 404:  # which says that there is no notice
                raise
            return None
        return max(0.0, datetime.fromisoformat(json.loads(said)["time"]).timestamp() - time.time())


class Gcp:
    """Google Cloud's metadata server, in the same form."""

    poll = _GCP_POLL_SECONDS

    def __call__(self) -> float | None:
        """Return the seconds until this instance is taken back; None if there is no notice."""
        return _GCP_NOTICE_SECONDS if _answer(_GCP, {"Metadata-Flavor": "Google"}).strip() == "TRUE" else None


def noticed(ask: Callable[[], float | None], poll: float) -> float:
    """Wait for the notice; returns in how many seconds the machine goes. A service that is silent is asked again."""
    while True:
        try:
            if (seconds := ask()) is not None:
                return seconds
        except (OSError, ValueError, KeyError, TypeError) as error:
            print(f"no answer: {error}", file=sys.stderr, flush=True)
        time.sleep(poll)


def main(kind: str, head: str, seconds: str = "") -> int:
    """Watch for a notice of the provider ``kind``, then report it to Ray. Return an exit code."""
    if kind == "now":
        left = float(seconds)
    else:
        source = Ec2() if kind == "aws" else Gcp()
        left = noticed(source, source.poll)
    return _told(head, time.monotonic() + left)


def _told(head: str, gone: float) -> int:
    """Tell the head until it knows, while there is time."""
    from orchestrator.cluster import ray_client

    while (left := gone - time.monotonic()) > 0:
        try:
            nodes = ray_client.drain(head, left, "the machine is being preempted")
        except Exception as error:  # a head may be away, too
            print(f"the head at {head} does not answer: {error}", file=sys.stderr, flush=True)
        else:
            print(f"{nodes} nodes of Ray here are being preempted in {left:.0f} s", flush=True)
            return 0
        time.sleep(_AGAIN_SECONDS)
    return 1


def _answer(url: str, headers: dict[str, str], method: str = "GET") -> str:
    asked = urllib.request.Request(url, headers=headers, method=method)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy knows this machine's metadata
    with direct.open(asked, timeout=_ANSWER_SECONDS) as answer:
        return str(answer.read().decode())


if __name__ == "__main__":
    guard_streams()
    sys.exit(main(*sys.argv[1:]))
