"""The built-in searchers, one a module, named as the module is. See `orchestrator.policies.searcher`."""
