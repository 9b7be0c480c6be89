"""Whether it was the kernel that ended a trial's process, for want of memory: Ray only sees that it is gone."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from orchestrator.training import Job

_FILE = "host.json"
_ANSWER_SECONDS = 15.0
# Of a container or service with a limit of its own (cgroup v2, v1), and of the whole machine.
_COUNTERS = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control", "/proc/vmstat")


def note(job: Job, node: str) -> None:
    """Leave among the segment's logs where it runs, and how often the kernel has killed there so far."""
    job = job.localized()
    with suppress(OSError):  # then nobody will know
        file = job.logs / _FILE
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"node": node, "kills": kills()}), encoding="utf-8")
        job.run.publish(file)


def killed(job: Job) -> bool:
    """Whether the kernel has killed for want of memory on that segment's host since it began. Asks the host."""
    import ray
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    try:
        run, job = job.run, job.localized()
        file = run.fetch((job.logs / _FILE).relative_to(run.root).as_posix())
        noted = json.loads(file.read_text(encoding="utf-8"))
        there = NodeAffinitySchedulingStrategy(noted["node"], soft=False)
        ask = ray.remote(num_cpus=0, max_retries=0)(kills).options(scheduling_strategy=there)
        now: Any = ray.get(ask.remote(), timeout=_ANSWER_SECONDS)
        return bool(sum(now) > sum(noted["kills"]))
    except (OSError, ValueError, KeyError, RayError):
        return False


def kills() -> list[int]:
    """How often the kernel has killed a process for want of memory, by each counter that is there."""
    found = []
    for name in _COUNTERS:
        with suppress(OSError):
            lines = Path(name).read_text(encoding="utf-8").splitlines()
            found += [int(line.split()[1]) for line in lines if line.startswith("oom_kill ")]
    return found
