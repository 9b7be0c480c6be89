"""Everything under `tests.chaos` in full, one program after another.

python -m tests.chaos                all of it: some hours
python -m tests.chaos kills simulate some of it
"""

from __future__ import annotations

import subprocess
import sys
import time

PROGRAMS = {
    "fuzz_specs": ["--count", "50000"],
    "simulate": ["--seeds", "200000"],
    "journals": ["--seeds", "200000"],
    "rankings": ["--seeds", "1000000"],
    "interruptions": ["--seeds", "10000"],
    "scale": ["--trials", "10000"],
    "simulated_scale": ["--scale", "100000"],
    "boundaries": ["--resumes", "200"],
    "kills": ["--kills", "1000"],
    "plain_tune": ["--kills", "10"],
}
MODULES = {"simulated_scale": "simulate"}


def main() -> None:
    asked = sys.argv[1:] or list(PROGRAMS)
    unknown = [name for name in asked if name not in PROGRAMS]
    if unknown:
        sys.exit(f"no such program: {', '.join(unknown)}; there are {', '.join(PROGRAMS)}")
    failed = []
    for name in asked:
        print(f"== {name} {' '.join(PROGRAMS[name])}", flush=True)
        began = time.monotonic()
        command = [sys.executable, "-m", f"tests.chaos.{MODULES.get(name, name)}", *PROGRAMS[name]]
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
        print(
            f"== {name}: {'FAILED' if name in failed else 'as it should be'}, {time.monotonic() - began:.0f} s",
            flush=True,
        )
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
