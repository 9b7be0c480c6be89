"""Names and paths with characters of a shell: scripts for Slurm, Kubernetes and gcloud pass them on as they are."""

from __future__ import annotations

import re
import shlex
import subprocess

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from orchestrator.cluster.manifests.kuberay import Kubernetes, kuberay
from orchestrator.cluster.manifests.slurm import Allocation, slurm
from orchestrator.errors import UsageError
from orchestrator.spec import SweepSpec, from_mapping, to_yaml
from orchestrator.xla.no_ray_launch import gcloud_command
from tests.support.markers import examples

SPEC = {"name": "tiny", "model": "a.B", "objective": {"metric": "m", "mode": "min"}, "trainer": {"max_epochs": 1}}
PARTS = [*"abc /.-_$`\"'\\;&|<>(){}[]*?!#~=%@\n\té", "$(id)", "@SPEC@", "EOF"]
SHELL = st.lists(st.sampled_from(PARTS), min_size=1, max_size=20).map("".join)
ANSWER = "printf '%s\\0' \"$@\""


def spec(**fields: object) -> SweepSpec:
    return from_mapping({**SPEC, "space": {"model.x": {"choice": [1, 2]}}, **fields})


def bash(script: str) -> list[str]:
    """The words that a script prints with a NUL after each; it is also checked whole, as `bash -n` does."""
    process = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, check=False, env={
        "PATH": "/usr/bin:/bin", "HOME": "/home/me"})  # fmt: skip
    assert (process.returncode, process.stderr) == (0, ""), script
    return process.stdout.split("\0")[:-1]


def is_a_script(text: str) -> None:
    process = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, timeout=60, check=False)
    assert (process.returncode, process.stderr) == (0, ""), text


@given(runs=SHELL, token=SHELL, word=SHELL)
@example(runs="@TOKEN@", token="$(id)", word="@END@")
@example(runs="@SPEC@", token='"; id; "', word="'")
@settings(max_examples=examples(25), deadline=None)
def test_a_slurm_script_passes_on_every_path_and_the_sweep_file(runs: str, token: str, word: str) -> None:
    sweep = spec(notify=[{"command": ["echo", word]}])
    script = slurm(sweep, Allocation(runs, token=f"/keys/{token}"))
    is_a_script(script)
    head = script[: script.index("sweep cluster token")]
    assert bash(f'set -- ; SLURM_CPUS_PER_TASK=1\n{head}\nset -- "$name" "$runs" "$RAY_AUTH_TOKEN_PATH"; {ANSWER}') == [
        "tiny", runs, f"/keys/{token}"]  # fmt: skip
    held = re.search(r'cat > "\$spec" <<.*?\n(END-[0-9a-f]{16})\n', script, re.DOTALL)
    assert held
    copied = bash(held[0].replace('cat > "$spec"', "cat", 1) + "printf '\\0'")
    assert copied == [to_yaml(sweep)]


@pytest.mark.parametrize("token", ["$HOME/.sweep/token", "~/.sweep/token", "${HOME}/.sweep/token"])
def test_the_home_folder_is_that_of_the_job(token: str) -> None:
    script = slurm(spec(), Allocation("/mnt/runs", token=token))
    line = next(line for line in script.splitlines() if line.startswith("export RAY_AUTH_MODE"))
    assert bash(f'{line}\nset -- "$RAY_AUTH_TOKEN_PATH"; {ANSWER}') == ["/home/me/.sweep/token"]


@given(words=st.lists(SHELL, max_size=4))
@settings(max_examples=examples(25), deadline=None)
def test_a_gcloud_command_passes_on_every_word(words: list[str]) -> None:
    command = gcloud_command(["tiny.yaml", *words], tpu="pod", zone="us-central2-b")
    script = command[-1].removeprefix("--command=")
    is_a_script(script)
    stubs = f"curl() {{ :; }}; cut() {{ :; }}; paste() {{ :; }}; sweep() {{ {ANSWER}; }};"
    assert bash(f"{stubs} {script}") == ["tpu", "launch", "--alone", "tiny.yaml", *words]
    assert shlex.split(shlex.join(command)) == command


@pytest.mark.parametrize("name", ["-x", "--command=id", "a b", "$(id)", ""])
def test_a_tpu_of_another_form_than_a_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="name of a TPU VM"):
        gcloud_command(["tiny.yaml"], tpu=name, zone="us-central2-b")
    with pytest.raises(UsageError, match="zone"):
        gcloud_command(["tiny.yaml"], tpu="pod", zone=name)


@pytest.mark.slow
@given(runs=SHELL)
@settings(max_examples=examples(15), deadline=None)
def test_a_script_for_kubernetes_passes_on_the_folder_of_runs(runs: str) -> None:
    documents = list(YAML(typ="safe").load_all(kuberay(spec(), Kubernetes("lab/sweep:1", "claim", runs=runs))))
    script = next(each["data"]["run.sh"] for each in documents if each["kind"] == "ConfigMap")
    is_a_script(script)
    stubs = f'sweep() {{ [ "$1" != status ] && {ANSWER}; }}; exec() {{ "$@"; }}'
    assert bash(f"{stubs}\n{script}")[:1] == ["launch"]
    assert runs in bash(f"{stubs}\n{script}")
