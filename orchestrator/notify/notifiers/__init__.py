"""The built-in notifiers, one class in each file. `orchestrator.registry` finds them by file name."""
