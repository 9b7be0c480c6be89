"""``python -m orchestrator.tracking TRACKER RUN [send]``: run `orchestrator.tracking.uploader` for one tracker."""

from __future__ import annotations

import sys

from orchestrator.tracking.uploader import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], send="send" in sys.argv[3:]))
