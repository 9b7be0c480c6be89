"""`sweep simulate`: recorded curves under other searches, against brute force and against the sweep as it was."""

from __future__ import annotations

import json
import math
import random
import re
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator import cli
from orchestrator.engine.learning_curves import Table, synthetic
from orchestrator.engine.recorded_curves import Recorded, of_sweep, of_table
from orchestrator.engine.search_comparison import Figures, compare, figures, recorded_figures
from orchestrator.engine.simulator import simulate
from orchestrator.errors import UsageError
from orchestrator.spec import from_mapping
from orchestrator.state import SweepState
from tests.chaos.simulate import spec
from tests.support.paths import ROOT


def ran(searcher: str = "random", scheduler: str = "fifo", **fields: Any) -> SweepState:
    """A sweep of 12 trials and 6 epochs of a minute each, one after another."""
    described = from_mapping(
        spec(searcher, scheduler, 4, 6).model_dump(mode="json") | {"seed": 0, "budget": {"trials": 12}} | fields
    )
    return simulate(described, curve=synthetic("val_acc", "min"), seconds=lambda params, epoch: 60.0).state


def same_search(recorded: Recorded, **fields: Any) -> Figures:
    """The figures of the sweep's own seed, under its own search or with other fields."""
    return figures(recorded, from_mapping({**recorded.spec, **fields}), 1, 1, lambda text: None)


@pytest.mark.parametrize("scheduler", ["fifo", "asha 2", "asha promote"])
def test_a_search_simulated_on_its_own_curves_is_the_search_as_it_was(scheduler: str) -> None:
    state = ran(scheduler=scheduler)
    recorded = of_sweep("s", state)
    was, again = recorded_figures(recorded, state), same_search(recorded)
    assert (again.trials, again.trained, again.best) == (was.trials, was.trained, was.best)
    assert (again.found, again.regret, again.past_end) == (1.0, 0.0, 0.0)
    assert again.to_best == was.to_best
    assert again.hours == pytest.approx(was.hours, rel=0.05)
    assert again.hours == pytest.approx(again.trained / 60, rel=0.05)


UNITS: dict[str, tuple[Any, dict[str, Any]]] = {
    "half epochs": (None, {"max_epochs": 6, "val_check_interval": 0.5}),
    "steps": ({"unit": "steps", "every": 50, "until": 600}, {}),
    "seconds": ({"unit": "seconds", "every": 10, "until": 120}, {}),
    "counter": ({"unit": "metric:tokens_seen", "every": 1e6, "until": 12e6}, {}),
}


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("scheduler", ["fifo", "asha", {"name": "asha", "promote": True}, "hyperband"])
def test_in_any_unit_and_at_irregular_places_it_is_the_search_as_it_was(unit: str, scheduler: Any) -> None:
    """Each configuration has reported at places of its own; so it does again."""
    progress, trainer = UNITS[unit]
    written = spec("random", "fifo", 4, 6).model_dump(mode="json") | {"seed": 0, "budget": {"trials": 12}}
    described = from_mapping(written | {"progress": progress, "trainer": trainer, "scheduler": scheduler})

    def seconds(params: Any, number: int) -> float:
        return 60.0 * (apart(params, number) - (apart(params, number - 1) if number > 1 else 0))

    state = simulate(described, curve=synthetic("val_acc", "min"), seconds=seconds, places=apart).state
    recorded = of_sweep("s", state)
    was, again = recorded_figures(recorded, state), same_search(recorded)
    assert (again.trials, again.unit, again.best) == (was.trials, state.unit, was.best)
    assert again.trained == pytest.approx(was.trained)
    assert again.trained == pytest.approx(sum(trial.progress for trial in state.trials.values()))
    assert (again.found, again.regret, again.past_end) == (1.0, 0.0, 0.0)
    assert again.to_best == pytest.approx(was.to_best)
    assert again.hours == pytest.approx(was.hours, rel=0.1)


def apart(params: Any, number: int) -> float:
    """Where a configuration reports for the n-th time, in spans."""
    return number + random.Random(f"{sorted(params.items())} {number}").uniform(-0.4, 0.4)


def test_a_value_between_two_reports_is_interpolated() -> None:
    curves: Any = [[{100: {"loss": 4.0}, 300: {"loss": 2.0}, 400: {"loss": math.nan}, 500: {"loss": 1.0}}]] * 2
    recorded = Recorded({}, ran().objective, [{"x": 0.0}, {"x": 1.0}], curves, "steps", [0.5, 2.0])
    params = {"x": 0.1, "repeat": 3}
    assert [recorded.metrics(params, at)["loss"] for at in (50, 100, 200, 250, 300, 450, 500)] == [
        4,
        4,
        3,
        2.5,
        2,
        1,
        1,
    ]
    assert math.isnan(recorded.metrics(params, 350)["loss"])
    assert recorded.past_end == 0
    assert recorded.metrics(params, 600) == {"loss": 1.0}
    assert recorded.past_end == 1
    assert [recorded.place(params, number) for number in (1, 2, 4, 5, 6)] == [100, 300, 500, 600, 700]
    assert (recorded.rate(params), recorded.rate({"x": 0.9})) == (0.5, 2.0)


@pytest.mark.slow
def test_a_search_that_says_how_often_to_report_does_so() -> None:
    progress, trainer = UNITS["steps"]
    written = spec("random", "fifo", 4, 6).model_dump(mode="json") | {"seed": 0, "budget": {"trials": 12}}
    state = simulate(from_mapping(written | {"progress": progress, "trainer": trainer}), places=apart).state
    recorded = of_sweep("s", state)
    denser = same_search(recorded, progress={"unit": "steps", "every": 10, "until": 600})
    assert (denser.trained, denser.past_end) == (12 * 600, 0)
    assert denser.best is not None


def test_epochs_past_the_end_of_a_curve_cost_and_are_counted() -> None:
    state = ran(scheduler="asha 2")
    recorded = of_sweep("s", state)
    trained = sum(len(trial.reports) for trial in state.trials.values())
    whole = same_search(recorded, scheduler={"name": "fifo"})
    diverged = [t for t in state.trials.values() if t.stopped_by.get("rule") == "not_finite"]
    assert not diverged
    assert whole.trained == 12 * 6
    assert whole.past_end == pytest.approx(1 - trained / 72)
    assert whole.best == recorded_figures(recorded, state).best, "what nobody has trained finds nothing"
    assert sum("end early" in note for note in recorded.notes) == 1


def test_seeds_of_a_configuration_keep_their_curves() -> None:
    state = ran(repeats=2)
    recorded = of_sweep("s", state)
    assert len(recorded.configurations) == 6
    assert [len(curves) for curves in recorded.curves] == [2] * 6
    assert same_search(recorded).best == recorded_figures(recorded, state).best


@pytest.mark.slow
def test_rows_come_in_order_and_once() -> None:
    recorded = of_sweep("s", ran("tpe", "asha 2"))
    said: list[str] = []
    found = compare(recorded, ["searcher=sobol", "budget.trials=6"], 2, 2, said.append)
    assert [row.search for row in found] == ["random + fifo", "tpe + asha", "sobol + asha"]
    assert [row.trials for row in found] == [6, 12, 6]
    assert len(said) == 3
    assert [row.search for row in compare(recorded, [], 2, 1, said.append)] == ["random + fifo", "tpe + asha"]
    assert compare(recorded, [], 2, 1, said.append) == compare(recorded, [], 2, 1, said.append), "a seed replays"


def test_a_class_that_only_the_journal_names_is_not_imported() -> None:
    state = ran()
    state.spec = state.spec | {"searcher": {"class_path": "evil.Sampler"}}
    recorded = of_sweep("s", state)
    with pytest.raises(UsageError, match=r"evil\.Sampler is named by the run directory alone"):
        compare(recorded, [], 1, 1, print)
    with pytest.raises(UsageError, match=r"evil\.Sampler is named by"):
        compare(recorded, ["searcher.init_args={}"], 1, 1, print)
    assert compare(recorded, ["searcher=random"], 1, 1, print)
    assert recorded_figures(recorded, state).search == "as it was: Sampler + fifo"


def brute_nearest(rows: list[dict[str, Any]], asked: dict[str, Any]) -> int:
    """The nearest row by the definition, one parameter at a time."""

    def apart(name: str, one: dict[str, Any], other: dict[str, Any]) -> float:
        if (name in one) != (name in other):
            return 1.0
        if name not in one:
            return 0.0
        if isinstance(one[name], str):
            return float(one[name] != other[name])
        values = [row[name] for row in rows if name in row]
        f = math.log if min(values) > 0 and max(values) >= 100 * min(values) else float
        return ((f(one[name]) - f(other[name])) / ((f(max(values)) - f(min(values))) or 1.0)) ** 2

    names = {name for row in rows for name in row}
    return min(range(len(rows)), key=lambda row: round(sum(apart(name, rows[row], asked) for name in names), 9))


def drawn(rng: random.Random) -> dict[str, Any]:
    params: dict[str, Any] = {"rate": 10 ** rng.uniform(-4, 0), "width": rng.randint(1, 9), "kind": rng.choice("abc")}
    return params | ({"momentum": rng.random()} if params["kind"] == "a" else {})


def test_the_nearest_row_is_that_of_brute_force() -> None:
    for seed in range(40):
        rng = random.Random(seed)
        rows = [drawn(rng) for _ in range(rng.randint(1, 20))]
        rows = rows if any("momentum" in row for row in rows) else [*rows, {**rows[0], "momentum": 0.5}]
        table = Table(rows)
        for _ in range(10):
            asked = drawn(rng)
            assert table.nearest(asked) == brute_nearest(rows, asked), (seed, asked)
        assert [rows[table.nearest(row)] for row in rows] == rows
    assert Table([{}, {}]).nearest({}) == 0


def test_the_nearest_of_ten_thousand_is_found_in_milliseconds() -> None:
    rng = random.Random(0)
    table = Table([drawn(rng) for _ in range(10_000)])
    began = time.process_time()
    for _ in range(100):
        table.nearest(drawn(rng))
    assert time.process_time() - began < 2.0  # 0.2 s; by loops in Python it took 4 s


def save(file: Path, **arrays: Any) -> Path:
    np.savez(file, **{name.replace("__", "/"): array for name, array in arrays.items()})
    return file


def test_what_is_no_table_is_said(tmp_path: Path) -> None:
    valid, params = np.ones((3, 2)), np.ones((3, 1))
    text = tmp_path / "text.npz"
    text.write_text("no archive")
    for file, said in (
        (tmp_path / "none.npz", "cannot be read"),
        (text, "cannot be read"),
        (save(tmp_path / "empty.npz"), "holds 0 tasks"),
        (save(tmp_path / "bare.npz", a__valid=valid), "cannot be read"),
        (save(tmp_path / "two.npz", a__valid=valid, a__params=params, b__valid=valid), "holds 2 tasks"),
        (save(tmp_path / "odd.npz", a__valid=valid, a__params=params[:2]), "losses for"),
        (save(tmp_path / "flat.npz", a__valid=valid[0], a__params=params), "losses for"),
        (save(tmp_path / "objects.npz", a__valid=np.array([None]), a__params=params), "cannot be read"),
    ):
        with pytest.raises(UsageError, match=said):
            of_table(file, None)
    with pytest.raises(UsageError, match="has no task 'c'"):
        of_table(tmp_path / "two.npz", "c")


def test_a_table_with_diverged_curves_is_searched(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    valid = rng.uniform(size=(30, 5))
    valid[::3, 1:] = np.nan
    valid[0] = np.nan
    recorded = of_table(save(tmp_path / "t.npz", a__valid=valid, a__params=rng.normal(size=(30, 2))), None)
    assert recorded.best == np.nanmin(valid)
    random_search = compare(recorded, ["budget.trials=20"], 3, 4, print)[0]
    assert random_search.hours is None
    assert random_search.best is not None
    assert random_search.best >= recorded.best
    assert random_search.trained < 100, "those that diverge are stopped"


def test_a_sweep_without_curves_is_refused() -> None:
    with pytest.raises(UsageError, match="fewer than two configurations"):
        of_sweep("s", ran(budget={"trials": 1}))


@pytest.mark.slow
@pytest.mark.timeout(600)  # it trains six small networks: half a minute on idle cores
@pytest.mark.filterwarnings("ignore::UserWarning:lightning")
def test_the_page_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Every file, snippet and command of docs/simulate.md."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SWEEP_RUNS", str(tmp_path / "runs"))
    page = (ROOT / "docs/simulate.md").read_text()
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    outputs: dict[str, str] = {}
    for language, text in blocks:
        if language == "yaml":
            Path("digits-seeds.yaml").write_text(text)
        elif language == "python":
            exec(text, {})
        for command in text.splitlines() if language == "console" else ():
            outputs[command] = told(command, monkeypatch, capsys)
    header = "search workers seeds trials epochs hours val_acc found best after epochs regret past end"
    tables = [" ".join(output.split()) for command, output in outputs.items() if "--scheduler asha" in command]
    assert header in tables[0]
    assert "as it was: density_ratio + guarded_asha" in tables[0]
    assert "n = 2; place " in next(output for command, output in outputs.items() if " why " in command)
    answers = [json.loads(output) for command, output in outputs.items() if "--json" in command]
    assert [row["search"] for row in answers[0]["searches"]][1:] == [
        "random + fifo",
        *["density_ratio + guarded_asha"] * 2,
    ]
    assert answers[0]["searches"][3]["trials"] == 12
    assert answers[1]["searches"][-1]["search"] == "sobol + fifo"
    assert header.replace("val_acc", "valid") in " ".join(page.split())


def told(command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What a documented command prints."""
    monkeypatch.setattr(sys, "argv", command.removeprefix("$ ").split())
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    assert not ended.value.code, (command, out, err)
    return str(out)
