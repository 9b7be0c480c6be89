"""The core is lean: what an extra brings is refused by name, with the command that installs it."""

from __future__ import annotations

import re
import tomllib

import pytest

from orchestrator.extras import EXTRAS, MissingExtraError, require
from tests.support.paths import ROOT

# Import names that differ from the name of the distribution.
DISTRIBUTIONS = {"googleapiclient": "google-api-python-client", "mlflow": "mlflow-skinny"}


def requirements() -> dict[str, set[str]]:
    """Return the distributions that each extra names, with those of the extras that it includes."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    found: dict[str, set[str]] = {}

    def names(extra: str) -> set[str]:
        if extra not in found:
            found[extra] = set()
            for line in listed[extra]:
                if included := re.match(r"sweep-orchestrator\[(.+)\]", line):
                    found[extra] |= set().union(*(names(part) for part in included[1].split(",")))
                else:
                    found[extra].add(re.split(r"[<>=\[ ]", line)[0])
        return found[extra]

    return {extra: names(extra) for extra in listed}


def test_each_extra_brings_the_libraries_that_it_is_named_for() -> None:
    extras = requirements()
    for library, extra in EXTRAS.items():
        name = DISTRIBUTIONS.get(library, library)
        assert name.replace("_", "-") in {listed.replace("_", "-") for listed in extras[extra]}, library
        assert extras[extra] <= extras["all"]


def test_a_missing_library_is_refused_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.extras.find_spec", lambda name: None if name.startswith("onnx") else object())
    with pytest.raises(MissingExtraError) as refused:
        require("safetensors", "onnx", "onnxruntime", purpose="export format onnx")
    assert str(refused.value) == (
        "export format onnx needs onnx and onnxruntime, which are not installed\n"
        "hint: pip install 'sweep-orchestrator[export]'"
    )
    assert refused.value.exit_code == 2


def test_an_installed_library_passes() -> None:
    require("onnx", "matplotlib", purpose="this test")
