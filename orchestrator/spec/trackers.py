"""Where metrics go in addition to the run directory: the sweep file's ``tracking`` section."""

from __future__ import annotations

from typing import Any

from orchestrator.spec.plugin_section import PluginSection


class Tracking(PluginSection):
    """Trackers that receive metrics. A tracker that is slow, broken or unreachable never delays a trial."""

    kind = "trackers"

    @property
    def enabled(self) -> dict[str, dict[str, Any]]:
        """The options of each tracker, by its name, as JSON-like values."""
        return {name: options.model_dump() for name, options in self.plugins.items()}
