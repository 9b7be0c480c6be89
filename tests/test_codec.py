"""Every value comes back with its type and content, or is refused by its key path; reading runs nothing."""

from __future__ import annotations

import collections
import functools
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from orchestrator import codec
from orchestrator.errors import CodecError
from tests.support.codec_values import VALUES, Colour, Counted, Point, Rights, double, same, through_json
from tests.support.markers import examples


@given(VALUES)
@settings(max_examples=examples(100), deadline=None)
def test_a_value_comes_back_with_its_type_and_content(value: Any) -> None:
    assert same(codec.decode(through_json(codec.encode(value)), codec.loaded), value)


@given(VALUES)
@settings(max_examples=examples(100), deadline=None)
def test_writing_a_written_form_changes_nothing(value: Any) -> None:
    form = codec.written(value)
    assert codec.written(form) == form
    assert codec.written(codec.encode(value)) == codec.encode(value)


@given(VALUES)
@settings(max_examples=examples(100), deadline=None)
def test_a_written_value_can_be_shown_without_any_import(value: Any) -> None:
    codec.readable(codec.encode(value))


def test_plain_values_are_not_copied() -> None:
    value: Any = {"a": [1, {"b": "text"}], "c": None}
    assert codec.encode(value) is value
    assert codec.decode(value) is value


class Opened:
    """An object of a class of its own."""


@pytest.mark.parametrize(
    ("value", "place", "reason"),
    [
        ({"callbacks": [{"init_args": {"x": Opened()}}]}, "callbacks[0].init_args.x", "Opened has no plain form"),
        ({"f": lambda x: x}, "f", "inside a function"),
        ({"data": (1, {2, io.StringIO})}, "", ""),
        ([io.BytesIO()], "[0]", "BytesIO has no plain form"),
        ({"state": collections.deque([object()])}, "state[0]", "object has no plain form"),
        ({"p": Point(1, [Opened()])}, "p.y[0]", "Opened"),
        ({"part": functools.partial(print, x=lambda: 0)}, "part.x", "inside a function"),
        ({1: {"k": sys}}, "[1].k", "module has no plain form"),
        ({"a": np.array([Opened()], dtype=object)}, "a[0]", "Opened"),
    ],
)
def test_what_has_no_plain_form_is_named_by_its_key_path(value: Any, place: str, reason: str) -> None:
    if not reason:
        codec.encode(value)
        return
    with pytest.raises(CodecError, match=reason) as caught:
        codec.encode(value)
    assert caught.value.at == place


def test_a_value_that_holds_itself_is_refused_by_its_place() -> None:
    value: dict[str, Any] = {"a": [1]}
    value["a"].append(value)
    with pytest.raises(CodecError, match=r"a\[1\]: it holds itself"):
        codec.encode(value)
    twice = [1]
    assert codec.encode([twice, twice]) == [[1], [1]]


def test_deep_values_are_an_error_of_the_user_not_of_the_program() -> None:
    deep: list[Any] = []
    for _ in range(20_000):
        deep = [deep]
    for attempt in (codec.encode, codec.decode, codec.written):
        with pytest.raises(CodecError, match="too deeply"):
            attempt(deep)


REFERENCES = [
    {"$class": "tests.support.codec_values.Point"},
    {"$function": "tests.support.codec_values.double"},
    {"$enum": "tests.support.codec_values.Colour.RED"},
    {"$dataclass": ["tests.support.codec_values.Point", []]},
    {"$namedtuple": ["tests.support.codec_values.Pair", [1, 2]]},
    {"$defaultdict": [{"$class": "builtins.list"}, []]},
    {"$tuple": [{"$partial": [{"$function": "tests.support.codec_values.double"}, [], []]}]},
]


@pytest.mark.parametrize("form", REFERENCES, ids=str)
def test_nothing_is_imported_unless_the_caller_allows_it(form: Any) -> None:
    with pytest.raises(CodecError, match="not allowed here"):
        codec.decode(form)


@pytest.mark.parametrize(
    "form",
    [
        {"$class": "tests.support.codec_values.double"},
        {"$class": "tests.support.codec_values.Colour.RED"},
        {"$function": "tests.support.codec_values.Point"},
        {"$enum": "tests.support.codec_values.Point.x"},
        {"$enum": ["tests.support.codec_values.Colour", "r"]},
        {"$enum": ["tests.support.codec_values.Point", 1]},
        {"$dataclass": ["tests.support.codec_values.Colour", []]},
        {"$dataclass": ["os.system", []]},
        {"$namedtuple": ["tests.support.codec_values.Point", [1, 2]]},
        {"$namedtuple": ["tests.support.codec_values.Pair", [1]]},
        {"$defaultdict": ["text", []]},
        {"$instance": ["tests.support.codec_values.Word", 3, []]},
        {"$instance": ["tests.support.codec_values.Mode", "fast", []]},
        {"$instance": ["os.system", "true", []]},
        {"$partial": [[], [], []]},
    ],
    ids=str,
)
def test_an_import_path_is_checked_to_be_of_the_kind_that_the_tag_says(form: Any) -> None:
    with pytest.raises(CodecError):
        codec.decode(form, codec.loaded)


class Loud:
    """A class that notices each call of it."""

    calls: list[Any] = []  # noqa: RUF012

    def __init__(self, *args: Any) -> None:
        self.calls.append(args)

    def __call__(self, *args: Any) -> None:
        self.calls.append(args)


def noisy(*args: Any) -> None:
    Loud.calls.append(args)


@pytest.mark.parametrize(
    "form",
    [
        {"$class": f"{__name__}.Loud"},
        {"$partial": [{"$class": f"{__name__}.Loud"}, [1], []]},
        {"$defaultdict": [{"$function": f"{__name__}.noisy"}, [["a", 1]]]},
        {"$function": f"{__name__}.noisy"},
        {"$dataclass": [f"{__name__}.Loud", [["x", 1]]]},
        {"$enum": [f"{__name__}.Loud", 1]},
    ],
    ids=str,
)
def test_reading_never_calls_what_the_data_names(form: Any) -> None:
    Loud.calls.clear()
    try:
        codec.decode(form, codec.loaded)
    except CodecError:
        assert "dataclass" in str(form) or "enum" in str(form)
    assert Loud.calls == []


def test_a_dataclass_is_read_without_running_its_code() -> None:
    value = Counted([1])
    again = codec.decode(codec.encode(value), codec.loaded)
    assert again.made == 1


def test_an_import_path_finds_only_what_is_imported_already() -> None:
    assert "sunau_never" not in sys.modules
    with pytest.raises(ValueError, match="no imported module"):
        codec.loaded("sunau_never.Sun")
    assert codec.loaded("tests.support.codec_values.Colour") is Colour


@pytest.mark.parametrize(
    "form",
    [
        {"$tuple": 1}, {"$array": {}}, {"$array": {"dtype": "float32", "shape": [3], "data": [1.0]}},
        {"$array": {"dtype": "object", "shape": [1], "data": {"$bytes": "AAAAAAAAAAA="}}},
        {"$scalar": ["no such type", 1]}, {"$scalar": ["object", {"$bytes": ""}]}, {"$complex": [1]},
        {"$bytes": "not base64!"}, {"$deque": []}, {"$dict": [[1]]}, {"$dict": [[[], 1]]}, {"$set": [{"$list": []}]},
        {"$decimal": "x"}, {"$float": "x"}, {"$datetime": "x"}, {"$path": 3}, {"$range": [1, 2, 0]},
        {"$torch.dtype": "nn"}, {"$tensor": {"dtype": "load", "data": []}}, {"$zoneinfo": "../../etc/passwd"},
    ],
    ids=str,
)  # fmt: skip
def test_a_damaged_form_is_an_error_with_its_tag(form: Any) -> None:
    with pytest.raises(CodecError, match=r"\$"):
        codec.decode(form, codec.loaded)


def test_a_mapping_that_only_looks_tagged_is_a_mapping() -> None:
    assert codec.decode(codec.encode({"$tuple": [1]})) == {"$tuple": [1]}
    assert codec.decode(codec.written({"$tuple": [1]})) == (1,)
    for plain in ({"$ref": "a"}, {"$tuple": [1], "other": 2}):
        assert codec.decode(codec.written(plain)) == plain


def test_the_order_of_a_written_set_does_not_depend_on_hashes() -> None:
    words = {f"word{n}" for n in range(50)}
    assert codec.encode(words)["$set"] == sorted(words)


def test_a_class_under_class_path_becomes_its_import_path() -> None:
    form = codec.written({"class_path": Path, "init_args": {"cls": Point}})
    assert form == {"class_path": "pathlib.Path", "init_args": {"cls": {"$class": "tests.support.codec_values.Point"}}}


def test_objects_are_built_where_the_caller_says_at_any_depth() -> None:
    form = codec.written({"by": {1: ({"class_path": "a.B", "init_args": {}},)}})
    assert codec.decode(form, build=lambda component: component["class_path"]) == {"by": {1: ("a.B",)}}


def test_numbers_are_shown_as_people_write_them() -> None:
    shown = codec.readable(codec.encode({"lr": np.float64(0.1), "dims": (1, 2), "act": double, "r": Rights.READ}))
    assert json.dumps(shown["lr"]) == "0.1"
    assert shown["dims"] == (1, 2)
    assert shown["act"] == "tests.support.codec_values.double"
    assert shown["r"] == "tests.support.codec_values.Rights.READ"
