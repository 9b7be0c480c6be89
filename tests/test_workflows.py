"""The files that a repository host reads: workflows, issue forms and pre-commit hooks. Linted here, not run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.support.paths import ROOT

GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = sorted(path for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config")
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def read(path: Path) -> Any:
    return YAML(typ="safe").load(path.read_text())


def jobs() -> list[Any]:
    return [
        pytest.param(job, id=f"{path.stem}-{name}") for path in WORKFLOWS for name, job in read(path)["jobs"].items()
    ]


def commands(job: dict[str, Any]) -> list[str]:
    """Return the shell commands of a job, with those of its matrix."""
    matrix = job.get("strategy", {}).get("matrix", {})
    return [step["run"] for step in job["steps"] if "run" in step] + [str(tier) for tier in matrix.get("tier", [])]


def test_the_workflows_are_those_that_contributing_names() -> None:
    assert {path.stem for path in WORKFLOWS} == {"ci", "nightly", "release"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_has_its_parts_and_may_only_read(path: Path) -> None:
    workflow = read(path)
    assert set(workflow) == {"name", "on", "permissions", "jobs"}
    assert workflow["name"] == path.stem
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job.get("needs", next(iter(workflow["jobs"]))) in workflow["jobs"]


@pytest.mark.parametrize("job", jobs())
def test_a_job_has_a_limit_and_well_formed_steps(job: dict[str, Any]) -> None:
    assert set(job) <= {"runs-on", "timeout-minutes", "strategy", "steps", "needs", "environment", "permissions"}
    assert job["runs-on"] == "ubuntu-latest"
    assert 0 < job["timeout-minutes"] <= 360
    for step in job["steps"]:
        assert len({"uses", "run"} & set(step)) == 1, step
        if "uses" in step:
            assert re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|release/v\d+)", step["uses"])


@pytest.mark.parametrize("job", jobs())
def test_every_make_target_of_a_job_exists(job: dict[str, Any]) -> None:
    named = [target for command in commands(job) for target in re.findall(r"\bmake ([a-z-]+)", command)]
    assert set(named) <= TARGETS


def test_every_push_is_tested_with_the_lowest_versions_and_every_night_in_full() -> None:
    ci, nightly = (read(GITHUB / f"workflows/{name}.yml") for name in ("ci", "nightly"))
    assert any("--resolution lowest-direct" in command for command in commands(ci["jobs"]["lowest"]))
    assert "schedule" in nightly["on"]
    nights = " ".join(command for job in nightly["jobs"].values() for command in commands(job))
    assert all(f"make {tier}" in nights for tier in ("test-full", "test-cluster", "test-tpu", "chaos"))


def test_only_a_tag_releases_and_only_the_publishing_job_may_ask_for_an_identity() -> None:
    release = read(GITHUB / "workflows/release.yml")
    assert release["on"] == {"push": {"tags": ["v*"]}}
    assert {name: job.get("permissions") for name, job in release["jobs"].items()} == {
        "build": None,
        "publish": {"id-token": "write"},
    }
    assert release["jobs"]["publish"]["needs"] == "build"
    assert "secrets." not in (GITHUB / "workflows/release.yml").read_text()


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_an_issue_form_is_one(path: Path) -> None:
    form = read(path)
    assert {"name", "description", "body"} <= set(form)
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert all(field["type"] in {"input", "textarea", "dropdown", "checkboxes"} for field in fields)
    assert len({field["id"] for field in fields}) == len(fields) > 0
    assert all(field["attributes"]["label"] for field in fields)
    assert any(field.get("validations", {}).get("required") for field in fields)


def test_the_hooks_are_parts_of_make_check() -> None:
    check = (ROOT / "Makefile").read_text().split("\ncheck:")[1].split("\n\n")[0].replace("$(BIN)", ".venv/bin")
    (repository,) = read(ROOT / ".pre-commit-config.yaml")["repos"]
    assert repository["repo"] == "local"
    assert {hook["id"] for hook in repository["hooks"]} >= {"ruff", "ruff-format", "mypy"}
    for hook in repository["hooks"]:
        words = [word for word in hook["entry"].split() if not word.startswith("--")]
        assert " ".join(words) in check
        assert hook["language"] == "system"


def test_contributing_names_every_make_target() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text()
    named = set(re.findall(r"`make ([a-z-]+)", page)) | set(re.findall(r"^\$ make ([a-z-]+)", page, re.MULTILINE))
    assert named == TARGETS - {"help"}
