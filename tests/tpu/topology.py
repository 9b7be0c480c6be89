"""What torch_xla itself makes of a slice's platform variables. Run with torch_xla's interpreter.

Reads a list of ``{"env": …, "local_rank": …, "count": …}`` from standard input, and prints the environments that
``configure_topology`` leaves behind.
"""

from __future__ import annotations

import json
import os
import sys

from torch_xla._internal import tpu


def main() -> None:
    found = []
    before = dict(os.environ)
    for case in json.load(sys.stdin):
        os.environ.clear()
        os.environ.update(before | case["env"])
        tpu.configure_topology(case["local_rank"], case["count"])
        found.append({name: value for name, value in os.environ.items() if name not in before})
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
