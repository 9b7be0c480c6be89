"""The built-in export formats, one class in each file. `orchestrator.registry` finds them by file name."""
