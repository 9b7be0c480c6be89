"""The core is lean: what an extra brings is refused by name, with the command that installs it."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

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
        assert extras[extra] <= extras["all"] or extra == "trackio", "which brings a web server"


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


def core_environment(folder: Path) -> Path:
    """Make an environment that has what this one has, but for the extras' libraries; return its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    interpreter = folder / "bin" / "python"
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(
        subprocess.run([interpreter, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    )
    hidden = {"_editable_impl_sweep_orchestrator.pth"}
    for library in EXTRAS:
        try:
            files = distribution(DISTRIBUTIONS.get(library, library)).files or []
        except PackageNotFoundError:  # it is in no environment for tests, as trackio
            continue
        hidden |= {file.parts[0] for file in files if not file.parts[0].startswith((".", "__pycache__"))}
    for entry in Path(sysconfig.get_path("purelib")).iterdir():
        if entry.name not in hidden:
            (packages / entry.name).symlink_to(entry)
    (packages / "checkout.pth").write_text(f"{ROOT}\n")
    return interpreter


@pytest.mark.slow
def test_the_core_alone_launches_watches_and_reports(tmp_path: Path) -> None:
    """Without the extras' libraries the main commands work, and the others name the extra."""
    interpreter = core_environment(tmp_path / "core")

    def sweep(*words: str) -> subprocess.CompletedProcess[str]:
        command = [str(interpreter), "-m", "orchestrator", *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)

    small = ["--set", "budget.trials=2", "--set", "trainer.max_epochs=1", "--set", "scheduler=fifo"]
    for words in (
        ["launch", "quickstart", "--local", *small], ["watch", "quickstart"], ["report", "quickstart"],
        ["results", "quickstart"], ["why", "quickstart"], ["verify", "quickstart"],
    ):  # fmt: skip
        ended = sweep(*words)
        assert ended.returncode == 0, (words, ended.stdout, ended.stderr)
    for words, extra in (
        (["export", "quickstart"], "export"),
        (["report", "quickstart", "--format", "png"], "export"),
        (["list", "--runs", "s3://bucket/runs"], "cloud"),
    ):
        ended = sweep(*words)
        assert ended.returncode == 2, (words, ended.stdout, ended.stderr)
        assert f"pip install 'sweep-orchestrator[{extra}]'" in ended.stderr, (words, ended.stderr)
        assert "Traceback" not in ended.stderr
