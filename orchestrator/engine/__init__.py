"""Engines, which run segments: `tune` on Ray Tune, `local` in this process. `SweepController` drives both."""
