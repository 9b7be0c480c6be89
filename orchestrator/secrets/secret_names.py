"""Names that say that their value is a secret: of environment variables, fields, options and headers.

The lists are kept by hand. Add to them what a service calls its keys; a test names each entry.
"""

from __future__ import annotations

import re

# Anywhere in a name: HF_TOKEN, OPENAI_API_KEY_2, SECRET_OF_THE_DAY, client_secret.
_ANYWHERE = (
    "TOKENS?", "SECRETS?", "PASSWORDS?", "PASSWD", "PASSPHRASE", "CREDENTIALS?", "CREDS?", "WEBHOOKS?", "APIKEYS?",
    "API_KEYS?", "ACCESS_?KEYS?", "PRIVATE_?KEYS?", "SECRET_?KEYS?", "ACCOUNT_?KEYS?", "ENCRYPTION_?KEYS?",
    "SIGNING_?KEYS?", "SERVICE_?KEYS?", "CONNECTION_?STRING", "CONN_?STR",
)  # fmt: skip
# At the end, or before one of _LAST: WANDB_KEY, MYSQL_PWD, DB_PASS_PROD, SENTRY_DSN, REDISCLI_AUTH.
_AT_THE_END = (
    "KEYS?", "PWD", "PW", "PASS", "PAT", "BEARER", "COOKIES?", "SAS", "DSN", "AUTH", "AUTHORIZATION", "JWT", "SALT",
    "SIGNATURE", "PEM", "OTP", "SESSION",
)  # fmt: skip
_LAST = (
    "ID", "URL", "URI", "JSON", "PEM", "B64", "BASE64", "PROD", "PRODUCTION", "DEV", "TEST", "STAGING", "BACKUP",
    "OLD", "NEW", "PRIMARY", "SECONDARY", "VALUE", r"\d+",
)  # fmt: skip
# Written as one word: PGPASSWORD, SSHPASS, GHTOKEN, MYSQLPWD.
_GLUED = ("PASSWORD", "PASSWD", "TOKEN", "SECRET", "APIKEY", "AUTHKEY", "ACCESSKEY", "PRIVATEKEY", "SSHPASS", "PWD")
_NO_SECRETS = frozenset({"PWD", "OLDPWD", "INIT_CWD", "GPG_KEY", "SSH_AUTH_SOCK", "XDG_SESSION_ID", "DESKTOP_SESSION"})
"""Names of shells, desktops and container images; ``GPG_KEY`` is the fingerprint of who built Python."""

_NAME = re.compile(
    rf"(?:^|_)(?:{'|'.join(_ANYWHERE)})(?:_|$)"
    rf"|(?:^|_)(?:{'|'.join(_AT_THE_END)})(?:_(?:{'|'.join(_LAST)}))*$"
    rf"|(?:{'|'.join(_GLUED)})(?:_(?:{'|'.join(_LAST)}))*$|SECRET|PASSWORD",
    re.IGNORECASE,
)
_FILE = re.compile(r"(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASS|CREDENTIALS?|CREDS?)_?(?:FILE|PATH)?$", re.IGNORECASE)
_PASSWORD = re.compile(r"PASSWORD|PASSWD|PASSPHRASE|SECRET|API_?KEY|(?:ACCESS|AUTH|API)_?TOKEN", re.IGNORECASE)
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[-. ]+")


def is_secret_name(name: str) -> bool:
    """Return whether a name is that of a secret: ``WANDB_API_KEY``, ``x-api-key``, ``clientSecret``."""
    return name not in _NO_SECRETS and bool(_NAME.search(_HUMP.sub("_", name)))


def is_password_name(name: str) -> bool:
    """Return whether a name is that of a password and cannot be that of a setting, as ``pad_token`` is."""
    return bool(_PASSWORD.search(_HUMP.sub("_", name)))


def is_file_name(name: str) -> bool:
    """Return whether an environment variable of that name may name a file with a secret: ``PGPASSFILE``."""
    return bool(_FILE.search(name))
