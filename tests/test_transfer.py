"""Tune small, transfer large: proposals from sweeps whose optima follow known laws."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import orchestrator
from orchestrator.cli import app
from orchestrator.engine.simulator import simulate
from orchestrator.errors import UsageError
from orchestrator.journal.records import encode
from orchestrator.results.size_law import LEVEL, by_chance, fewest_trials, law, optima
from orchestrator.results.transfer import proposal
from orchestrator.spec import from_mapping, load
from orchestrator.state import SweepState

SPACE: dict[str, Any] = {
    "model.learning_rate": {"log_uniform": [1e-4, 1e-1]},
    "model.momentum": {"uniform": [0.5, 1.0]},
    "data.batch_size": {"choice": [16, 32]},
}
DRIFTS = {32: 1e-2, 64: 1e-3, 128: 8e-3}


def rate(width: float) -> float:
    """The law: the best learning rate falls as the width rises."""
    return 0.3 / width


@cache
def swept(width: int | None, trials: int, rates: tuple[tuple[int, float], ...]) -> Any:
    """A simulated sweep of one width, or with the width as a parameter."""
    space, args = (SPACE, {"width": width}) if width else ({**SPACE, "model.width": {"choice": [32, 64]}}, {})
    described = from_mapping(
        {
            "name": f"small-{width}", "seed": width or 1, "objective": {"metric": "loss", "mode": "min"},
            "model": {"class_path": "nowhere.Never", "init_args": args}, "data": "nowhere.Data",
            "trainer": {"max_epochs": 9}, "space": space, "searcher": "random", "scheduler": "guarded_asha",
            "budget": {"trials": trials},
        }
    )  # fmt: skip

    def curve(params: Mapping[str, Any], epoch: float) -> dict[str, float]:
        size = params.get("model.width", width)
        away = math.log10(params["model.learning_rate"] / dict(rates).get(size, rate(size)))
        bowl = away**2 + 9 * (params["model.momentum"] - 0.8) ** 2 + 0.02 * (params["data.batch_size"] == 32)
        return {"loss": 1 + bowl + math.exp(-epoch / 3)}

    return simulate(described, curve=curve)


def sweep(width: int | None, trials: int = 40, rates: tuple[tuple[int, float], ...] = ()) -> SweepState:
    state: SweepState = swept(width, trials, rates).state
    return state


def test_a_power_law_gives_a_start_point_and_a_narrower_range() -> None:
    found = proposal([sweep(width) for width in (64, 32, 128)], "width", 256)
    assert (found.parameter, found.size) == ("model.width", 256)
    assert list(found.trials) == [32, 64, 128]
    moved = {each.name: each for each in found.moved}["model.learning_rate"]
    assert moved.refused == ""
    assert moved.exponent.low <= -1 <= moved.exponent.high
    assert moved.exponent.high - moved.exponent.low < 1
    assert moved.predicted.low <= rate(256) <= moved.predicted.high
    assert moved.low < rate(256) < moved.high
    assert moved.high / moved.low < 1000 / 10, "the range was three decades"
    assert all(at.low <= rate(size) <= at.high for size, at in moved.optima.items())
    assert found.points[0]["model.learning_rate"] == moved.predicted.middle
    assert found.left == ["data.batch_size"]


def test_what_is_proposed_is_a_sweep_file_of_the_new_size(tmp_path: Path) -> None:
    found = proposal([sweep(width) for width in (32, 64, 128)], "model.width", 256)
    file = tmp_path / "large.yaml"
    file.write_text(found.sweep_file())
    spec = load(file)
    assert spec == found.spec
    assert spec.model.init_args["width"] == 256
    assert (spec.searcher.name, spec.scheduler.name) == ("random", "guarded_asha")
    assert spec.searcher.model_dump()["try_first"] == found.points
    assert spec.space["data.batch_size"].to_yaml() == SPACE["data.batch_size"]
    assert all(spec.space.contains(point) for point in found.points)


def test_an_optimum_that_drifts_is_refused_by_name_and_the_others_are_not() -> None:
    found = proposal([sweep(width, 40, tuple(DRIFTS.items())) for width in DRIFTS], "width", 256)
    moved = {each.name: each for each in found.moved}
    assert "it drifts" in moved["model.learning_rate"].refused
    assert moved["model.momentum"].refused == ""
    assert moved["model.momentum"].predicted.low <= 0.8 <= moved["model.momentum"].predicted.high
    domains = found.spec.space.to_yaml()
    assert domains["model.learning_rate"] == SPACE["model.learning_rate"], "it stays whole"
    assert domains["model.momentum"] != SPACE["model.momentum"]


def test_a_transfer_of_nothing_says_why_of_each_parameter() -> None:
    alone = []
    for width, best in DRIFTS.items():

        def curve(params: Mapping[str, Any], epoch: float, best: float = best) -> dict[str, float]:
            return {"loss": math.log10(params["model.learning_rate"] / best) ** 2}

        space = {"model.learning_rate": SPACE["model.learning_rate"]}
        alone.append(simulate(from_mapping({**sweep(width).spec, "space": space}), curve=curve).state)
    with pytest.raises(
        UsageError, match=r"no parameter can be transferred to width 256: model.learning_rate: it drift"
    ):
        proposal(alone, "width", 256)


def test_one_sweep_with_the_size_as_a_parameter_will_do() -> None:
    found = proposal([sweep(None, 90)], "width", 128)
    assert list(found.trials) == [32, 64]
    assert found.spec.space["model.width"].to_yaml() == {"const": 128}
    assert all("model.width" not in point for point in found.points)
    assert "two sizes lie on a line in any case" in found.notices[0]


@pytest.mark.parametrize(
    ("states", "name", "size", "says"),
    [
        ([(32, 40), (64, 12)], "width", 128, r"too few trials with a value: size 64 has 12, and 18 are needed"),
        ([(32, 40)], "width", 128, "needs two sizes or more, but has 32"),
        ([(32, 40), (32, 41)], "width", 128, "two sweeps have model.width 32"),
        ([(32, 40), (64, 40)], "width", 64, "a sweep of size 64 already"),
        ([(32, 40), (64, 40)], "depth", 64, "the sweep small-32 does not say its depth"),
        ([(32, 40), (64, 40)], "width", 100_000, "too far from the sizes 32, 64"),
    ],
)
def test_what_is_too_thin_is_refused(states: Any, name: str, size: float, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        proposal([sweep(*each) for each in states], name, size)


def test_flat_and_edge_optima_are_refused() -> None:
    rng = np.random.default_rng(0)
    for losses, says in (
        (lambda x: 0.01 * rng.standard_normal(len(x)), "do not tell its optimum"),
        (lambda x: (x - 1.4) ** 2, "lies at the edge of its range"),
    ):
        draws = []
        for _ in range(2):
            points = rng.uniform(-1, 1, (30, 1))
            draws.append(optima(points, np.zeros((30, 0)), losses(points[:, 0]), rng)[:, 0])
        assert says in law(draws, [32, 64], 128).refused


def test_the_command_prints_a_sweep_file_and_explains_on_stderr(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWEEP_RUNS", str(tmp_path / "runs"))
    for width in (32, 64):
        run = tmp_path / "runs" / f"small-{width}"
        run.mkdir(parents=True)
        (run / "journal.jsonl").write_bytes(b"".join(map(encode, swept(width, 40, ()).events)))
    command = ["transfer", "small-32", "small-64", "--to", "width=128"]
    ran = CliRunner().invoke(app, command, catch_exceptions=False)
    (tmp_path / "large.yaml").write_text(ran.stdout)
    assert load(tmp_path / "large.yaml").model.init_args["width"] == 128
    assert "model.learning_rate: optimum" in ran.stderr
    written = json.loads(CliRunner().invoke(app, [*command, "--json"], catch_exceptions=False).stdout)
    assert from_mapping(written["spec"]) == load(tmp_path / "large.yaml")
    assert written["level"] == LEVEL
    assert orchestrator.transfer(["small-32", "small-64"], {"width": 128}).points == written["points"]
    with pytest.raises(UsageError, match="names no size"):
        CliRunner().invoke(app, [*command[:-1], "width"], catch_exceptions=False)
    with pytest.raises(UsageError, match="is no size"):
        orchestrator.transfer(["small-32", "small-64"], {"width": -1})


def test_the_probability_of_squares_is_that_of_chi_square() -> None:
    from scipy.stats import chi2

    for freedom in range(1, 7):
        assert by_chance(3.7, freedom) == pytest.approx(chi2.sf(3.7, freedom))
    assert by_chance(3.7, 0) == 1


@pytest.mark.slow
def test_the_interval_holds_the_optimum_of_the_new_size() -> None:
    """Laws with slopes of their own, parameters that depend on each other, and losses with an error."""
    held, drifting = list[bool](), list[str]()
    for seed in range(150):
        rng = np.random.default_rng(seed)
        slope, sizes, error = rng.uniform(-0.4, 0.4), [32, 64, 128], rng.uniform(0.02, 0.3)
        aside, middle = rng.uniform(-0.4, 0.4), rng.uniform(-0.2, 0.2)

        def draws(at: list[float], rng: Any = rng, error: float = error, aside: float = aside) -> list[Any]:
            found = []
            for best in at:
                points = rng.uniform(-1, 1, (2 * fewest_trials(2), 2))
                one, other = (points - [best, aside]).T
                losses = np.expm1(2 * one**2 + other**2 + 0.8 * one * other) + error * rng.standard_normal(len(one))
                found.append(optima(points, np.zeros((len(one), 0)), losses, rng)[:, 0])
            return found

        line = [middle + slope * math.log(size / 64) for size in (*sizes, 256)]
        found = law(draws(line[:3]), sizes, 256)
        held += [found.predicted.low <= line[3] <= found.predicted.high] if not found.refused else []
        drifting.append(law(draws([0.5, -0.5, 0.5]), sizes, 256).refused)
    assert len(held) > 75
    assert 0.85 <= np.mean(held) <= 1.0
    assert all(drifting)
    assert np.mean(["it drifts" in refused for refused in drifting]) >= 0.8
