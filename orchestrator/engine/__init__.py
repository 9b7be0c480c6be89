"""Who runs segments: `tune` on Ray Tune, `local` in this process. Both are fed and judged by one `LiveSweep`."""
