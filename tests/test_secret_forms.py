"""A secret is found in every form in which programs write it, and nothing else is changed."""

from __future__ import annotations

import html
import json
import logging
import os
import re
from collections.abc import Callable
from io import BytesIO, StringIO, TextIOWrapper

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from orchestrator import secrets
from orchestrator.secrets import SHORTEST, known_secrets, masked, masked_values
from orchestrator.secrets.secret_pieces import PieceSearch, pieces
from tests.support.markers import examples
from tests.support.written_secrets import (
    ENCODINGS,
    ESCAPES,
    KEY,
    PEM,
    SECRETS,
    SPLITS,
    TEXT,
    is_ordinary,
    keys,
    nothing_known,
    pieces_in,
)

__all__ = ["keys", "nothing_known"]  # fixtures


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("form", [*ESCAPES, *ENCODINGS, *SPLITS])
def test_no_form_of_a_secret_is_left(keys: None, form: str, name: str) -> None:
    value = SECRETS[name]
    if name == "DEPLOY_PRIVATE_KEY" and form in ("first 8", "last 8", "first 30", "both ends"):
        value = value.splitlines()[1]  # a private key begins and ends as any other
    written = {**ESCAPES, **ENCODINGS, **SPLITS}[form](value)
    text = f"{TEXT}\n{written}\n{TEXT}"
    output = masked(text)
    assert "***" in output
    assert pieces_in(output, value) == []
    if form in ENCODINGS:
        middle = written[len(written) // 2 - 16 :][:32]
        assert pieces_in(output, middle) == []
    assert output.startswith(TEXT)
    assert output.endswith(TEXT)


def test_no_secret_is_in_the_environment_when_it_is_printed(keys: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GCP_CREDENTIALS", json.dumps({"type": "service_account", "private_key": PEM, "k": PEM[:-40]}))
    monkeypatch.setenv("MYSQL_PWD", "hunter3hunter3")
    for text in (repr(dict(os.environ)), json.dumps(dict(os.environ)), str(os.environ)):
        output = masked(text)
        for value in (*SECRETS.values(), "hunter3hunter3"):
            assert pieces_in(output, value) == []
    assert masked_values(dict(os.environ))["HOME"] == os.environ["HOME"]


TOKENS = st.one_of(
    st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/", min_size=16, max_size=64),
    st.text("0123456789abcdef", min_size=32, max_size=64),
    st.text("abcdefghijkmnopqrstuvwxyz23456789!@#$%^&*()-_=+[]{};:'\",.<>/?\\| ü€", min_size=12, max_size=40),
)
SURROUNDINGS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)


@given(
    value=TOKENS,
    form=st.sampled_from([*ESCAPES, *ENCODINGS, *SPLITS]),
    before=SURROUNDINGS,
    after=SURROUNDINGS,
)
@settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_eight_characters_of_any_secret_are_left_in_any_form(value: str, form: str, before: str, after: str) -> None:
    assume(not any(is_ordinary(value[place : place + SHORTEST]) for place in range(len(value) - SHORTEST + 1)))
    assume(len(re.findall("[0-9A-Za-z]", value)) >= 2 * SHORTEST or form in ESCAPES or form in ENCODINGS)
    search = PieceSearch([pieces(value)])
    text = before + " " + {**ESCAPES, **ENCODINGS, **SPLITS}[form](value) + " " + after
    with_one(search)
    output = masked(text)
    if form in ENCODINGS and form != "Bearer":
        middle = text[len(before) :][: len(text) - len(before) - len(after)]
        middle = middle[len(middle) // 2 - 8 :][:16]
        assert [piece for piece in pieces_in(output, middle) if piece not in before + after] == []


def with_one(search: PieceSearch) -> None:
    """Make ``search`` the one of this process."""
    known_secrets._known = known_secrets.known()._replace(search=search)


@given(value=TOKENS, text=SURROUNDINGS)
@settings(max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_text_without_a_piece_of_a_secret_is_as_it_was(value: str, text: str) -> None:
    letters = re.sub("[^0-9a-z]", "", text.lower())
    assume(len(letters) < SHORTEST and not pieces_in(text, value))
    assert PieceSearch([pieces(value)]).spans(text) == []


@pytest.mark.parametrize("value", [*SECRETS.values(), "a\"b\\c<d>&'e}1234567"])
def test_json_and_html_are_still_that_after_masking(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("SOME_KEY", value)
    content = {
        "a": [value[:5], value[5:10], value[10:], value], value: 1.5, "n": [12345678, 0.25, None, True],
        "nested": {"text": f"\n{value}\"{value}\\", "cut": f"{value[:9]}\n{value[9:]}"},
    }  # fmt: skip
    for text in (json.dumps(content), json.dumps(content, ensure_ascii=False, indent=1)):
        back = json.loads(masked(text))
        assert back["n"] == content["n"]
        assert pieces_in(json.dumps(back), value) == []
        assert len(back["a"]) == 4
    page = "<p>" + html.escape(value) + '</p><a title="' + html.escape(f"x{value}y") + '">&amp;</a>'
    assert re.sub(r"\*\*\*|x|y", "", masked(page)) == '<p></p><a title="">&amp;</a>'


def test_the_words_of_a_list_are_masked_together(keys: None) -> None:
    assert masked_values([KEY[:5], KEY[5:10], KEY[10:], "--epochs", "3"])[-2:] == ["--epochs", "3"]
    assert pieces_in("".join(masked_values([KEY[:5], KEY[5:10], KEY[10:]])), KEY) == []
    assert masked_values(["train", "--api-key", "zx81qwerty0987", "x"]) == ["train", "--api-key", "***", "x"]


def test_a_secret_written_in_parts_is_masked_after_seven_characters(keys: None) -> None:
    out = StringIO()
    stream = secrets.MaskedStream(out, secrets._masked_from)
    for character in f"the key is {KEY}.\n":
        stream.write(character)
    stream.writelines(["second ", KEY[:4], KEY[4:8], KEY[8:], " end\n"])
    assert out.getvalue().startswith("the key is ")
    assert out.getvalue().endswith(" end\n")
    assert pieces_in(out.getvalue().replace("***", ""), KEY) == []


def test_bytes_written_to_a_stream_are_masked(keys: None) -> None:
    raw = BytesIO()
    stream = secrets.MaskedStream(TextIOWrapper(raw, encoding="utf-8"), secrets._masked_from)
    stream.write("text ")
    assert stream.buffer.write(f"bytes {KEY} \xff".encode("latin-1")) == 8 + len(KEY)
    stream.flush()
    assert raw.getvalue() == b"text bytes *** \xff"


@pytest.mark.parametrize(
    ("value", "text"), [("abcdefg1\\", 'abcdefg1"x'), ("nabcdef12", "\nabcdef12"), ("amp;q7w8e9r0", "&amp;q7w8e9r0")]
)
def test_an_escape_is_masked_as_a_whole_or_not_at_all(monkeypatch: pytest.MonkeyPatch, value: str, text: str) -> None:
    monkeypatch.setenv("SOME_KEY", value)
    assert set(json.loads(masked(json.dumps({"a": text})))) == {"a"}
    assert "&***" not in masked(text)
    assert value not in masked(text)


def test_a_secret_of_short_lines_is_masked_line_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRID_SECRET", "q7w8\ne9r0\nt1y2\nu3i4")
    for text in ("q7w8\ne9r0\nt1y2\nu3i4", "['q7w8', 'e9r0', 't1y2', 'u3i4']", "q7w8e9r0…", r"e9r0\nt1y2\nu3i4"):
        assert not re.search("q7|e9r0|t1y2", masked(text))


def test_logs_of_handlers_that_were_made_before_are_masked(keys: None, monkeypatch: pytest.MonkeyPatch) -> None:
    err, logger = StringIO(), logging.getLogger("some_library")
    monkeypatch.setattr("sys.stderr", err)
    handler = logging.StreamHandler(err)
    monkeypatch.setattr(logger, "handlers", [handler])
    with secrets.guarded_streams():
        logger.error("refused: %s", KEY)
    assert err.getvalue() == "refused: ***\n"
    assert handler.stream is err


def test_a_row_of_one_letter_is_no_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "c" * 20 + "0123456789abcdef0007")
    assert masked("key cccccccccccc...") == "key ***..."


@pytest.mark.parametrize("write", [ascii, lambda value: repr(value.encode("latin-1", "replace")), repr])
def test_a_password_with_letters_beyond_ascii_is_masked_in_pythons_escapes(
    monkeypatch: pytest.MonkeyPatch, write: Callable[[str], str]
) -> None:
    monkeypatch.setenv("DB_PASSWORD", "pä$$wörd-ß-42%x")
    assert masked(f"login({write('pä$$wörd-ß-42%x')})") in ("login('***')", "login(b'***')")
