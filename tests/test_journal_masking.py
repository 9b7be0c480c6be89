"""What the journal keeps word for word, since a resumed sweep needs it, and what it masks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.journal import Journal, read
from orchestrator.results.report.markup import data, text
from orchestrator.secrets import known_secrets, masked, masked_values
from tests.support.written_secrets import KEY, keys, nothing_known

__all__ = ["keys", "nothing_known"]  # fixtures

LITERAL = "hf_aB3dE5gH7jK9mN2pQ4sT6vW8yZ1cX0bV"
CHOICE = "convnext-tiny-224"
SPEC = {
    "name": "a",
    "model": {"class_path": "a.B", "init_args": {"api_key": LITERAL}},
    "space": {"x": {"choice": [CHOICE]}},
}


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal.create(tmp_path / "run" / "journal.jsonl")
    yield opened
    opened.close()


def test_a_literal_key_of_the_spec_is_kept_for_a_resume_and_masked_elsewhere(keys: None, journal: Journal) -> None:
    created = journal.append("sweep.created", format=1, spec=SPEC, roots=[f"/x/{KEY}"])
    suggested = journal.append("trial.suggested", trial=0, params={"model.api_key": LITERAL}, by="grid")
    failed = journal.append("segment.failed", trial=0, message=f"401 for {LITERAL} and {KEY[:9]}…")
    assert created["spec"] == SPEC
    assert created["roots"] == ["/x/***"]
    assert suggested["params"] == {"model.api_key": LITERAL}
    assert failed["message"] == "401 for *** and ***…"


def test_a_page_and_json_mask_the_literal_key_of_a_spec() -> None:
    for shown in (text(SPEC), data("spec", SPEC), str(masked_values(SPEC))):
        assert LITERAL[:12] not in shown
        assert CHOICE in shown
    assert masked_values({"api_key": "q7w8-e9r0-t1y2", "x": CHOICE}) == {"api_key": "***", "x": CHOICE}


def test_a_parameters_value_is_never_masked_though_a_key_is_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, journal: Journal
) -> None:
    monkeypatch.setenv("MODEL_KEY", CHOICE)
    monkeypatch.setenv("METRIC_TOKEN", "val/f1_top5")
    journal.append("sweep.created", format=1, spec=SPEC, roots=[])
    message = f"no weights for {CHOICE}"
    reported = journal.append("segment.reported", trial=0, epoch=1, segment=0, metrics={"val/f1_top5": 0.5})
    failed = journal.append("segment.failed", trial=0, message=message)
    assert reported["metrics"] == {"val/f1_top5": 0.5}
    assert failed["message"] == message
    for name in ("_vocabulary", "_seen"):  # as in another process, which reads the run
        monkeypatch.setattr(known_secrets, name, set())
    monkeypatch.setattr(known_secrets, "_known", None)
    assert masked(message) == "no weights for ***"
    list(read(tmp_path / "run" / "journal.jsonl"))
    assert masked(message) == message
