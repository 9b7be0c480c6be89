"""What `sweep launch` says of a long sweep before anything is imported or downloaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orchestrator.spec import SweepSpec

_LONG_SECONDS = 3600.0


def launch_notice(spec: SweepSpec, source: str, preset: str | None) -> str:
    """Return what a sweep takes and which presets its file has; empty for one that is not limited to an hour or more.

    Args:
        spec: the sweep.
        source: its file, or the name of a shipped one.
        preset: the one that was chosen.
    """
    limit = spec.budget.wall_clock
    if limit is None or limit < _LONG_SECONDS:
        return ""
    from orchestrator import plan as planning
    from orchestrator.progress import counted, span
    from orchestrator.results.terminal_tables import duration
    from orchestrator.spec.sweep_file import presets_of

    planned = planning.plan(spec)
    parts = [counted(planned.trials, "trial")] if planned.trials else []
    parts += [f"about {span(planned.expected, planned.unit)} in all"] if planned.expected else []
    text = ", ".join([*parts, f"at most {duration(limit)} (budget.wall_clock)"])
    presets = [] if preset else presets_of(source)
    return f"{spec.name}: {text}" + (
        f"; presets: {', '.join(f'--preset {name}' for name in presets)}" if presets else ""
    )
