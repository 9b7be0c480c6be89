"""Runs compared: at equal progress and cost, with the intervals of their winners, and what their specs differ in."""

from __future__ import annotations

import http.client
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import UsageError
from orchestrator.journal import Event, encode
from orchestrator.page.followed_runs import FollowedRuns
from orchestrator.page.server import Server
from orchestrator.results.figures.compared import best_by_training, winners
from orchestrator.results.report import write_comparison
from orchestrator.results.run_comparison import Comparison, Standing, compare_runs, rows_of, spec_differences
from orchestrator.rundir import RunDirectory
from orchestrator.spec import from_mapping
from tests.support.hostile_names import Elements, hostile_run, names


def run_of(
    folder: Path, name: str, curves: Sequence[Sequence[float]], *, mode: str = "max", **fields: Any
) -> RunDirectory:
    """A run whose trials, one after the other, report these values at epochs 1, 2, …"""
    base = {
        "name": name, "objective": {"metric": "score", "mode": mode}, "model": "nowhere.Never",
        "trainer": {"max_epochs": 9}, "space": {"model.x": {"uniform": [0, 1]}}, "searcher": "random",
        "scheduler": "fifo", "budget": {"trials": max(1, len(curves))},
    }  # fmt: skip
    spec = from_mapping(base | fields)
    told: list[tuple[str, dict[str, Any]]] = [
        ("sweep.created", {"format": 1, "spec": spec.model_dump(mode="json"), "seed": 0, "versions": {}}),
        ("sweep.launched", {"engine": "local", "slots": 1, "threads": 1}),
    ]
    seeds = spec.repeats.seeds
    for trial, curve in enumerate(curves):
        x = trial // seeds / 100
        told.append(("trial.suggested", {"trial": trial, "params": {"model.x": x}, "by": "random"}))
        if trial % seeds:
            told[-1][1]["repeats"] = trial - trial % seeds
        told.append(("segment.started", {"trial": trial, "segment": 0, "node": "a", "origin": None}))
        told += [
            ("segment.reported", {"trial": trial, "segment": 0, "epoch": epoch, "metrics": {"score": value}})
            for epoch, value in enumerate(curve, 1)
        ]
        told.append(("trial.finished", {"trial": trial, "segment": 0, "epoch": len(curve)}))
    told.append(("sweep.completed", {"reason": "all trials ended"}))
    events = [Event(seq, 1, 1_700_000_000.0 + seq, type, values) for seq, (type, values) in enumerate(told)]
    run = RunDirectory(folder / name)
    run.root.mkdir(parents=True)
    Path(run.journal).write_bytes(b"".join(map(encode, events)))
    return run


def compared(*runs: RunDirectory) -> Comparison:
    from orchestrator.results.run_state import read_state

    return compare_runs([(run, read_state(run)) for run in runs])


def test_values_are_compared_where_all_runs_have_come(tmp_path: Path) -> None:
    long = run_of(tmp_path, "long", [[0.1, 0.2, 0.3, 0.9], [0.2, 0.4, 0.5, 0.6]])
    short = run_of(tmp_path, "short", [[0.3, 0.35], [0.45, 0.1], [0.2, 0.2]])
    found = compared(long, short)
    assert [each.best for each in found.runs] == [Standing(0.9, 0), Standing(0.45, 1)]
    assert (found.progress, found.training, found.seconds) == (2, 6, None)
    # Up to epoch 2 the second trial of `long` was its best; after 6 epochs of training it was at its epoch 2.
    assert [each.at_progress for each in found.runs] == [Standing(0.4, 1), Standing(0.45, 1)]
    assert [each.at_training for each in found.runs] == [Standing(0.9, 0), Standing(0.45, 1)]
    assert found.runs[1].spent == [(1, 0.3), (2, 0.35), (3, 0.45), (6, 0.45)]
    assert [words.partition(":")[0] for words, _ in rows_of(found)] == ["at equal progress", "at equal training"]


def test_cost_counts_every_trial_before(tmp_path: Path) -> None:
    few = run_of(tmp_path, "few", [[0.5, 0.6]], mode="min")
    many = run_of(tmp_path, "many", [[0.9], [0.8], [0.1], [0.05]], mode="min")
    found = compared(few, many)
    assert found.training == 2
    assert [each.at_training for each in found.runs] == [Standing(0.5, 0), Standing(0.8, 1)]
    assert found.verdict()[0] == "many leads: score 0.05 in trial 3."


def test_intervals_say_whether_a_difference_is_clear(tmp_path: Path) -> None:
    def repeated(name: str, values: Sequence[float]) -> RunDirectory:
        return run_of(tmp_path, name, [[value] for value in (*values, 0.1, 0.11, 0.12)], repeats=3)

    good, near, bad = (
        repeated(name, values)
        for name, values in (("good", (0.90, 0.91, 0.92)), ("near", (0.90, 0.905, 0.92)), ("bad", (0.5, 0.51, 0.52)))
    )
    found = compared(good, bad)
    interval = found.runs[0].interval
    assert interval
    assert interval.mean == pytest.approx(0.91)
    assert (interval.n, interval.source) == (3, "seeds")
    assert 0.89 < interval.low < 0.91 < interval.high < 0.93
    assert found.verdict()[1] == "The intervals of good and bad do not overlap: the difference is clear."
    assert compared(good, near).verdict()[1].endswith("overlap: the difference is not clear.")
    single = run_of(tmp_path, "single", [[0.99]])
    assert compared(good, single).verdict()[1].startswith("Not confirmed: single.")


def test_another_objective_or_unit_is_named_and_not_compared(tmp_path: Path) -> None:
    one, other = run_of(tmp_path, "one", [[0.5]]), run_of(tmp_path, "other", [[0.1]], mode="min")
    found = compared(one, other)
    assert (found.names, found.others) == (["one"], {"other": "score (min)"})
    assert found.verdict()[-1] == "other is not compared: its objective is score (min)."


def test_specs_differ_by_field_and_domains_are_one(tmp_path: Path) -> None:
    one = {"name": "a", "seed": 1, "space": {"x": {"uniform": [0, 1]}}, "budget": {"trials": 4, "epochs": None}}
    two = {"name": "b", "seed": 2, "space": {"x": {"uniform": [0, 2]}, "y": {"choice": [1]}}, "budget": {"trials": 4}}
    assert spec_differences([one, two]) == {
        "space.x": ['{"uniform": [0, 1]}', '{"uniform": [0, 2]}'],
        "space.y": ["–", '{"choice": [1]}'],
    }
    run = run_of(tmp_path, "same", [[0.5]])
    again = run_of(tmp_path, "again", [[0.6]])
    assert compared(run, again).differences == {}


def test_runs_without_values_are_compared_too(tmp_path: Path) -> None:
    empty, void = run_of(tmp_path, "empty", []), run_of(tmp_path, "void", [])
    found = compared(empty, void)
    assert found.verdict() == ["No run has a finite score yet."]
    assert (winners(found), best_by_training(found), rows_of(found)) == (None, None, [])


def test_the_page_and_the_file_say_the_same(tmp_path: Path) -> None:
    runs = [run_of(tmp_path, "one", [[0.5, 0.6]]), run_of(tmp_path, "two", [[0.7]], seed=3, budget={"trials": 9})]
    file = write_comparison(runs)
    assert file == tmp_path / "one" / "comparison.html"
    written = file.read_text(encoding="utf-8")
    assert "two leads: score 0.7 in trial 0." in written
    assert "budget.trials" in written
    assert "default-src 'none'" in written
    with Server(FollowedRuns(tmp_path)) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        program = {"Authorization": f"Bearer {server.tokens.value}"}
        connection.request("GET", "/compare?run=one&run=two", headers=program)
        page = connection.getresponse().read().decode()
        connection.close()
    for id in ("equal", "specs"):
        begin = f'<section id="{id}"'
        assert (
            page.partition(begin)[2].partition("</section>")[0]
            == written.partition(begin)[2].partition("</section>")[0]
        )
    with pytest.raises(UsageError, match="2 to 20 different runs"):
        write_comparison([runs[0], runs[0]])
    with pytest.raises(UsageError, match="a page of HTML"):
        write_comparison(runs, tmp_path / "a.md")


def test_hostile_runs_are_compared_as_text(tmp_path: Path) -> None:
    elements = []
    for name, listed in (("plain", [f"n{number}" for number in range(60)]), ("hostile", names(60))):
        pair = [hostile_run(tmp_path / name, listed, name=f"{name}{number}") for number in (1, 2)]
        text = write_comparison(pair, tmp_path / f"{name}.html").read_text(encoding="utf-8")
        elements.append(Elements(text.partition("<script>")[0]).found)
    assert elements[1] <= elements[0]


def test_twenty_runs_have_lines_that_can_be_told_apart(tmp_path: Path) -> None:
    runs = [run_of(tmp_path, f"run{number:02d}", [[number / 100, number / 50]]) for number in range(20)]
    figure = best_by_training(compared(*runs))
    assert figure
    styles = {(line.line.color, line.line.dash) for line in figure.plot.data}
    assert len(styles) == 20
