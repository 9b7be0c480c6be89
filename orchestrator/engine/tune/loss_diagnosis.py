"""Diagnose why a segment's process was lost: from Ray's errors, and from the kernel's count of out-of-memory kills."""

from __future__ import annotations

import json
import re
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from orchestrator import compat_ray
from orchestrator.engine.fault_trace import fault_in_words, read_trace
from orchestrator.engine.memory_kills import out_of_memory_kills
from orchestrator.training import Job

_CHARACTERS = 1000
_NO_ERROR = "its process ended without an error message"
_VICTIM = re.compile(compat_ray.MEMORY_MONITOR_VICTIM)
_FILE = "host.json"
_ANSWER_SECONDS = 15.0


def kind_of(text: str) -> tuple[str, str]:
    """Return the failure's kind, a key of `failure_policy.KINDS`, and Ray's message in one line.

    Ray Tune passes on the text of the error, not the error.
    """
    lines = text.strip().splitlines() or [_NO_ERROR]
    if compat_ray.MEMORY_MONITOR_KILL in text:
        return "memory", lines[0][:_CHARACTERS]
    if any(sign in text for sign in compat_ray.NODE_LOSSES):
        return "preempted" if "preempted" in text.lower() else "node", lines[-1][:_CHARACTERS]
    return "lost", lines[-1][:_CHARACTERS]


def largest_memory_victim(error: BaseException | None) -> str:
    """Return the actor, by its id in hex, that Ray's memory monitor killed; empty if it killed none.

    The monitor may kill several at once: the one that held most memory is the cause.
    """
    while error is not None:
        victims = [(float(match["gigabytes"]), match["actor"]) for match in _VICTIM.finditer(str(error))]
        if victims:
            return max(victims)[1]
        error = error.__cause__
    return ""


def fault_file(job: Job) -> Path:
    """Return the file among the segment's logs to which its process writes the stack of a fault in native code."""
    return Path(job.localized().folder) / "logs" / f"error_segment_{job.segment}.txt"


def fault_of(job: Job) -> str:
    """Return the fault that has ended the segment's process, in a sentence; empty if the driver sees none."""
    words = fault_in_words(read_trace(fault_file(job)))
    return f"its process ended {words}"[:_CHARACTERS] if words else ""


def record_host(job: Job, node_id: str) -> None:
    """Write the segment's node, and the number of kills there so far, among the segment's logs."""
    job = job.localized()
    with suppress(OSError):  # a later out-of-memory kill is then reported as a lost process
        file = job.logs / _FILE
        file.parent.mkdir(parents=True, exist_ok=True)
        content = {"node": node_id, "host": socket.gethostname(), "kills": out_of_memory_kills()}
        file.write_text(json.dumps(content), encoding="utf-8")
        job.run.publish(file)


def was_killed_for_memory(job: Job) -> bool:
    """Return whether the kernel has killed a process for memory on the segment's node since the segment began."""
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    try:
        before = _recorded_host(job)
        on_node = NodeAffinitySchedulingStrategy(before["node"], soft=False)
        count = ray.remote(num_cpus=0, max_retries=0)(out_of_memory_kills).options(scheduling_strategy=on_node)
        now: Any = ray.get(count.remote(), timeout=_ANSWER_SECONDS)
        return bool(sum(now) > sum(before["kills"]))
    except (OSError, ValueError, KeyError, RayError):
        return False


def host_of(job: Job) -> str:
    """Return the name of the host on which the segment's process began; empty if the driver sees no record of it."""
    with suppress(OSError, ValueError, KeyError):
        return str(_recorded_host(job)["host"])
    return ""


def _recorded_host(job: Job) -> dict[str, Any]:
    run, job = job.run, job.localized()
    file = run.fetch((job.logs / _FILE).relative_to(run.root).as_posix())
    recorded: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return recorded
