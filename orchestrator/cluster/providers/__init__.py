"""The built-in providers, one class in each file. `orchestrator.registry` finds them by file name."""
