"""Every searcher and every scheduler in a real sweep under Ray, held to what its journal says."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from orchestrator import registry
from tests.support.markers import SLOW_RAY
from tests.support.ray_sweeps import events, rows, sweep, written

NUMBERS = {
    "model.learning_rate": {"log_uniform": [1e-3, 0.3]},
    "model.momentum": {"uniform": [0.1, 0.9]},
}
CHOICES = {"model.learning_rate": {"choice": [0.01, 0.1]}, "data.batch_size": {"choice": [16, 32]}}
ASHA = {"name": "asha", "reduction_factor": 2}
# Every fourth trial of these two is drawn at random, and the first two.
PARZEN = {"name": "parzen", "startup_trials": 2}
DENSITY_RATIO = {"name": "density_ratio", "startup_trials": 2}
POINTS = [{"model.learning_rate": rate, "model.momentum": 0.5} for rate in (0.05, 0.051)]
RACE = {"name": "race", "points": POINTS, "confidence": 0.9999}  # too much alike to be told apart so soon
POPULATION = {"interval_epochs": 2}
SEVERAL = {"metric": "val_loss", "mode": "min", "also": [{"metric": "weight_at_end", "mode": "min"}]}

# searcher, scheduler, space, and what its journal must hold
SWEEPS: list[tuple[Any, Any, dict[str, Any], set[str]]] = [
    ("grid", "fifo", CHOICES, set()),
    ("sobol", {**ASHA, "promote": True}, NUMBERS, {"trial.set_aside"}),
    (PARZEN, {"name": "frontier", "reduction_factor": 2}, NUMBERS, {"trial.set_aside", "trial.promoted"}),
    (DENSITY_RATIO, {"name": "guarded_asha", "reduction_factor": 2}, NUMBERS, {"trial.set_aside", "trial.promoted"}),
    ("tpe", {"name": "median", "min_trials": 1}, NUMBERS, set()),
    ("bohb", {"name": "hyperband", "reduction_factor": 2}, NUMBERS, {"trial.promoted", "trial.stopped"}),
    ("gp", {"name": "patience", "epochs": 1, "min_delta": 0.3}, NUMBERS, {"trial.stopped"}),
    ("random", {"name": "pbt", **POPULATION}, NUMBERS, {"trial.set_aside", "trial.promoted", "takeover"}),
    ("cmaes", {"name": "pb2", **POPULATION}, NUMBERS, {"trial.set_aside", "trial.promoted", "takeover"}),
    (
        "optuna.samplers.NSGAIISampler",
        {"class_path": "ray.tune.schedulers.AsyncHyperBandScheduler", "init_args": {"max_t": 6, "reduction_factor": 2}},
        NUMBERS, {"trial.stopped"},
    ),
    ("nsga2", "fifo", NUMBERS, set()),
    ("nsga3", ASHA, NUMBERS, set()),
    (RACE, "fifo", NUMBERS, {"trial.finished"}),
]  # fmt: skip


def _named(part: Any) -> str:
    name = part if isinstance(part, str) else part.get("name") or part["class_path"]
    return str(name).rsplit(".", 1)[-1]


def cases() -> list[Any]:
    """All of them, each under a Ray of its own; and one of them on the Ray that the tests share."""
    own = [pytest.param("own", *sweep, marks=SLOW_RAY, id=f"{_named(sweep[0])}-{_named(sweep[1])}") for sweep in SWEEPS]
    return [pytest.param("shared", *SWEEPS[2], marks=SLOW_RAY, id="parzen-frontier on a cluster"), *own]


@pytest.mark.parametrize(("ray", "searcher", "scheduler", "space", "expected"), cases())
def test_a_sweep_under_ray(
    tmp_path: Path,
    request: pytest.FixtureRequest,
    ray: str,
    searcher: Any,
    scheduler: Any,
    space: dict[str, Any],
    expected: set[str],
) -> None:
    model = {} if space is CHOICES else {"model": "tests.support.population.Watched"}
    grid = {} if searcher == "grid" else {"budget": {"trials": 8}}
    several = {"objective": SEVERAL} if searcher in ("nsga2", "nsga3") else {}
    file = written(
        tmp_path, searcher=searcher, scheduler=scheduler, space=space, trainer={"max_epochs": 6},
        **{**model, "budget": {}, **grid, **several},
    )  # fmt: skip
    address = ["--address", request.getfixturevalue("shared_address")] if ray == "shared" else []
    sweep("launch", file, *address)
    told = Counter("takeover" if "params" in e and e["type"] == "trial.promoted" else e["type"] for e in events())
    assert told["sweep.completed"] == 1
    assert not {type for type in expected if not told[type]}
    assert len(rows()) == told["trial.suggested"] == (4 if searcher == "grid" else 8)
    assert {row["status"] for row in rows()} <= {"finished", "stopped"}
    by = {event["by"] for event in events() if event["type"] == "trial.suggested"}
    assert by == {_named(searcher), *(["random"] if searcher in (PARZEN, DENSITY_RATIO) else [])}
    assert "no violations" in sweep("verify", "tiny"), "every suggestion and decision is derived again"
    assert os.environ["SWEEP_RUNS"]
    if several:
        assert any(row["front"] for row in rows())


def test_none_is_left_out() -> None:
    """A searcher or scheduler that is added comes here too."""
    for part, tried in (("searcher", [s for s, *_ in SWEEPS]), ("scheduler", [r for _, r, *_ in SWEEPS])):
        names = set(registry.names(f"{part}s", installed=False))
        used = {"sampler" if _named(one)[0].isupper() and part == "searcher" else _named(one) for one in tried}
        used = {"ray" if name[0].isupper() else name for name in used}
        assert names == used | {"random" if part == "searcher" else "asha"}
