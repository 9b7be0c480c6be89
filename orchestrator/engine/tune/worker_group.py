"""A segment of several processes: rank 0 is the Tune trial's own, the others are actors in its placement group.

Ray Train would do it too, but beside the trial's resources, with 6 to 15 s before each segment, and it relays reports
every 2 s only (measured on Ray 2.60).
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict
from typing import Any

from orchestrator.engine.failure_policy import SegmentFailure
from orchestrator.spec import Resources
from orchestrator.training import Job, Report

# What a rank says when another has gone: not what was wrong, only that it is alone.
_ALONE = ("Connection closed by peer", "Connection reset", "Broken pipe", "gloo", "NCCL", "TCPStore", "Socket Timeout")
_NODE_ID = "ray.io/node-id"  # a label that Ray gives each host
_END_SECONDS = 30.0  # that the other ranks have for their end, when rank 0 has come to its own


def placed(resources: Resources, avoided: Collection[str] = ()) -> Any:
    """What a trial asks of Ray Tune: a bundle for each of its workers, near each other where that can be.

    None of them on a host that is ``avoided``, by its ``NodeID``.
    """
    if resources.workers == 1 and not avoided:
        return {"cpu": resources.cpus, "gpu": resources.gpu_count}
    from ray import tune

    wanted = {"CPU": float(resources.cpus), "GPU": float(resources.gpu_count)}
    bundles = [{name: amount for name, amount in wanted.items() if amount} for _ in range(resources.workers)]
    labels: Any = [{_NODE_ID: f"!in({','.join(sorted(avoided))})"} for _ in bundles]
    return tune.PlacementGroupFactory(bundles, "PACK", **({"bundle_label_selector": labels} if avoided else {}))


class Peer:
    """A rank beyond the first, in a process of its own."""

    def train(self, job: str, roots: str, told: dict[str, str]) -> str:
        """Train along; returns what went wrong, as JSON, or nothing. It reports nothing: rank 0 does."""
        from orchestrator.engine.segment_runner import attempt
        from orchestrator.training.class_loading.import_paths import import_from

        import_from(json.loads(roots))

        os.environ.update(told)
        failed = attempt(Job(**json.loads(job)), lambda report: True)
        return json.dumps(asdict(failed)) if failed else ""


def together(job: Job, roots: str, report: Callable[[Report], bool]) -> SegmentFailure | None:
    """Train one segment in ``job.workers`` processes, of which this is rank 0; None, or why it did not come to its end.

    Where another rank's process or host is lost, this process ends, too: it may be waiting for it for ever. The trial
    then goes on from its last checkpoint.
    """
    import ray

    from orchestrator.engine.segment_runner import attempt
    from orchestrator.training.process_group import environment

    address, port = str(ray.util.get_node_ip_address()), _free_port()  # type: ignore[no-untyped-call]
    told = [environment(rank, job.workers, address, port) for rank in range(job.workers)]
    peers = _peers(job.workers)
    running = [
        peer.train.remote(json.dumps(asdict(job)), roots, its) for peer, its in zip(peers, told[1:], strict=True)
    ]
    over = threading.Event()
    threading.Thread(target=_end_with, args=(running, over), name="gang", daemon=True).start()
    try:
        with _environment(told[0]):
            failed = attempt(job, report)
        return _cause(failed, running)
    finally:
        over.set()
        for peer in peers:
            ray.kill(peer)


def _peers(workers: int) -> list[Any]:
    """An actor in each bundle of the trial's placement group but the first, which is this process's."""
    import ray
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    group = ray.util.get_current_placement_group()
    if group is None:
        raise RuntimeError("the trial has no placement group")
    found = []
    for bundle, room in enumerate(group.bundle_specs[1:workers], start=1):
        where = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=bundle)
        asked: dict[str, Any] = {"num_cpus": room.get("CPU", 0), "num_gpus": room.get("GPU", 0)}
        found.append(ray.remote(Peer).options(scheduling_strategy=where, **asked).remote())
    return found


def _end_with(running: list[Any], over: threading.Event) -> None:
    """End this process where another rank's is lost, before rank 0 is done."""
    import ray

    left = list(running)
    while left and not over.is_set():
        done, left = ray.wait(left, num_returns=1, timeout=1.0)
        for ended in done:
            try:
                ray.get(ended)
            except Exception:
                if not over.wait(5.0):  # it may have been told of it otherwise, and be about to say so
                    os._exit(1)


def _cause(failed: SegmentFailure | None, running: list[Any]) -> SegmentFailure | None:
    """What another rank says that went wrong, where rank 0 says only that it was left alone."""
    import ray

    if failed is not None and not any(said in failed.message for said in _ALONE):
        return failed
    done, _ = ray.wait(running, num_returns=len(running), timeout=_END_SECONDS)
    for ended in done:
        try:
            told = ray.get(ended)
        except Exception as lost:
            return failed and SegmentFailure(
                "lost", f"another worker is gone: {lost}".partition("\n")[0][:1000], "lost"
            )
        if told and failed is not None:
            return SegmentFailure(**json.loads(told))
    return failed


@contextlib.contextmanager
def _environment(told: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in told}
    os.environ.update(told)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("", 0))
        return int(one.getsockname()[1])
