"""The built-in manifests, one class in each file. `orchestrator.registry` finds them by file name."""
