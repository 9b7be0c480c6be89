"""The built-in trackers, one class in each file. `orchestrator.registry` finds them by file name."""
