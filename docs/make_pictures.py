"""Write docs/pictures/watch.svg, `sweep watch` on a simulated sweep that is cut off in the middle, and progress.svg.

The pages of `sweep open` on the same sweep are live-page.png and others beside it; they need Chromium.

    python docs/make_pictures.py

Textual draws the screen as SVG. Its web fonts are removed, so that a page with the picture loads nothing.
"""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from orchestrator.engine.simulator import simulate
from orchestrator.journal import Event, encode
from orchestrator.journal.lease import acquire
from orchestrator.rundir import RunDirectory
from orchestrator.rundir.live_progress import LiveProgress
from orchestrator.spec import from_mapping
from orchestrator.state import SweepState
from orchestrator.watch.screen import WatchApp

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from docs import page_pictures, progress_picture

PICTURE = Path(__file__).resolve().parent / "pictures/watch.svg"
NAME = "cifar10-litmodel"
SIZE = (130, 26)
SHOWN = 0.9  # of the sweep's events
SPEC: dict[str, Any] = {
    "name": NAME,
    "objective": {"metric": "val_acc", "mode": "max"},
    "model": "nowhere.Never",
    "trainer": {"max_epochs": 27},
    "space": {
        "model.learning_rate": {"log_uniform": [1e-4, 1e-1]},
        "model.width": {"int": [4, 64]},
        "model.optimizer": {"choice": ["sgd", "adam"]},
    },
    "scheduler": {"name": "asha", "grace": 1, "reduction_factor": 3},
    "budget": {"trials": 40},
}


def events() -> list[Event]:
    """Return the first part of a sweep of 40 trials on four slots."""
    whole = simulate(from_mapping(SPEC), slots=4).events
    return whole[: int(SHOWN * len(whole))]


def write_live(run: RunDirectory, state: SweepState) -> None:
    """Write the files of the running trials: each is within an epoch of 352 batches of 128."""
    for number in sorted(state.running):
        epochs, share = state.trials[number].progress, (number * 0.37) % 1
        batch = int(352 * share)
        place, start = (
            {"epoch": at, "step": round(352 * at), "samples": 45056 * at, "seconds": 0.9 * at}
            for at in (epochs + batch / 352, 0)
        )
        live = LiveProgress(
            trial=number, segment=state.trials[number].segments - 1, at=time.time(), phase="training", batch=batch,
            batches=352, place=place, start=start, elapsed=epochs + share, loss=0.9 - 0.2 * share,
            samples_per_second=45056 / 0.9, step_seconds=0.9 / 352, data_wait=0.03, memory=10**9,
        )  # fmt: skip
        run.live(number).parent.mkdir(parents=True)
        run.live(number).write_bytes(live.to_bytes())


def write_others(runs: Path) -> None:
    """Write two more runs, with which the first is compared."""
    others: dict[str, dict[str, Any]] = {
        "tpe": {"searcher": "tpe"},
        "seeds": {"repeats": 3, "budget": {"trials": 30}},
    }
    for name, fields in others.items():
        ended = simulate(from_mapping(SPEC | fields | {"name": f"{NAME}-{name}"}), slots=4).events
        run = runs / f"{NAME}-{name}"
        run.mkdir()
        (run / "journal.jsonl").write_bytes(b"".join(map(encode, ended)))


async def screenshot(run: RunDirectory) -> str:
    """Return the watch screen of the run as SVG."""
    app = WatchApp(run)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause(1.0)
        return app.export_screenshot(title=f"sweep watch {NAME}")


def without_web_fonts(svg: str) -> str:
    """Remove the ``@font-face`` rules, whose files lie on the web; a local monospaced font takes their place."""
    return re.sub(r"@font-face\s*\{.*?\}", "", svg, flags=re.DOTALL)


def main() -> int:
    shown = events()
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory(Path(folder) / NAME)
        run.root.mkdir()
        (run.root / "journal.jsonl").write_bytes(b"".join(map(encode, shown)))
        write_live(run, SweepState(shown))
        write_others(Path(folder))
        lease = acquire(run.root / "lease", after=shown[-1].lease)  # so that the sweep counts as running
        try:
            svg = asyncio.run(screenshot(run))
            pages = asyncio.run(page_pictures.draw(Path(folder), NAME))
        finally:
            lease.release()
    PICTURE.write_text(without_web_fonts(svg), encoding="utf-8")
    progress_picture.PICTURE.write_text(progress_picture.picture(), encoding="utf-8")
    print(f"{', '.join([PICTURE.name, progress_picture.PICTURE.name, *pages])} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
