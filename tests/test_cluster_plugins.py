"""Manifests and providers by registry: each is one class, and one of an installed package is used."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import TypeAdapter
from typer.testing import CliRunner

from orchestrator import registry
from orchestrator.cli import app
from orchestrator.cluster.cluster_file import ClusterFile
from orchestrator.cluster.manifest import Manifest, render
from orchestrator.cluster.provider import provider_class
from orchestrator.cluster.rules import rule_problems
from orchestrator.cluster.templates import template
from orchestrator.errors import UsageError
from orchestrator.spec import from_mapping
from tests.support.plugins import write_package

MINIMAL = {"name": "a", "model": "a.B", "space": {"model.x": {"choice": [1]}},
           "objective": {"metric": "m", "mode": "min"}}  # fmt: skip
PBS = """
from dataclasses import dataclass

from orchestrator.cluster.manifest import Manifest


@dataclass
class Queue:
    nodes: int = 1
    queue: str = "batch"
    priority: int = 0


class PBS(Manifest):
    name = "pbs"
    summary = "A PBS batch script."
    Options = Queue

    @classmethod
    def render(cls, spec, options):
        return f"#PBS -N {spec.name} -l nodes={options.nodes} -q {options.queue} -p {options.priority + 1}\\n"
"""
ONPREM = """
from orchestrator.cluster.provider import Provider, missing_keys


class OnPrem(Provider):
    name = "onprem"
    rents = False

    @classmethod
    def template(cls):
        return "cluster_name: mine\\nprovider: {type: onprem}\\n"

    @classmethod
    def problems(cls, file):
        yield from missing_keys(file, "rack")
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "installed"
    folder.mkdir()
    write_package(folder, "sweep-pbs",
                  modules={"sweep_pbs": PBS, "sweep_onprem": ONPREM, "sweep_odd": "import no_such_library\n"},
                  entry_points={"sweep_orchestrator.manifests": {"pbs": "sweep_pbs:PBS", "odd": "sweep_odd:O"},
                                "sweep_orchestrator.cluster_providers": {"onprem": "sweep_onprem:OnPrem"}})  # fmt: skip
    monkeypatch.syspath_prepend(str(folder))


@pytest.mark.parametrize("name", registry.names("manifests", installed=False))
def test_each_manifest_keeps_the_contract(name: str) -> None:
    manifest = registry.load("manifests", name)
    assert issubclass(manifest, Manifest)
    assert manifest.summary.endswith(".")
    fields = TypeAdapter(manifest.Options).json_schema()["properties"]
    assert {"runs", "nodes", "trials"} <= set(fields)
    flags = {"runs": "/mnt/x-runs", "nodes": 3, "trials": 2, "image": "lab/sweep:1", "claim": "c", "no_field": 1}
    text = render(name, from_mapping(MINIMAL), flags, {})
    assert "/mnt/x-runs" in text
    assert "a.B" in text
    with pytest.raises(UsageError, match=f"manifest '{name}' has no option 'colour'"):
        render(name, from_mapping(MINIMAL), flags, {"colour": "red"})
    with pytest.raises(UsageError, match="option 'nodes' of manifest"):
        render(name, from_mapping(MINIMAL), flags, {"nodes": "many"})


def test_a_manifest_of_an_installed_package_is_printed(package: None, tmp_path: Path) -> None:
    sweep = tmp_path / "a.yaml"
    sweep.write_text("objective: {metric: m, mode: min}\nmodel: a.B\nspace: {model.x: {choice: [1]}}\n")
    words = [
        "cluster",
        "manifest",
        "pbs",
        str(sweep),
        "--nodes",
        "4",
        "--option",
        "queue=gpu",
        "--option",
        "priority=6",
    ]
    answer = CliRunner().invoke(app, words)
    assert answer.output == "#PBS -N a -l nodes=4 -q gpu -p 7\n", answer.output


def test_one_that_is_broken_or_misspelt_is_named(package: None) -> None:
    with pytest.raises(UsageError, match=r"manifest 'odd' of package sweep-pbs 1.0 .* No module named"):
        render("odd", from_mapping(MINIMAL), {}, {})
    with pytest.raises(UsageError, match=r"(?s)there is no manifest 'slrum'.*did you mean slurm\?"):
        render("slrum", from_mapping(MINIMAL), {}, {})


@pytest.mark.parametrize("name", registry.names("cluster_providers", installed=False))
def test_each_provider_keeps_the_contract(name: str, tmp_path: Path) -> None:
    provider = provider_class(name)
    assert all(mark in provider.template() for mark in ("@MOUNTS@", "@INSTALL@", "@START@"))
    assert "@" not in "".join(line for line in template(name, tmp_path).splitlines() if line.startswith("@"))
    empty = ClusterFile(tmp_path / "cluster.yaml", {"provider": {"type": name}})
    assert list(provider.problems(empty)), "what is missing in an empty file is reported"


def test_a_provider_of_an_installed_package_is_used(package: None, tmp_path: Path) -> None:
    assert template("onprem", tmp_path) == "cluster_name: mine\nprovider: {type: onprem}\n"
    problems = list(rule_problems(ClusterFile(tmp_path / "cluster.yaml", {"provider": {"type": "onprem"}})))
    assert "`rack` is missing in provider" in [problem.message for problem in problems]
    with pytest.raises(UsageError, match=r"(?s)there is no cluster provider 'onprm'.*did you mean onprem\?"):
        template("onprm", tmp_path)
