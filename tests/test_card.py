"""What stands beside the model: the card with its lines for the Hub, and the learning curve."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from orchestrator.export.bundle_records import config
from orchestrator.export.curve_figure import SIZE_INCHES, curve
from orchestrator.export.model_card import card
from orchestrator.export.validation_samples import Validation
from orchestrator.export.write_formats import Exported
from orchestrator.results.run_state import read_state
from orchestrator.results.winner import Winner, winner
from orchestrator.state import Best, Objective, Report, SweepState, Trial
from orchestrator.sweep import Outcome, launch
from tests.support.markers import examples
from tests.support.small_sweeps import spec as described

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return launch(described(budget={"trials": 2}), tmp_path_factory.mktemp("runs"), local=True)


def written(swept: Outcome, state: SweepState, won: Winner) -> str:
    exported = Exported(Validation(None, "nobody read it"), missing={"onnx": "no way"})
    return card(swept.run, state, won, config(won), exported)


def test_the_card_says_what_was_searched_and_that_nothing_was_confirmed(swept: Outcome) -> None:
    state = read_state(swept.run)
    won = winner(swept.run, state)
    text = written(swept, state, won)
    head = YAML(typ="safe").load(text.split("---")[1])
    assert head["library_name"] == "lightning"
    assert head["model-index"][0]["results"][0]["metrics"][0]["value"] == won.best.value
    for said in (
        "| confirmed | not confirmed |",
        "| test data | not evaluated |",
        f"{won.best.value:.4g}",
        "tests.support.tiny.TinyData",
        f"trials 2, epochs {state.epochs}",
        '| model.learning_rate | {"log_uniform": [0.001, 0.5]} |',
        f"Seed of the trial: {config(won)['seed']}",
        "without onnx: no way",
        "never run on test data",
        "![Learning curve](learning_curve.svg)",
    ):
        assert said in text


def test_the_card_says_what_was_confirmed_and_every_look(swept: Outcome) -> None:
    state = read_state(swept.run)
    won = replace(winner(swept.run, state), confirmed=True)
    row = {"configuration": 1, "searched": 0.25, "values": [0.3, 0.32, 0.34], "failed": 0, "mean": 0.32}
    state.confirmation = {
        **{"level": 0.9, "clear": False, "confidence": 0.95, "optimism": 0.07, "first": 1},
        "winner": {"configuration": 1, "trial": 12, "epoch": 9, "value": 0.3},
        "table": [
            {**row, "low": 0.29, "high": 0.35, "probability": 0.8},
            {**row, "configuration": 0, "mean": 0.33, "low": 0.3, "high": 0.36, "probability": 0.2},
        ],
    }
    first = {"look": 1, "run": "tiny", "trial": 1, "epoch": 3, "metrics": {"test_loss": 0.41}, "time": 0.0}
    state.test_evaluations = [first, {**first, "look": 2, "metrics": None}]
    text = written(swept, state, won)
    assert "not clear yet" in text
    assert "val_loss 0.32 over 3 fresh trainings, 90% interval 0.29 to 0.35" in text
    assert "0.25 of trial 1, was 0.07 better than the mean" in text
    assert "optimistic) | 0.25 |" in text
    assert "test_loss 0.41 (trial 1 of tiny, epoch 3; 2 evaluations so far)" in text


def drawn(metrics: list[dict[str, float]], metric: str, mode: Any = "min") -> ElementTree.Element:
    trial = Trial(7, {}, "tpe", 7)
    trial.reports = {epoch: Report(epoch, said, 0, 0.0, epoch=epoch) for epoch, said in enumerate(metrics, 1)}
    state = SweepState()
    state.set_spec({"name": "a <&> b", "objective": {"metric": metric, "mode": mode}})
    best = Objective(metric, mode).best(trial)
    return ElementTree.fromstring(curve(Winner(None, state, trial, best or Best(1, 0.0), None)))  # type: ignore[arg-type]


def texts(root: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in root.iter() if element.tag.endswith("text")]


def points(root: ElementTree.Element, name: str) -> list[tuple[float, float]]:
    """The points of a metric's line, in the figure's units."""
    (group,) = [element for element in root.iter() if element.get("id") == f"line-{name}"]
    paths = " ".join(str(element.get("d")) for element in group.findall("{*}path"))
    return [(float(x), float(y)) for x, y in re.findall(r"[ML] (\S+) (\S+)", paths)]


def test_the_curve_shows_objective_and_losses_and_marks_the_best_epoch() -> None:
    values = [0.5, 0.7, 0.9, 0.8]
    root = drawn([{"val_acc": value, "val_loss": 1 - value, "train_loss": 0.1} for value in values], "val_acc", "max")
    assert {"val_acc", "losses", "val_loss", "train_loss", "epoch", "0.9 at epoch 3"} <= set(texts(root))
    assert [len(points(root, name)) for name in ("val_acc", "val_loss", "train_loss")] == [4, 4, 4]
    (best,) = [element for element in root.iter() if element.get("id") == "best"]
    mark = next(element for element in best.iter() if element.tag.endswith("use"))
    assert (float(str(mark.get("x"))), float(str(mark.get("y")))) == points(root, "val_acc")[2]
    heights = [y for _, y in points(root, "val_acc")]
    assert heights == [*sorted(heights, reverse=True)[:2], min(heights), *heights[3:]], "a higher value is drawn higher"


numbers = st.floats(allow_nan=True, allow_infinity=True) | st.floats(-10, 10)


@pytest.mark.slow
@settings(max_examples=examples(5), deadline=None)
@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=30))
def test_any_curve_is_xml_with_every_point_inside(values: list[tuple[float, float]]) -> None:
    root = drawn([{"val_loss": loss, "train_loss": other} for loss, other in values], "val_loss")
    _, _, width, height = map(float, str(root.get("viewBox")).split())
    assert (width, height) == (72 * SIZE_INCHES[0], 72 * SIZE_INCHES[1])
    for x, y in points(root, "val_loss") + points(root, "train_loss"):
        assert 0 <= x <= width
        assert 0 <= y <= height


def test_the_curve_is_a_picture_of_its_own() -> None:
    root = drawn([{"val_loss": 1.0}], "val_loss")
    assert "1 at epoch 1" in texts(root)
    links = [value for element in root.iter() for key, value in element.attrib.items() if key.endswith("href")]
    assert all(link.startswith("#") for link in links)
    assert not [element for element in root.iter() if element.tag.endswith(("script", "image", "foreignObject"))]


def test_the_same_curve_gives_the_same_bytes() -> None:
    reports = [{"val_loss": 1.0 / epoch, "a $x_1$ <metric> \x01 日本": 1.0} for epoch in (1, 2, 3)]
    first, second = (ElementTree.tostring(drawn(reports, "a $x_1$ <metric> \x01 日本")) for _ in range(2))
    assert first == second
    assert "a $x_1$ &lt;metric&gt; \\x01 日本" in first.decode("ascii").replace("&#26085;&#26412;", "日本")
