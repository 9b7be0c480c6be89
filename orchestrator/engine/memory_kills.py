"""The kernel's count of processes that it has killed for want of memory."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

# Of a container or service with a limit of its own (cgroup v2, v1), and of the whole machine.
_COUNTERS = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control", "/proc/vmstat")


def out_of_memory_kills() -> list[int]:
    """Return the kernel's number of out-of-memory kills on this machine, by each counter that exists."""
    kills = []
    for name in _COUNTERS:
        with suppress(OSError):
            lines = Path(name).read_text(encoding="utf-8").splitlines()
            kills += [int(line.split()[1]) for line in lines if line.startswith("oom_kill ")]
    return kills
