"""The tiny module, with a stand-in for a GPU: whoever measures it finds 3 GB of 8 GB taken."""

from __future__ import annotations

from orchestrator.training import profiler
from tests.support.tiny import Tiny as Tiny

profiler._device_memory = lambda: (3_000_000_000, 8_000_000_000)
