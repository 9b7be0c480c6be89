"""What counts as a secret by its name or form, and which names, words and numbers never do."""

from __future__ import annotations

import html
import json
import re
import sys
from pathlib import Path

import plotly
import pytest

from orchestrator import cli, secrets
from orchestrator.errors import UsageError
from orchestrator.secrets import masked
from tests.support.written_secrets import KEY, PEM, keys, nothing_known, pieces_in

__all__ = ["keys", "nothing_known"]  # fixtures


# What a service calls its key.
NAMES = re.findall(
    r"\S+",
    """
    WANDB_API_KEY HF_TOKEN HUGGING_FACE_HUB_TOKEN HUGGINGFACE_TOKEN OPENAI_API_KEY OPENAI_API_KEY_2 ANTHROPIC_API_KEY
    AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AZURE_CLIENT_SECRET AZURE_STORAGE_KEY
    AZURE_STORAGE_ACCOUNT_KEY AZURE_STORAGE_CONNECTION_STRING AZURE_STORAGE_SAS_TOKEN GOOGLE_API_KEY GCP_CREDENTIALS
    GITHUB_TOKEN GH_TOKEN GH_PAT GITLAB_TOKEN CI_JOB_TOKEN BITBUCKET_APP_PASSWORD NPM_TOKEN NPM_CONFIG__AUTH
    PYPI_TOKEN TWINE_PASSWORD UV_PUBLISH_TOKEN DOCKER_PASSWORD DOCKER_AUTH SLACK_WEBHOOK SLACK_WEBHOOK_URL
    SLACK_BOT_TOKEN DISCORD_WEBHOOK DISCORD_WEBHOOK_URL DISCORD_TOKEN TELEGRAM_BOT_TOKEN TEAMS_WEBHOOK_URI
    NEPTUNE_API_TOKEN COMET_API_KEY MLFLOW_TRACKING_PASSWORD MLFLOW_TRACKING_TOKEN CLEARML_API_ACCESS_KEY
    CLEARML_API_SECRET_KEY KAGGLE_KEY DATABRICKS_TOKEN SNOWFLAKE_PASSWORD PGPASSWORD MYSQL_PWD REDISCLI_AUTH SSHPASS
    SENTRY_DSN DATADOG_API_KEY DD_API_KEY RAY_AUTH_TOKEN VAULT_TOKEN DB_PASS DB_PASS_PROD DB_PASSWD API_TOKEN_OLD
    JWT_SECRET SESSION_COOKIE SIGNING_KEY ENCRYPTION_KEYS my_password client_secret apiKey x-api-key accessToken
    TOKEN_OF_THE_TEAM SECRETS_JSON GITHUBTOKEN SMTP_PW
""",
)


@pytest.mark.parametrize("name", NAMES)
def test_a_variable_with_a_secrets_name_is_masked(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "hunter3hunter3x!")
    assert masked("<hunter3hunter3x!>") == "<***>"
    assert masked("<hunter3h…>") == "<***…>"


@pytest.mark.parametrize(
    ("name", "value"),
    [("PWD", "/home/me/pr0ject-x9/a1b2c3"), ("OLDPWD", "/a/b"), ("TOKENIZERS_PARALLELISM", "false-or-tru3"),
     ("KEYBOARD_LAYOUT", "de-latin1-nodeadkeys"), ("MAX_TOKENS", "1048576123"), ("SSH_KEY", "/mnt/keys/deploy-1.pem"),
     ("MONKEYPATCH", "q7w8e9r0t1y2"), ("SSH_AUTH_SOCK", "/tmp/ssh-q7w8e9/agent.1"), ("PASSES", "q7w8e9r0t1y2"),
     ("AUTHOR", "q7w8e9r0t1y2")],
)  # fmt: skip
def test_a_variable_without_a_secrets_name_or_value_is_not(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert masked(f"<{value}>") == f"<{value}>"


LETTERS = "aB3dE5gH7jK9mN2pQ4sT6vW8yZ1cX0bV"
# An example of each form of a key, and what of it must not be left.
UNKNOWN = {
    "Hugging Face": f"hf_{LETTERS}", "GitHub": f"ghp_{LETTERS}", "GitHub, fine": f"github_pat_{LETTERS}",
    "GitLab": f"glpat-{LETTERS}", "Slack": f"xoxb-123456789012-{LETTERS}", "Slack app": f"xapp-1-{LETTERS}",
    "AWS": "AKIAIOSFODNN7EXAMPLE", "AWS session": "ASIAIOSFODNN7EXAMPLE", "OpenAI": f"sk-proj-{LETTERS}",
    "Stripe": f"sk_live_{LETTERS}", "Stripe test": f"sk_test_{LETTERS}", "Google": f"AIza{LETTERS}abc",
    "Google OAuth": f"ya29.{LETTERS}", "Google client": f"GOCSPX-{LETTERS}", "W&B": f"wandb_v1_{LETTERS}",
    "NVIDIA": f"nvapi-{LETTERS}", "Groq": f"gsk_{LETTERS}", "Replicate": f"r8_{LETTERS}", "PyPI": f"pypi-AgE{LETTERS}",
    "npm": f"npm_{LETTERS}", "Docker": f"dckr_pat_{LETTERS}", "DigitalOcean": "dop_v1_" + "0a1b2c3d" * 8,
    "SendGrid": f"SG.{LETTERS}.{LETTERS}", "JWT": f"eyJhbGciOiJIUzI1NiJ9.eyJ{LETTERS}.{LETTERS}",
    "Slack webhook": f"https://hooks.slack.com/services/T0001AB/B0002CD/{LETTERS}",
    "Discord webhook": f"https://discord.com/api/webhooks/123456789012345678/{LETTERS}",
    "Teams webhook": f"https://lab.webhook.office.com/webhookb2/{LETTERS}",
    "Telegram": f"123456789:AA{LETTERS}", "private key": PEM,
    "Telegram in a URL": f"https://api.telegram.org/bot123456789:AA{LETTERS}/sendMessage",
    "W&B server": "local-" + "0a1b2c3d" * 5, "Databricks": "dapi" + "0a1b2c3d" * 4, "Vault": f"hvs.{LETTERS}",
    "Shopify": "shpat_" + "0a1b2c3d" * 4, "age": f"AGE-SECRET-KEY-1{LETTERS.upper()}{LETTERS.upper()}",
    "curl -u": f"curl -u me:{LETTERS} https://example.com", "curl --user": f"curl --user 'me:{LETTERS}' x",
    "environment": f"export LAB_KEY={LETTERS}", "quoted": f'{{"api_key": "{LETTERS}"}}', "YAML": f"  token: {LETTERS}",
    "Python": f"api_key='{LETTERS}'", "option": f"--api-key {LETTERS}", "option=": f"--auth-token={LETTERS}",
    "argv": f"['--password', '{LETTERS}']", "header": f"X-Api-Key: {LETTERS}", "Bearer": f"Bearer {LETTERS}",
    "curl": f"-H 'Authorization: Bearer {LETTERS}'", "Basic": f"authorization: basic {LETTERS}",
    "query": f"https://example.com/x?access_token={LETTERS}&y=1", "user": f"https://{LETTERS}@example.com/x",
    "password": f"https://me:{LETTERS}@example.com/x", "short token in a URL": "https://q8w7e6r5t4@example.com",
    "odd password in a URL": f"postgres://me:p@{LETTERS}@db/x", "hunter": "password: hunter22",
}  # fmt: skip


@pytest.mark.parametrize("form", UNKNOWN)
def test_a_key_of_a_known_form_is_masked_though_no_variable_holds_it(form: str) -> None:
    text = UNKNOWN[form]
    kept = (masked(text), masked(json.dumps(text)), masked(f"see {text}, then"), masked(html.escape(text)))
    secret = {"AWS": "IOSFODNN", "AWS session": "IOSFODNN", "DigitalOcean": "0a1b2c3d", "W&B server": "0a1b2c3d",
              "Databricks": "0a1b2c3d", "Shopify": "0a1b2c3d", "age": LETTERS.upper()[5:], "private key": "MIIEvQIB",
              "short token in a URL": "q8w7e6r5t4", "hunter": "hunter22"}.get(form, LETTERS[5:])  # fmt: skip
    for output in kept:
        assert secret not in output
        assert "***" in output
    assert json.loads(kept[1])


@pytest.mark.parametrize(
    "text",
    ["https://git@github.com/me/x", "ssh://deploy@host/x", "https://example.com/@me/x?y=a@b",
     "eos_token='<|endoftext|>'",
     "pad_token: [PAD]", "num_tokens=123456789", "Missing key(s) in state_dict: 'layer1.0.conv.weight'",
     "key: model.learning_rate", "monitor key=val_loss/dataloader_idx_0", "token: tokenizer_bpe_16k",
     "key: 2026-11-29T12",
     "secret = get_secret_from_vault()", "password = $PASSWORD", "risk-adjusted-return-of-2024-portfolio-x",
     "author: q7w8e9r0t1y2 ", "KeyError: 'val_f1_macro_top5'", "the bearer certificates of 2024",
     "auth: /run/a1b2c3d4e5/f6",
     "docker run -u 1000:1000 x", "ps -u root", "sort -u a:b", "python -u train.py", "local-rank-0",
     "basic convolutions3x3", "hidden_size=2048", "sk-learn-pipeline", "checkpoint epoch=3-step=1200.ckpt"],
)  # fmt: skip
def test_ordinary_text_about_keys_and_tokens_is_not_masked(text: str) -> None:
    assert masked(text) == text


def test_a_name_of_the_sweep_is_not_masked_though_a_key_equals_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for number, value in enumerate(["convnext-tiny-224", "val/f1_top5", "resnet50-v2"]):
        monkeypatch.setenv(f"K{number}_KEY", value)
        assert masked(f"a {value}.") == "a ***."
        secrets.allow({"choice": [value]})
        assert masked(f"a {value}.") == f"a {value}."
    assert [sentence.partition(" ")[0] for sentence in secrets.spared()] == ["$K0_KEY", "$K1_KEY", "$K2_KEY"]
    assert all(sentence.endswith("its value is also a name or value of the sweep") for sentence in secrets.spared())


def test_a_name_of_the_sweep_within_a_key_is_not_masked_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "resnet50x7q9-production-q8w7")
    secrets.allow(["resnet50x"])
    assert masked("resnet50x in production") == "resnet50x in production"
    assert pieces_in(masked("resnet50x7q9-production-q8w7"), "7q9-production-q8w7") == []


def test_a_literal_key_is_no_name_of_the_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", KEY)
    secrets.allow([KEY, f"Bearer {KEY}"])
    assert masked(KEY) == "***"
    assert masked(f"model: {{api_key: {LETTERS}}}") == "model: {api_key: ***}"


@pytest.mark.parametrize("value", ["short-1", "production", "adamw_torch", "0.00012345", "12345678", "2026-01-01"])
def test_words_numbers_and_short_values_are_no_secrets(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("SOME_KEY", value)
    if not value[0].isdigit():
        reason = "is shorter than 8 characters" if value == "short-1" else "is made of plain words"
        assert secrets.spared() == [f"$SOME_KEY is not masked in what the sweep writes: its value {reason}"]
    for text in (value, f"epoch={value}", f"x/{value}/y", json.dumps({"a": value})):
        assert masked(text) == text


def test_the_words_in_a_passphrase_are_not_masked_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_PASSWORD", "validation-learning-production-batches")
    assert masked("validation-learning-production-batches") == "***"
    text = "validation and learning rate in production, with batches"
    assert masked(text) == text


PROSE = sorted((Path(__file__).resolve().parent.parent / "docs").glob("*.md"))


@pytest.mark.parametrize("path", PROSE, ids=lambda path: path.stem)
def test_documentation_has_nothing_to_mask(keys: None, path: Path) -> None:
    for line in path.read_text(encoding="utf-8").splitlines():
        assert masked(line) == line or "://" in line or "key" in line.lower() or "token" in line.lower()


@pytest.mark.slow
def test_the_code_of_a_library_has_nothing_to_mask() -> None:
    code = (Path(plotly.__file__).parent / "package_data/plotly.min.js").read_text(encoding="utf-8")
    assert masked(code) == code


def test_launch_says_once_which_variables_are_not_masked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*words: object, **options: object) -> None:
        raise UsageError("this far")

    (tmp_path / "tiny.yaml").write_text(
        "{model: a.B, objective: {metric: m, mode: min}, trainer: {max_epochs: 1}, "
        "space: {model.x: {choice: [resnet50-v2, b]}}}"
    )
    monkeypatch.setenv("MODEL_KEY", "resnet50-v2")
    monkeypatch.setenv("SHORT_TOKEN", "ab1")
    monkeypatch.setenv("SERVICE_KEY", KEY)
    monkeypatch.setattr("orchestrator.sweep.launch", refuse)
    monkeypatch.setattr(
        "sys.argv", ["sweep", "launch", str(tmp_path / "tiny.yaml"), "--local", "--runs", str(tmp_path)]
    )
    streams = (sys.stdout, sys.stderr)
    monkeypatch.setattr("os.fork", lambda: pytest.fail("this process is no `sweep`"))
    monkeypatch.setattr("threading.active_count", lambda: 1)
    with pytest.raises(SystemExit):
        cli.main()
    sys.stdout, sys.stderr = streams
    err = capsys.readouterr().err
    assert err.count("notice: ") == 2
    assert "notice: $MODEL_KEY is not masked in what the sweep writes: its value is also a name or value" in err
    assert "notice: $SHORT_TOKEN is not masked in what the sweep writes: its value is shorter than 8 characters" in err
