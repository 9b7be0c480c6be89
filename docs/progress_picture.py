"""Draw docs/pictures/progress.svg: reports, a rung, and what is interpolated there. `docs/make_pictures.py` calls it.

The interpolated losses are those of `orchestrator.policies.loss_curves`, by which a sweep compares.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from orchestrator.policies.loss_curves import LossCurve

PICTURE = Path(__file__).resolve().parent / "pictures/progress.svg"
RUNG, EPOCH, NOW = 500, 800, 930  # steps: the rung, an epoch, and where trial 1 is now
TRIALS = {0: (200, 400, 600, 800), 1: (250, 550, 850)}
COLOURS = {0: "a", 1: "b"}
LEFT, RIGHT, TOP, BOTTOM = 70, 720, 66, 282
STYLE = """
  text{font:13px system-ui,-apple-system,"Segoe UI","Noto Sans","DejaVu Sans",sans-serif;fill:#1c2733}
  .bg{fill:#fbfcfe;stroke:#d5dde6}.axis{stroke:#5b6977;stroke-width:1.2;fill:none}.small{font-size:12px;fill:#4a5866}
  .a{stroke:#1f4e79;fill:none;stroke-width:2}.b{stroke:#c2571a;fill:none;stroke-width:2}
  .live{stroke-dasharray:2 4}
  .pa{fill:#1f4e79}.pb{fill:#c2571a}
  .ra{fill:#fff;stroke:#1f4e79;stroke-width:2.4}.rb{fill:#fff;stroke:#c2571a;stroke-width:2.4}
  .rung{stroke:#7a5aa6;stroke-width:1.6;stroke-dasharray:5 4}
  .na{fill:#1f4e79;font-weight:600}.nb{fill:#c2571a;font-weight:600}.nr{fill:#7a5aa6;font-weight:600}
"""


def loss(trial: int, step: float) -> float:
    """Return the loss of a trial after a step."""
    return 0.45 + 1.5 * math.exp(-step / 260) if trial == 0 else 0.3 + 1.9 * math.exp(-step / 330)


def curve(trial: int) -> LossCurve:
    """Return what a trial has reported."""
    found = LossCurve()
    for step in TRIALS[trial]:
        found.add(step, loss(trial, step))
    return found


def at(step: float, value: float) -> tuple[str, str]:
    """Return the place of a loss on the picture."""
    x = LEFT + (RIGHT - LEFT) * step / 1000
    y = BOTTOM - (BOTTOM - TOP) * (value - 0.3) / 1.1
    return f"{x:.0f}", f"{y:.0f}"


def text(x: str | float, y: str | float, words: str, kind: str = "", anchor: str = "") -> str:
    classes = f' class="{kind}"' if kind else ""
    anchored = f' text-anchor="{anchor}"' if anchor else ""
    return f'<text{classes} x="{x}" y="{y}"{anchored}>{words}</text>'


def axes() -> Iterator[str]:
    """Yield the axes: steps below, and the epochs of both trials above, since their batches are of one size."""
    yield f'<path class="axis" d="M{LEFT} {TOP - 8}V{BOTTOM}H{RIGHT + 10}"/>'
    yield text(30, TOP + 4, "loss", "small")
    for step in range(200, 1001, 200):
        x = at(step, 0)[0]
        yield text(x, BOTTOM + 18, f"{step}" if step < 1000 else "steps", "small", "middle")
        yield text(x, 34, f"{step / EPOCH:g}" if step < 1000 else "epochs", "small", "middle")
    x = at(RUNG, 0)[0]
    yield f'<path class="rung" d="M{x} {TOP - 8}V{BOTTOM}"/>'
    yield text(x, TOP - 14, f"rung: step {RUNG}", "nr", "middle")


def trials() -> Iterator[str]:
    """Yield each trial's reports, and its loss at the rung by the rule of the sweep."""
    for trial, colour in COLOURS.items():
        reported = curve(trial)
        points = [at(*point) for point in zip(reported.places, reported.losses, strict=True)]
        yield f'<path class="{colour}" d="M{"L".join(" ".join(point) for point in points)}"/>'
        for x, y in points:
            yield f'<circle class="p{colour}" cx="{x}" cy="{y}" r="5"/>'
        x, y = at(RUNG, reported.at(RUNG).loss)
        yield f'<circle class="r{colour}" cx="{x}" cy="{y}" r="6"/>'
        yield text(int(points[0][0]) + (10 if trial else -56), int(points[0][1]) - 6, f"trial {trial}", f"n{colour}")
    (x, y), (now, _) = at(TRIALS[1][-1], loss(1, TRIALS[1][-1])), at(NOW, 0)
    yield f'<path class="b live" d="M{x} {y}H{now}"/>'
    yield text(RIGHT + 20, int(y) + 22, f"now: step {NOW}", "nb", "end")


def legend() -> Iterator[str]:
    lines = (
        "filled: a report, with its checkpoint",
        "open: the loss at the rung, interpolated",
        "between two reports; these are compared",
        "dotted: live progress since the last report,",
        "which decides nothing",
    )
    for number, line in enumerate(lines):
        yield text(440, TOP + 10 + 18 * number, line)


def picture() -> str:
    """Return the picture as SVG."""
    reports = "; ".join(f"trial {trial} at {', '.join(map(str, steps))}" for trial, steps in TRIALS.items())
    description = (
        f"Loss over steps; an epoch has {EPOCH}. Reports: {reports}. The rung is at step {RUNG}, with no report. "
        "So each loss is interpolated between the reports before and after, and the two are compared. "
        f"Trial 1 is at step {NOW} now, beyond its last report."
    )
    return "\n".join(
        [
            '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 330" role="img" aria-labelledby="t d">',
            '<title id="t">Two trials compared at a rung</title>',
            f'<desc id="d">{description}</desc>',
            f"<style>{STYLE}</style>",
            '<rect class="bg" x="4" y="4" width="752" height="322" rx="8"/>',
            *axes(),
            *trials(),
            *legend(),
            "</svg>\n",
        ]
    )
