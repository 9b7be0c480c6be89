"""A value is the same in a sweep file, in Python, in the journal, in a worker's order and under --local."""

from __future__ import annotations

import json
import tempfile
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor
from torch import nn

from orchestrator import Sweep, choice, codec, const, log_uniform, uniform
from orchestrator.errors import CodecError, SpecError
from orchestrator.journal import Event, decode, encode
from orchestrator.spec import SweepSpec, apply, from_mapping, load, to_yaml
from orchestrator.training import Job, class_loading
from orchestrator.training.class_loading.argument_types import accepts
from tests.support.codec_values import PLAIN_VALUES, Colour, Mode, Point, Word, double, same
from tests.support.markers import examples
from tests.support.odd_state import Phase, Strict
from tests.support.tiny import TinyData

HOLDER = "tests.support.codec_values.Holder"
TYPED = "tests.support.codec_values.Typed"


def _sweep(**fields: Any) -> SweepSpec:
    base = {"name": "v", "model": HOLDER, "objective": ("val_loss", "min"), "searcher": "random", "budget": 1}
    return Sweep(**{**base, **fields}).spec


def _through_a_file(spec: SweepSpec) -> SweepSpec:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "sweep.yaml").write_text(to_yaml(spec), encoding="utf-8")
        return load(Path(folder) / "sweep.yaml")


def _through_the_journal(spec: SweepSpec) -> SweepSpec:
    fields = {"spec": spec.model_dump(mode="json")}
    return SweepSpec.model_validate(decode(encode(Event(0, 1, 0.0, "sweep.created", fields)))["spec"])


def _in_a_trial(spec: SweepSpec, params: dict[str, Any]) -> Any:
    """The user's object in a worker, to which the order came as text; --local takes the same way."""
    model, _, trainer = apply(spec, params)
    job = Job(0, 0, 0, "val_loss", model.model_dump(), None, trainer, "/runs/v/trials/0000")
    return class_loading.build(Job.from_text(job.to_text()).model)


@given(PLAIN_VALUES)
@settings(max_examples=examples(40), deadline=None)
def test_a_value_is_the_same_on_every_way_to_the_users_code(value: Any) -> None:
    given = _sweep(
        space={"model.value": const(value)},
        searcher={"name": "random", "try_first": [{"model.value": value}]},
        model={"class_path": HOLDER, "init_args": {"colour": value}},
    )
    for spec in (given, _through_a_file(given), _through_the_journal(given)):
        assert spec == given
        [params] = spec.space.grid()
        assert spec.space.contains({"model.value": value})
        for point in (params, json.loads(json.dumps(params)), spec.searcher.try_first[0]):  # type: ignore[attr-defined]
            held = _in_a_trial(spec, point)
            assert same(held.value, value)
            assert same(held.colour, value)


def test_no_code_of_a_value_runs_and_a_later_change_of_it_changes_no_sweep() -> None:
    """A copy of such a word calls its class; the lists in a deque and in a tuple are the user's own."""
    inner, word = [1], Word("a", "b")
    spec = _sweep(
        model={"class_path": HOLDER, "init_args": {"value": deque([word, inner]), "colour": (inner,)}},
        trainer={"callbacks": [{"class_path": "a.B", "init_args": {"x": inner}}]},
        space={"model.dims": choice((inner, word), [inner])},
        searcher={"name": "random", "try_first": [{"model.dims": (inner, word)}]},
    )
    before = spec.model_dump_json()
    inner.append(2)
    assert spec.model_dump_json() == before
    held = _in_a_trial(spec, next(iter(spec.space.grid())))
    assert same([held.value, held.colour, held.dims], [deque([word, [1]]), ([1],), ([1], word)])


def test_a_tuple_of_a_choice_is_a_tuple_in_the_trial() -> None:
    spec = _sweep(space={"model.dims": choice((16,), (16, 16))})
    assert [_in_a_trial(spec, params).dims for params in spec.space.grid()] == [(16,), (16, 16)]


def test_a_list_in_a_file_becomes_what_an_argument_without_annotation_has_by_default(tmp_path: Path) -> None:
    text = (
        "objective: {metric: a, mode: min}\n"
        f"model: {{class_path: {HOLDER}, init_args: {{folder: b, colour: BLUE}}}}\n"
        "space: {model.dims: {choice: [[8], [8, 8]]}}\n"
    )
    (tmp_path / "a.yaml").write_text(text)
    spec = load(tmp_path / "a.yaml")
    held = [_in_a_trial(spec, params) for params in spec.space.grid()]
    assert [item.dims for item in held] == [(8,), (8, 8)]
    assert (held[0].folder, held[0].colour) == (Path("b"), Colour.BLUE)


def test_a_file_writes_tags_and_keys_that_are_numbers(tmp_path: Path) -> None:
    text = (
        f"objective: {{metric: a, mode: min}}\nmodel:\n  class_path: {HOLDER}\n  init_args:\n"
        "    value: {1: a, 2.5: {true: [.inf]}, null: {$tuple: [1, {$class: torch.nn.ReLU}]}, '3': $x}\n"
        "space: {model.dims: {choice: [{$tuple: [1]}, {$enum: tests.support.codec_values.Colour.BLUE}]}}\n"
    )
    (tmp_path / "a.yaml").write_text(text)
    spec = load(tmp_path / "a.yaml")
    held = [_in_a_trial(spec, params) for params in spec.space.grid()]
    assert same(held[0].value, {1: "a", 2.5: {True: [float("inf")]}, None: (1, nn.ReLU), "3": "$x"})
    assert [item.dims for item in held] == [(1,), Colour.BLUE]
    assert load(tmp_path / "a.yaml") == _through_a_file(spec).model_copy(update={"name": "a"})


def test_python_values_of_a_ray_tune_space_are_taken() -> None:
    spec = _sweep(
        model={"class_path": _typed(), "init_args": {"norm": double}},
        space={
            "model.rate": choice(*np.logspace(-3, -1, 3)),
            "model.width": choice(np.array([8, 16])),
            "model.act": choice(nn.ReLU, nn.GELU),
            "trainer.gradient_clip_val": log_uniform(1e-3, np.float32(1e-1)),  # type: ignore[arg-type]
            "trainer.accumulate_grad_batches": uniform(np.float64(0.5), np.int64(2)),  # type: ignore[arg-type]
        },
    )
    params = spec.space.at([0.99] * 5)
    held = _in_a_trial(spec, params)
    assert same((held.rate, held.width, held.act), (np.float64(0.1), np.int64(16), nn.GELU))
    assert held.norm is double
    assert type(params["trainer.gradient_clip_val"]) is float
    assert codec.display(params["model.rate"]) == 0.1


def _typed() -> Any:
    from tests.support.codec_values import Typed

    return Typed


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (int, np.int64(3), True), (int, np.float64(3), False), (int, (1, 2), False), (int, True, False),
        (float, np.float32(1), True), (float, np.int64(1), True), (type[nn.Module], nn.ReLU, True),
        (type[nn.Module], dict, False), (nn.Module, nn.ReLU, False), (tuple[int, ...], (1, 2), True),
        (tuple[int, ...], (1, "a"), False), (list[float], [np.float64(1)], True), (Colour, Colour.RED, True),
        (Colour, Mode.FAST, False), (int | None, None, True), (str, Mode.FAST, True), (set[int], {1}, True),
        (Point, Point(1), True), (dict[int, str], {1: "a"}, True), (Any, object(), True),
    ],
)  # fmt: skip
def test_a_decoded_value_is_checked_against_the_annotation(annotation: Any, value: Any, expected: bool) -> None:
    assert accepts(annotation, value) is expected


class Opened:
    """An object that only this process has."""

    def __init__(self) -> None:
        self.file = object()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"trainer": {"callbacks": [{"class_path": "a.B", "init_args": {"x": [Opened()]}}]}},
         r"trainer\.callbacks\[0\]\.init_args\.x\[0\]: an object of .*Opened has no plain form"),
        ({"model": {"class_path": HOLDER, "init_args": {"value": {"f": lambda: 0}}}},
         r"model\.init_args\.value\.f: .*inside a function"),
        ({"trainer": {"callbacks": [Opened()]}}, r"trainer\.callbacks\[0\]: an object of .*Opened"),
        ({"trainer": {"callbacks": (Opened(),)}}, r"trainer\.callbacks\[0\]: an object of .*Opened"),
        ({"trainer": {"strategy": Opened()}}, r"trainer\.strategy: an object of"),
        ({"model": Opened()}, r"model: an object of .*Opened"),
    ],
)  # fmt: skip
def test_what_cannot_be_sent_is_refused_before_the_start_by_its_key_path(fields: Any, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        _sweep(**fields)


def test_an_object_is_taken_where_its_arguments_make_an_equal_one() -> None:
    stopping = EarlyStopping("val_loss", patience=7, stopping_threshold=0.5, check_on_train_epoch_end=False)
    spec = _sweep(
        trainer={"callbacks": [stopping, LearningRateMonitor("epoch")]},
        space={"model.value": choice(nn.CrossEntropyLoss(label_smoothing=0.1), nn.MSELoss())},
    )
    again, monitor = (class_loading.build(callback) for callback in spec.trainer["callbacks"])
    assert same({**vars(again), "best_score": 0}, {**vars(stopping), "best_score": 0})
    assert monitor.logging_interval == "epoch"
    losses = [_in_a_trial(spec, params).value for params in spec.space.grid()]
    assert [type(loss) for loss in losses] == [nn.CrossEntropyLoss, nn.MSELoss]
    assert losses[0].label_smoothing == 0.1
    assert _through_a_file(spec) == spec


@pytest.mark.parametrize("made", [lambda: nn.Linear(2, 2), lambda: _changed(EarlyStopping("a")), lambda: iter([1])])
def test_an_object_that_its_arguments_do_not_describe_is_refused(made: Any) -> None:
    with pytest.raises(SpecError, match="no plain form"):
        choice(made(), 1)


def _changed(callback: EarlyStopping) -> EarlyStopping:
    callback.wait_count = 3
    return callback


@pytest.mark.slow
@pytest.mark.ray
def test_a_trial_gets_the_same_values_under_ray_and_with_local(shared_address: str, tmp_path: Path) -> None:
    space = {
        "model.dims": choice((16,), (16, 16)),
        "model.rate": choice(*np.logspace(-3, -1, 3)),
        "model.act": const(nn.ReLU),
        "model.table": const({1: "a", "1": "b"}),
        "model.phase": choice(*Phase),
    }
    places: tuple[dict[str, Any], ...] = ({"local": True}, {"address": shared_address})
    for place in places:
        sweep = Sweep(
            name=f"values-{'local' in place}", model=Strict, data=TinyData, space=space, objective=("val_loss", "min"),
            trainer={"max_epochs": 1}, searcher="random", scheduler="fifo", budget=2,
            resources={"cpus": 0.5, "concurrent": 2},
        )  # fmt: skip
        trials = sweep.launch(tmp_path, **place, progress=False).trials
        assert list(trials["status"]) == ["finished"] * 2, list(trials["error"])
        assert {type(dims) for dims in trials["model.dims"]} == {tuple}
        assert set(trials["model.act"]) == {nn.ReLU}


def test_a_choice_that_cannot_be_sent_is_refused_where_it_is_made() -> None:
    with pytest.raises(SpecError, match="no plain form"):
        choice(1, Opened())
    with pytest.raises(SpecError, match="listed twice"):
        choice((1,), (1,))
    assert choice((1,), [1]).size == 2


def test_an_old_spec_without_tags_reads_as_before() -> None:
    old = {
        "objective": {"metric": "a", "mode": "min"},
        "model": {"class_path": HOLDER, "init_args": {"value": [1, {"a": 2}]}},
    }
    spec = from_mapping({"name": "a", **old})
    assert spec.model.init_args == {"value": [1, {"a": 2}]}
    assert _in_a_trial(spec, {}).value == [1, {"a": 2}]


@pytest.mark.parametrize("value", [{"$tuple": None}, {"$enum": 3}, [{"$array": 3}], {"a": {"$path": []}}])
def test_a_tag_that_cannot_be_read_is_an_error_of_the_file(value: Any) -> None:
    with pytest.raises(SpecError, match=r"\$\w+ cannot be read"):
        _sweep(space={"model.value": const(value)})
    with pytest.raises(SpecError, match=r"\$\w+ cannot be read"):
        _sweep(model={"class_path": HOLDER, "init_args": {"value": value}})


def test_a_tag_that_cannot_be_read_is_an_error_of_a_trial() -> None:
    with pytest.raises(CodecError, match=r"\$array"):
        class_loading.build({"class_path": HOLDER, "init_args": {"value": {"$array": 3}}})
