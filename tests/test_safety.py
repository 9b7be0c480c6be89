"""What a sweep must never do: tell a secret, run what a run directory holds, or leave it by a name in a file."""

from __future__ import annotations

import ast
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from orchestrator.errors import CheckpointError, SpecError, UsageError
from orchestrator.rundir import RunDirectory
from orchestrator.secrets import HIDDEN, masked
from orchestrator.spec import from_mapping, load
from orchestrator.training.checkpoints import DurableCheckpointIO

ROOT = Path(__file__).resolve().parent.parent
SECRET = "s3cr3t-of-the-service-0123456789"
WANDB = "f" * 39 + "7"

SPEC = """\
name: secretive
objective: {metric: val_loss, mode: min}
model: tests.support.leaky_module.Secretive
data: tests.support.tiny.TinyData
trainer: {max_epochs: 1}
space: {model.learning_rate: {choice: [0.1, 0.2]}}
searcher: grid
"""


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVICE_TOKEN", SECRET)
    monkeypatch.setenv("WANDB_API_KEY", WANDB)


@pytest.mark.slow
def test_a_sweep_whose_module_tells_its_key_leaves_it_nowhere(tmp_path: Path, keys: None) -> None:
    (tmp_path / "secretive.yaml").write_text(SPEC)
    answer = subprocess.run(
        [sys.executable, "-m", "orchestrator", "launch", "secretive.yaml", "--local", "--runs", "runs"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert answer.returncode == 1, answer.stderr
    run = tmp_path / "runs" / "secretive"
    assert run.stat().st_mode & 0o777 == 0o700
    told = [path for path in run.rglob("*") if path.is_file()]
    texts = {str(path): path.read_bytes() for path in told} | {"stdout": answer.stdout.encode(),
                                                               "stderr": answer.stderr.encode()}  # fmt: skip
    assert any(b"401 for token" in text for text in texts.values()), "the error itself is to be found"
    for secret in (SECRET, WANDB, "pass-of-user"):
        assert [place for place, text in texts.items() if secret.encode() in text] == []


def test_secrets_are_taken_out_of_texts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text(f"machine api.wandb.ai login user password {WANDB}\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    names = ("AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "OPENAI_API_KEY", "DB_PASSWORD", "AZURE_CLIENT_SECRET", "my_key")
    for number, name in enumerate(names):
        monkeypatch.setenv(name, f"value-{number}-of-it")
    monkeypatch.setenv("SHORT_KEY", "key")
    monkeypatch.setenv("SSH_KEY", str(tmp_path / "netrc"))
    text = " ".join([*(f"value-{number}-of-it" for number in range(len(names))), WANDB])
    assert masked(text) == " ".join([HIDDEN] * (len(names) + 1))
    assert (
        masked("a key in http://u:p@host/x and http://host/@y") == f"a key in http://{HIDDEN}@host/x and http://host/@y"
    )
    assert masked(f"{tmp_path / 'netrc'}") == str(tmp_path / "netrc")


def test_a_longer_secret_hides_before_one_within_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "abcdefg1")
    monkeypatch.setenv("B_KEY", "abcdefg1ijkl")
    assert masked("abcdefg1ijkl") == HIDDEN


def test_a_spec_with_a_secret_is_refused_without_telling_it(tmp_path: Path, keys: None) -> None:
    (tmp_path / "told.yaml").write_text(SPEC.replace("max_epochs: 1", f"max_epochs: 1, key: 'Bearer {SECRET}'"))
    with pytest.raises(SpecError, match=r"told.yaml:5:31: `trainer.key` holds the secret of \$SERVICE_TOKEN") as file:
        load(tmp_path / "told.yaml")
    (tmp_path / "untold.yaml").write_text(SPEC)
    with pytest.raises(SpecError, match=r"`data.key` holds the secret of \$WANDB_API_KEY") as override:
        load(tmp_path / "untold.yaml", [f"data.key={WANDB}"])
    with pytest.raises(SpecError, match="holds the secret") as python:
        from_mapping({"name": "a", "model": "a.B", "space": {"model.key": {"choice": [SECRET]}}})
    with pytest.raises(SpecError) as broken:
        load(tmp_path / "untold.yaml", [f"data.key=[{WANDB}"])
    for caught in (file, override, python, broken):
        assert SECRET not in str(caught.value)
        assert WANDB not in str(caught.value)


SOURCES = sorted((ROOT / "orchestrator").rglob("*.py"))


UNPICKLED = {
    # What the user's own key has signed.
    "training/pickled_state.py": "torch.load(io.BytesIO(content), map_location='cpu', weights_only=False)",
    # What the export has written itself a moment ago, by the class's own method.
    "export/own_checkpoint.py": "cls.load_from_checkpoint(file, map_location='cpu', **options)",
}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_unpickled_or_evaluated(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("eval", "exec", "compile", "__import__"), f"{path}:{node.lineno}"
            assert not called.startswith("pickle."), f"{path}:{node.lineno}"
            hook = called.endswith(".on_load_checkpoint")  # is told of a checkpoint that is loaded already
            reads = called.endswith(("torch.load", "load_from_checkpoint", "load_checkpoint")) and not hook
            passed_on = called == "self._of(path).load_checkpoint"  # a script's own file, to its own plug-in
            allowed = ast.unparse(node) == UNPICKLED.get(str(path.relative_to(ROOT / "orchestrator")))
            if (reads and not passed_on and not allowed) or called == "load_state":
                given = {word.arg: ast.unparse(word.value) for word in node.keywords}
                assert given.get("weights_only") == "True", f"{path}:{node.lineno}: {called}"
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "pickle":
            assert node.attr.endswith("Error"), f"{path}:{node.lineno}: pickle.{node.attr}"
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            forbidden = {"dill", "cloudpickle", "shelve", "marshal", "joblib"}
            assert not {name.split(".")[0] for name in names} & forbidden, f"{path}:{node.lineno}"


GUARDED = {"cluster/job_preflight.py", "cluster/preemption_watcher.py"}  # these guard their streams before all else


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_printed_is_masked_or_a_constant(path: Path) -> None:
    """The command line guards its streams; a program that imports this package may not."""
    if str(path.relative_to(ROOT / "orchestrator")) in GUARDED:
        assert "guard_streams()" in path.read_text(encoding="utf-8")
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print":
            assert all(map(is_masked, node.args)), f"{path}:{node.lineno}"


def is_masked(node: ast.expr) -> bool:
    """Whether a printed expression is a constant, or masked as a whole or where it is put into a text."""
    if isinstance(node, ast.JoinedStr):
        return all(is_masked(part.value) for part in node.values if isinstance(part, ast.FormattedValue))
    if isinstance(node, ast.Call):
        return ast.unparse(node.func) in ("masked", "visible")
    return isinstance(node, ast.Constant) or ast.unparse(node) == "ended"  # the name of one of Ray's processes


@pytest.mark.parametrize("path", ["../other/x", "trials/../../x", "/etc/passwd", "trials/0000/link/x", "checkpoints/x"])
def test_names_in_a_journal_cannot_leave_the_run_directory(path: str, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    run.trial(0).mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (run.trial(0) / "link").symlink_to(tmp_path / "outside")
    (run.root / "checkpoints").symlink_to("../outside")
    with pytest.raises(UsageError, match="outside"):
        run.resolve(path)
    assert run.resolve("trials/0000/checkpoints/a.ckpt") == run.trial(0) / "checkpoints" / "a.ckpt"


class _Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("form", ["pickle", "torch"])
def test_a_checkpoint_that_would_run_code_is_refused(form: str, tmp_path: Path) -> None:
    content = {"state_dict": {}, "callbacks": _Evil(tmp_path / "ran")}
    if form == "torch":
        torch.save(content, tmp_path / "evil.ckpt")
    else:
        (tmp_path / "evil.ckpt").write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        DurableCheckpointIO().load_checkpoint(tmp_path / "evil.ckpt", weights_only=False)
    assert not (tmp_path / "ran").exists()
