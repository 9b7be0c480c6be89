"""Fuzzed sweep files: read or refused, soon, and nothing imported but what class_path names."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.errors import SpecError
from orchestrator.space import Space
from orchestrator.spec import import_file, load
from tests.chaos.fuzz_specs import fuzz
from tests.chaos.spec_cases import case

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(
    ("cases", "least"), [pytest.param(100, 1, id="100"), pytest.param(1500, 20, marks=pytest.mark.slow, id="1500")]
)
def test_fuzzed_specs_are_read_or_refused(cases: int, least: int) -> None:
    figures = fuzz(cases, seed=0, processes=2)
    assert not figures.violations, "\n".join(figures.violations[:5])
    assert figures.outcomes.total() == cases
    assert min(figures.outcomes[word] for word in ("accepted", "refused", "imported")) > least


def test_a_case_is_made_from_its_seed_and_number_alone() -> None:
    assert case(3, 7) == case(3, 7) != case(4, 7)


CHECKED = """
import json, sys
from orchestrator.spec import from_mapping
from orchestrator.training.class_loading import check
for spec in json.load(sys.stdin):
    check(from_mapping(spec))
print(json.dumps([name for name in sys.modules if name.startswith("sentinel")]))
"""


def sentinel(word: str) -> str:
    return f"sentinel_{word}.Thing"


@pytest.mark.slow
def test_a_check_imports_only_what_class_path_names(tmp_path: Path) -> None:
    for word in ("model", "nested", "callback", "swept", "metric", "text", "project", "choice", "const", "key", "name"):
        (tmp_path / f"sentinel_{word}.py").write_text(
            "import lightning\nclass Thing(lightning.LightningModule):\n"
            "    def __init__(self, text: str = '', inner: object = None) -> None:\n        super().__init__()\n"
        )
    init_args = {
        "text": sentinel("text"),
        "inner": {"class_path": sentinel("nested"), "init_args": {sentinel("key"): 1}},
    }
    spec = {
        "name": "sentinel_name.Thing",
        "objective": {"metric": sentinel("metric"), "mode": "min"},
        "model": {"class_path": sentinel("model"), "init_args": init_args},
        "trainer": {"max_epochs": 1, "callbacks": [sentinel("callback")], "profiler": sentinel("text")},
        "space": {
            "model.text": {"choice": [sentinel("choice"), "b"]},
            "model.inner.class_path": {"choice": [sentinel("swept"), sentinel("nested")]},
            "model.inner.text": {"const": sentinel("const")},
        },
        "tracking": {"wandb": {"project": sentinel("project")}},
    }
    answer = subprocess.run(
        [sys.executable, "-c", CHECKED], input=json.dumps([spec]), cwd=tmp_path, env={"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    named = {f"sentinel_{word}" for word in ("model", "nested", "callback", "swept")}
    assert set(json.loads(answer.stdout.splitlines()[-1])) == named


@pytest.mark.parametrize(
    "text",
    [
        "trainer: 1.5\nmodel: a.B\n",
        "model: [a]\n",
        "fit: x\n",
        "trainer: {callbacks: [{init_args: [1]}, 3]}\nmodel: a.B\n",
        "trainer: {callbacks: {init_args: {monitor: x}}}\nmodel: a.B\n",
        "method: [a]\nparameters: {a: {value: 1}}\n",
        "parameters: {a: {min: 1, max: 2.0, distribution: q_uniform, q: 0.0}}\n",
        "parameters: {a: 1}\nearly_terminate: {min_iter: .nan}\n",
        "parameters: {a: 1}\nearly_terminate: {max_iter: 3, s: [1]}\n",
        "method: grid\nparameters: {" + ", ".join(f"p{i}: {{values: [1, 2]}}" for i in range(400)) + "}\n",
    ],
)
def test_a_strange_file_of_another_tool_is_imported_or_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "strange.yaml").write_text(text)
    try:
        assert import_file(tmp_path / "strange.yaml")
    except SpecError as error:
        assert "strange.yaml:1:" in str(error)  # noqa: PT017


def test_a_grid_of_too_many_cases_is_refused_soon() -> None:
    values = [1, 2, 3, 4]
    chain = {f"model.p{i}": {"choice": values, "when": {f"model.p{i - 1}": values}} for i in range(1, 60)}
    with pytest.raises(SpecError, match="too many cases"):
        _ = Space({"model.p0": {"choice": values}, **chain}).grid_size


def test_a_log_normal_far_below_one_never_draws_zero() -> None:
    domain = Space({"model.a": {"log_normal": [-1e6, 1.0]}})["model.a"]
    assert domain.contains(domain.decode(0.5))


@pytest.mark.parametrize("name", ["a" * 5000, "a\0b"])
def test_a_name_that_no_file_can_have_is_refused(name: str) -> None:
    with pytest.raises(SpecError, match="no such sweep file"):
        load(name)


@pytest.mark.parametrize(
    "override",
    ["trainer.callbacks." + "9" * 5000 + "=1", "a." * 5000 + "b=1", "seed=\udc80", "data." + "a." * 40 + "b=" + "[" * 30
     + "]" * 30],
)  # fmt: skip
def test_a_strange_override_is_refused(override: str) -> None:
    with pytest.raises(SpecError, match="--set") as caught:
        load(ROOT / "search_spaces/quickstart.yaml", ["trainer.callbacks=[a.B]", override])
    assert all(str(problem).replace("\n", "").isprintable() for problem in caught.value.problems)
