"""What runs in the worker processes of a trial: one segment after another, each as one Tune trial.

In a trial of several workers, rank 0 is the Tune trial's own process; the others are actors in its placement group. Ray
Train does the same outside the trial's resources, takes 6 to 15 s before each segment, and relays reports only every
2 s (measured on Ray 2.60).
"""

from __future__ import annotations

import json
import os
import socket
import tempfile
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.engine.failure_policy import SegmentFailure
from orchestrator.engine.fault_trace import faults_traced
from orchestrator.engine.standard_descriptors import StandardDescriptors
from orchestrator.engine.tune.environment_variables import environment_variables
from orchestrator.engine.tune.loss_diagnosis import fault_file, record_host
from orchestrator.training import Interim, Job, Report

# In the error of a rank that another rank's end has cut off: it is a consequence, not the cause.
_CUT_OFF = (
    "Connection closed by peer",
    "Connection reset",
    "Broken pipe",
    "gloo",
    "NCCL",
    "TCPStore",
    "Socket Timeout",
)
_END_SECONDS = 30.0  # for the other ranks to end, after rank 0 has
_REPORT_SECONDS = 5.0  # for rank 0 to notice and report the end of another rank by itself


def run_segment(config: dict[str, str]) -> None:
    """Run one segment; the driver's answer to a report that ends it is raised as SystemExit by ``tune.report``."""
    import ray
    from ray.tune import report as send  # bound here: trials get a function of their own under this name

    from orchestrator.secrets import guard_streams
    from orchestrator.training.class_loading.import_paths import import_from
    from orchestrator.training.stop_notice import StopNotice

    guard_streams()

    import_from(json.loads(config["roots"]))
    node_id = ray.get_runtime_context().get_node_id()

    def report(epoch: Report) -> bool:
        send({"report": json.dumps(asdict(epoch)), "node": node_id})
        return True

    def interim(saved: Interim) -> None:
        send({"interim": json.dumps(asdict(saved)), "node": node_id})

    job = Job.from_text(config["job"])
    record_host(job, node_id)
    # The process trains other trials afterwards.
    with StandardDescriptors(), faults_traced(fault_file(job)), StopNotice(job) as stop:
        failure = _train(job, config["roots"], _Driver(report, interim, stop))
        stopped = stop.is_told
    if failure:
        send({"failed": json.dumps(asdict(failure))})
    elif stopped:
        send({"stopped": True})


@dataclass(frozen=True)
class _Driver:
    """What a segment tells the driver, and whether that has told it to stop."""

    report: Callable[[Report], bool]
    interim: Callable[[Interim], None]
    stop: Callable[[], bool]


def _train(job: Job, roots: str, driver: _Driver) -> SegmentFailure | None:
    from orchestrator.engine.segment_runner import attempt

    if job.workers > 1:
        return _train_with_peers(job, roots, driver)
    return attempt(job, driver.report, interim=driver.interim, stop=driver.stop)


def read_report(text: str) -> Report:
    """Parse a report of `run_segment`, in the driver."""
    return Report.from_fields(json.loads(text))


def read_interim(text: str) -> Interim:
    """Parse a checkpoint between two reports of `run_segment`, in the driver."""
    return Interim.from_fields(json.loads(text))


class Peer:
    """A rank beyond the first, in a process of its own."""

    def train(self, job: str, roots: str, environment: dict[str, str]) -> str:
        """Train, and return the failure as JSON, or nothing. Rank 0 alone reports metrics."""
        from orchestrator.engine.segment_runner import attempt
        from orchestrator.training.class_loading.import_paths import import_from

        import_from(json.loads(roots))
        os.environ.update(environment)
        rank = int(environment["RANK"])
        failure = attempt(Job.from_text(job), lambda report: True, interim=lambda saved: None, rank=rank)
        return json.dumps(asdict(failure)) if failure else ""


def _train_with_peers(job: Job, roots: str, driver: _Driver) -> SegmentFailure | None:
    """Train one segment in ``job.workers`` processes, of which this is rank 0.

    If another rank's process or node is lost, this process ends too, since it could wait for that rank for ever. The
    trial then resumes from its last checkpoint.
    """
    import ray

    from orchestrator.engine.segment_runner import attempt

    with tempfile.TemporaryDirectory(prefix="sweep-ranks-", ignore_cleanup_errors=True) as folder:
        environments = _environments(job.workers, folder)
        peers = _start_peers(job.workers)
        running = [
            peer.train.remote(job.to_text(), roots, variables)
            for peer, variables in zip(peers, environments[1:], strict=True)
        ]
        done = threading.Event()
        threading.Thread(target=_exit_with, args=(running, done), name="peers", daemon=True).start()
        try:
            with environment_variables(environments[0]):
                failure = attempt(job, driver.report, interim=driver.interim, stop=driver.stop)
            return _cause(failure, running)
        finally:
            done.set()
            for peer in peers:
                ray.kill(peer)


def _environments(workers: int, folder: str) -> list[dict[str, str]]:
    """Return the environment of each rank. On one host they meet in ``folder``, which only this user can open."""
    import ray

    from orchestrator.training.process_group import environment
    from orchestrator.training.rendezvous import one_host_environment

    address, port = str(ray.util.get_node_ip_address()), _free_port()  # type: ignore[no-untyped-call]
    meeting = one_host_environment(folder) if _is_on_one_host() else {}
    return [environment(rank, workers, address, port) | meeting for rank in range(workers)]


def _is_on_one_host() -> bool:
    """Return whether Ray has placed all workers of the trial on one node."""
    import ray

    group = ray.util.get_current_placement_group()
    table = ray.util.placement_group_table(group) if group else {}
    return len(set(table.get("bundles_to_node_id", {}).values())) == 1


def _start_peers(workers: int) -> list[Any]:
    """Start an actor in each bundle of the trial's placement group but the first, which is this process's."""
    import ray
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    group = ray.util.get_current_placement_group()
    if group is None:
        raise RuntimeError("the trial has no placement group")
    peers = []
    for index, bundle in enumerate(group.bundle_specs[1:workers], start=1):
        strategy = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=index)
        amounts: dict[str, Any] = {"num_cpus": bundle.get("CPU", 0), "num_gpus": bundle.get("GPU", 0)}
        peers.append(ray.remote(Peer).options(scheduling_strategy=strategy, **amounts).remote())
    return peers


def _exit_with(running: list[Any], done: threading.Event) -> None:
    """End this process if another rank's process is lost before rank 0 is done."""
    import ray

    remaining = list(running)
    while remaining and not done.is_set():
        ended, remaining = ray.wait(remaining, num_returns=1, timeout=1.0)
        for result in ended:
            try:
                ray.get(result)
            except Exception:
                if not done.wait(_REPORT_SECONDS):
                    os._exit(1)


def _cause(failure: SegmentFailure | None, running: list[Any]) -> SegmentFailure | None:
    """Return another rank's failure if rank 0's is only a consequence of it."""
    import ray

    if failure is not None and not any(sign in failure.message for sign in _CUT_OFF):
        return failure
    ended, _ = ray.wait(running, num_returns=len(running), timeout=_END_SECONDS)
    for result in ended:
        try:
            text = ray.get(result)
        except Exception as error:
            message = f"another worker is gone: {error}".partition("\n")[0][:1000]
            return failure and SegmentFailure("lost", message, "lost")
        if text and failure is not None:
            return SegmentFailure(**json.loads(text))
    return failure


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
