"""What is written of a spec, in any place, is the sweep that ran."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from orchestrator.results.report import write
from orchestrator.results.run_state import read_state
from orchestrator.rundir import run_at
from orchestrator.spec import SweepSpec, from_mapping, load, to_yaml
from orchestrator.sweep import launch
from tests.support.markers import examples
from tests.support.small_sweeps import spec
from tests.support.spec_strategies import specs

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:lightning")


@given(specs())
@settings(
    max_examples=examples(15), deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
def test_a_spec_that_is_written_and_read_is_equal(
    tmp_path_factory: pytest.TempPathFactory, described: SweepSpec
) -> None:
    path = tmp_path_factory.getbasetemp() / "written.yaml"
    path.write_text(to_yaml(described), encoding="utf-8")
    again = load(path)
    assert again == described
    assert to_yaml(again) == to_yaml(described)
    assert from_mapping(described.model_dump(mode="json")) == described


def test_the_sweep_file_that_the_report_shows_is_the_one_that_ran(tmp_path: Path) -> None:
    described = spec(
        space={"model.learning_rate": {"choice": [0.1, 0.2]}}, searcher="grid", scheduler="fifo", budget={},
        trainer={"max_epochs": 1}, resources={"cpus": 1},
    )  # fmt: skip
    launch(described, tmp_path / "runs", local=True)
    run = run_at("tiny", tmp_path / "runs")
    page = write(run, read_state(run)).read_text(encoding="utf-8")
    shown = re.search(r"The sweep file</summary><pre>(.*?)</pre>", page, re.S)
    assert shown
    file = tmp_path / "shown.yaml"
    file.write_text(html.unescape(shown[1]), encoding="utf-8")
    assert load(file) == described
    assert load(run.spec) == described
