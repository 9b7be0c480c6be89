"""A time on the command line: of day, with a date, or from now."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

_OF_DAY = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])")


def parsed_time(text: str, now: datetime | None = None) -> datetime:
    """Return the next time that ``18:00``, ``2026-12-24T18:00`` or ``2h`` means, by this machine's clock.

    Raises:
        UsageError: The text is no time.
    """
    from orchestrator.errors import UsageError
    from orchestrator.spec.parts import seconds

    now = now or datetime.now()
    if match := _OF_DAY.fullmatch(text):
        today = now.replace(hour=int(match[1]), minute=int(match[2]), second=0, microsecond=0)
        return today if today > now else today + timedelta(days=1)
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        pass
    try:
        return now + timedelta(seconds=seconds(text) or 0)
    except (ValueError, OverflowError):
        raise UsageError(f"--at {text!r} is no time", hint="18:00, 2026-12-24T18:00, or 2h from now") from None
