"""The built-in schedulers, one a module, named as the module is. See `orchestrator.policies.scheduler`."""
