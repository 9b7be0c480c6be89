"""Diagnose why a segment's process was lost: from Ray's errors, and from the kernel's count of out-of-memory kills."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from orchestrator import compat_ray
from orchestrator.training import Job

_CHARACTERS = 1000
_NO_ERROR = "its process ended"
_VICTIM = re.compile(compat_ray.MEMORY_MONITOR_VICTIM)
_FILE = "host.json"
_ANSWER_SECONDS = 15.0
# Of a container or service with a limit of its own (cgroup v2, v1), and of the whole machine.
_COUNTERS = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control", "/proc/vmstat")


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


def record_host(job: Job, node_id: str) -> None:
    """Write the segment's node, and the number of kills there so far, among the segment's logs."""
    job = job.localized()
    with suppress(OSError):  # a later out-of-memory kill is then reported as a lost process
        file = job.logs / _FILE
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"node": node_id, "kills": out_of_memory_kills()}), encoding="utf-8")
        job.run.publish(file)


def was_killed_for_memory(job: Job) -> bool:
    """Return whether the kernel has killed a process for memory on the segment's node since the segment began."""
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    try:
        run, job = job.run, job.localized()
        file = run.fetch((job.logs / _FILE).relative_to(run.root).as_posix())
        before = json.loads(file.read_text(encoding="utf-8"))
        on_node = NodeAffinitySchedulingStrategy(before["node"], soft=False)
        count = ray.remote(num_cpus=0, max_retries=0)(out_of_memory_kills).options(scheduling_strategy=on_node)
        now: Any = ray.get(count.remote(), timeout=_ANSWER_SECONDS)
        return bool(sum(now) > sum(before["kills"]))
    except (OSError, ValueError, KeyError, RayError):
        return False


def out_of_memory_kills() -> list[int]:
    """Return the kernel's number of out-of-memory kills on this machine, by each counter that exists."""
    kills = []
    for name in _COUNTERS:
        with suppress(OSError):
            lines = Path(name).read_text(encoding="utf-8").splitlines()
            kills += [int(line.split()[1]) for line in lines if line.startswith("oom_kill ")]
    return kills
