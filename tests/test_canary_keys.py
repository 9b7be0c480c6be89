"""Keys of every source around a sweep with failing trials that print them: none is in anything that was written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from html import escape
from pathlib import Path
from urllib.parse import quote

import pytest

from orchestrator import cli, secrets
from orchestrator.cluster import auth_token
from orchestrator.spec import from_mapping
from tests.support.canary import encoded
from tests.support.post_server import post_server

ROOT = Path(__file__).resolve().parent.parent
SPEC = """\
name: canary
objective: {metric: val_loss, mode: min}
model: tests.support.canary.Canary
data: tests.support.tiny.TinyData
trainer: {max_epochs: 1}
space:
  model.sings: {choice: [loudly, softly, adamw_torch]}
searcher: grid
budget: {trials: 3}
tracking: {wandb: {project: canary}, tensorboard: true}
notify:
  - webhook: $TEAM_CHANNEL
    on: [finished, failed, paused, new_best]
  - command: [COMMAND]
"""
TELLER = """\
#!/usr/bin/env python3
import os, sys
with open(os.environ["TOLD"], "a") as file:
    file.write(sys.stdin.read() + repr({n: v for n, v in os.environ.items() if n.startswith("SWEEP_")}))
"""


class Surroundings:
    """A home folder, an environment and a webhook, each with keys; ``canaries`` are all of them, by their source."""

    def __init__(self, folder: Path, address: str) -> None:
        self.home, self.work = folder / "home", folder / "work"
        self.work.mkdir(parents=True)
        token = "wh00k-path-t0ken-0001"
        self.canaries = {
            "environment": "env-0f-service-key-0002",
            "an odd character": 'pass"w\\rd<&>-ü-0003',
            "W&B environment": "a" * 20 + "0123456789abcdef0004",
            "W&B netrc": "b" * 20 + "0123456789abcdef0005",
            "another host in netrc": "netrc-0f-example-0006",
            "W&B settings": "c" * 20 + "0123456789abcdef0007",
            "S3 in the environment": "s3cr3t/of+the/st0re+0008",
            "S3 profile": "pr0file/key+0009",
            "S3 session": "AQoDYXdzE-session-0010",
            "cluster's token": "d" * 20 + "0123456789abcdef0011",
            "token file of a variable": "identity-t0ken-0012",
            "webhook": f"{address}/services/T0001/{token}?sig=s1gnature-0013",
            "webhook's path": token,
            "webhook's query": "s1gnature-0013",
            "database URL": "d8-passw0rd-0014",
        }
        c = self.canaries
        host = address.removeprefix("http://")
        self._file(".netrc", f"machine example.com login me password {c['another host in netrc']}\n"
                   f"machine {host} login user password {c['W&B netrc']}\n")  # fmt: skip
        self._file(".aws/credentials", "[default]\naws_access_key_id = AKIA\n[lab]\n"
                   f"aws_secret_access_key = {c['S3 profile']}\n")  # fmt: skip
        self._file(".config/wandb/settings", f"[default]\napi_key = {c['W&B settings']}\n")
        self._file(".sweep/token", c["cluster's token"])
        self._file("identity", c["token file of a variable"])
        self.canaries_file = self._file("canaries.json", json.dumps(c))
        self.environment = {
            "HOME": str(self.home),
            "CANARIES": str(self.canaries_file),
            "TOLD": str(self.work / "told.txt"),
            "SERVICE_KEY": c["environment"],
            "ODD_PASSWORD": c["an odd character"],
            "WANDB_API_KEY": c["W&B environment"],
            "WANDB_BASE_URL": address,
            "WANDB_IDENTITY_TOKEN_FILE": str(self.home / "identity"),
            "AWS_SECRET_ACCESS_KEY": c["S3 in the environment"],
            "AWS_SESSION_TOKEN": c["S3 session"],
            "DATABASE_URL": f"postgres://me:{c['database URL']}@db/x",
            "TEAM_CHANNEL": c["webhook"],
            "SWEEP_WEBHOOK_HOSTS": "127.0.0.1",
            "PLAIN_TOKEN": "adamw_torch",
            "PYTHONPATH": str(ROOT),
        }
        teller = self._file("teller", TELLER)
        teller.chmod(0o755)
        (self.work / "canary.yaml").write_text(SPEC.replace("COMMAND", str(teller)))

    def _file(self, name: str, text: str) -> Path:
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)
        return path

    def leaks(self, texts: dict[str, bytes]) -> list[tuple[str, str]]:
        """Where a key stands, in any form in which it may have been written."""
        found = []
        for source, value in self.canaries.items():
            forms = {value, json.dumps(value)[1:-1], escape(value), quote(value, safe=""), repr(value)[1:-1]}
            if "://" not in value:  # an address begins with what is no secret
                forms |= {form.strip(".")[8:20] if len(form) > 22 else form.strip(".") for form in encoded(value)}
            for place, content in texts.items():
                if any(form.encode() in content for form in forms):
                    found.append((source, place))
        return found


@pytest.fixture
def bodies() -> Iterator[tuple[str, list[bytes]]]:
    """The address of a server that takes every post, and the bodies posted to it."""
    with post_server() as (port, got):
        yield f"http://127.0.0.1:{port}", got


@pytest.fixture
def around(tmp_path: Path, bodies: tuple[str, list[bytes]], monkeypatch: pytest.MonkeyPatch) -> Surroundings:
    surroundings = Surroundings(tmp_path, bodies[0])
    for name, value in surroundings.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(surroundings.work)
    monkeypatch.setenv("SWEEP_RUNS", str(surroundings.work / "runs"))
    monkeypatch.setattr("sys.argv", ["sweep"])
    return surroundings


def sweep(*words: str) -> dict[str, bytes]:
    """What the command printed, as a process of its own."""
    ended = subprocess.run(
        [sys.executable, "-m", "orchestrator", *words], capture_output=True, timeout=280, check=False, env=os.environ
    )
    assert b"Traceback" not in ended.stderr, ended.stderr.decode()
    assert ended.returncode in (0, 1), ended.stderr.decode()
    name = " ".join(words)
    return {f"{name} (stdout)": ended.stdout, f"{name} (stderr)": ended.stderr}


def printed(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *words: str) -> dict[str, bytes]:
    """What the command printed, in this process: starting one takes a second each."""
    monkeypatch.setattr("sys.argv", ["sweep", *words])
    streams = (sys.stdout, sys.stderr)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    sys.stdout, sys.stderr = streams
    out, err = capfd.readouterr()
    assert ended.value.code in (0, None), f"{words}: {err}"
    return {f"{' '.join(words)} (stdout)": out.encode(), f"{' '.join(words)} (stderr)": err.encode()}


def whole_sweep(
    around: Surroundings,
    bodies: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    *options: str,
) -> dict[str, bytes]:
    """Launch, then everything that reads a run; returns every text that was written anywhere."""
    texts = sweep("launch", "canary.yaml", *options)
    texts |= sweep("retry", "canary", "--trial", "0", *options)
    for words in (
        ("status", "canary"), ("status", "canary", "--json"), ("list",), ("results", "canary"),
        ("results", "canary", "--json"), ("results", "canary", "--out", "results.csv"),
        ("why", "canary", "--trial", "0"), ("why", "canary", "--json"), ("watch", "canary"),
        ("report", "canary"), ("report", "canary", "--format", "md"), ("report", "canary", "--format", "svg"),
        ("verify", "canary"), ("plan", "canary.yaml"), ("export", "canary"),
        ("cluster", "manifest", "slurm", "canary.yaml", "--runs", "/mnt/runs"),
        ("cluster", "manifest", "kuberay", "canary.yaml", "--image", "lab/sweep:1"),
    ):  # fmt: skip
        texts |= printed(monkeypatch, capfd, *words)
    texts |= {str(path): path.read_bytes() for path in around.work.rglob("*") if path.is_file()}
    return texts | {f"webhook {number}": body for number, body in enumerate(bodies)}


def check(around: Surroundings, texts: dict[str, bytes], bodies: list[bytes]) -> None:
    """No key anywhere, while everything that was to be said is there."""
    assert around.leaks(texts) == []
    assert any(b"sang loudly" in text for text in texts.values())
    journal = next(text for place, text in texts.items() if place.endswith("/runs/canary/journal.jsonl"))
    assert b"sang loudly: ***" in journal
    assert b'"adamw_torch"' in journal
    assert b"sang adamw_torch" in journal, "a parameter's value is not masked, though $PLAIN_TOKEN is the same word"
    assert any(place.endswith("error_segment_0.txt") and b"***" in text for place, text in texts.items())
    assert any("tfevents" in place for place in texts)
    assert bodies
    assert any(place.endswith("told.txt") for place in texts)


@pytest.mark.slow
def test_no_key_of_any_source_is_in_what_one_failing_trial_writes(
    around: Surroundings, bodies: tuple[str, list[bytes]]
) -> None:
    """A sample of the whole sweep below: one trial, and no commands after it."""
    text = (around.work / "canary.yaml").read_text()
    text = text.replace("budget: {trials: 3}", "budget: {trials: 1}").replace("wandb: {project: canary}, ", "")
    (around.work / "canary.yaml").write_text(text)
    texts = sweep("launch", "canary.yaml", "--local")
    printed = b"".join(texts.values())
    texts |= {str(path): path.read_bytes() for path in around.work.rglob("*") if path.is_file()}
    texts |= {f"webhook {number}": body for number, body in enumerate(bodies[1])}
    assert around.leaks(texts) == []
    assert b"printed ***" in printed
    assert b"logged ***" in printed
    journal = next(text for place, text in texts.items() if place.endswith("/runs/canary/journal.jsonl"))
    assert b"sang loudly: ***" in journal
    assert any(place.endswith("error_segment_0.txt") and b"***" in text for place, text in texts.items())
    assert bodies[1]
    assert any(place.endswith("told.txt") for place in texts)


@pytest.mark.slow
def test_no_key_of_any_source_is_in_what_a_local_sweep_writes(
    around: Surroundings,
    bodies: tuple[str, list[bytes]],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    texts = whole_sweep(around, bodies[1], monkeypatch, capfd, "--local")
    check(around, texts, bodies[1])
    launched = texts["launch canary.yaml --local (stderr)"] + texts["launch canary.yaml --local (stdout)"]
    assert b"printed ***" in launched
    assert b"logged ***" in launched


@pytest.mark.slow
def test_no_key_of_any_source_is_in_what_a_sweep_under_ray_writes(
    around: Surroundings,
    bodies: tuple[str, list[bytes]],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    texts = whole_sweep(around, bodies[1], monkeypatch, capfd)
    check(around, texts, bodies[1])
    sessions = Path(os.environ["RAY_TMPDIR"])
    logs = {str(path): path.read_bytes() for path in sessions.rglob("*.out") if path.is_file()}
    logs |= {str(path): path.read_bytes() for path in sessions.rglob("*.err") if path.is_file()}
    logs |= {str(path): path.read_bytes() for path in sessions.rglob("*.log") if path.is_file()}
    assert around.leaks(logs) == []


def test_every_source_is_found_again(around: Surroundings) -> None:
    from_mapping({"name": "a", "model": "a.B", "space": {"model.x": {"choice": [1]}},
                  "objective": {"metric": "m", "mode": "min"}, "notify": [{"webhook": "$TEAM_CHANNEL"}]})  # fmt: skip
    for source, value in around.canaries.items():
        assert secrets.masked(f"<{value}>") == "<***>", source
    new = "rotated-t0ken-of-the-cluster-0099-0123"
    other = around.home / "other-token"
    other.write_text(new)
    other.chmod(0o600)
    assert auth_token.read(other) == new
    assert secrets.masked(new) == "***"


def test_the_key_of_wandbs_own_server_is_the_one_that_is_used(
    around: Surroundings, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert secrets.wandb_url() == around.environment["WANDB_BASE_URL"]
    assert secrets.wandb_key() == around.canaries["W&B environment"]
    monkeypatch.delenv("WANDB_API_KEY")
    assert secrets.wandb_key() == around.canaries["W&B settings"]
    (around.home / ".config/wandb/settings").write_text("[default]\n")
    assert secrets.wandb_key() == around.canaries["W&B netrc"]
    monkeypatch.setenv("WANDB_BASE_URL", "https://elsewhere.example.org/")
    assert secrets.wandb_url() == "https://elsewhere.example.org"
    assert secrets.wandb_key() is None
    monkeypatch.delenv("WANDB_BASE_URL")
    (around.home / ".config/wandb/settings").write_text("[default]\nbase_url = https://example.com\n")
    assert secrets.wandb_key() == around.canaries["another host in netrc"]


@pytest.mark.parametrize(
    "value",
    [
        "short-1",
        "adamw_torch",
        "validation",
        "ReduceOnPlateau",
        "production",
        "0.00012345",
        "2026-01-01",
        "learning rate",
    ],
)
def test_a_plain_word_or_number_is_never_masked(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("SOME_KEY", value)
    assert secrets.masked(f"a {value} b") == f"a {value} b"


@pytest.mark.parametrize("value", ["hunter22", "correct-horse-battery-staple", "hQzKxWvBnMtRyUiO", "xkcdqvbn"])
def test_a_password_is_masked(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("SOME_KEY", value)
    assert secrets.masked(f"a {value} b") == "a *** b"


def test_a_setting_of_letters_alone_is_not_masked_though_a_key_equals_it(monkeypatch: pytest.MonkeyPatch) -> None:
    value = "sgd_with_warm_restarts"
    monkeypatch.setenv("SOME_KEY", value)
    assert secrets.masked(value) == "***"
    from_mapping({"name": "a", "model": "a.B", "space": {"model.x": {"choice": [value, "b"]}},
                  "objective": {"metric": "m", "mode": "min"}})  # fmt: skip
    assert secrets.masked(value) == value


def test_masking_costs_a_report_next_to_nothing(around: Surroundings) -> None:
    """Most of it is one comparison of the environment; 200 microseconds are a hundredth of an fsync."""
    import timeit

    line = json.dumps({"type": "segment.reported", "metrics": {f"metric_{n}": n / 7 for n in range(20)}})
    assert not secrets.holds_secret(line)
    took = timeit.repeat(lambda: secrets.holds_secret(line), timer=time.process_time, number=100, repeat=5)
    assert min(took) / 100 < 200e-6
