"""Find secrets that this process does not hold: keys of a known form, and what text itself calls a password or key.

The list of forms is kept by hand; a test has an example of each.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from orchestrator.secrets.plain_words import is_name, is_plain, is_random

Span = tuple[int, int]

# What every key of the form contains -> the form. The first is a plain search, which costs next to nothing.
_KEYS = (
    ("hf_", r"hf_[A-Za-z0-9]{16,}"),  # Hugging Face
    ("gh", r"gh[pousr]_[A-Za-z0-9]{16,}"),  # GitHub
    ("github_pat_", r"github_pat_\w{20,}"),
    ("glpat-", r"glpat-[\w-]{16,}"),  # GitLab
    ("xox", r"xox[abeoprs]-[\w-]{10,}"),  # Slack
    ("xapp-", r"xapp-[\w-]{10,}"),
    ("KIA", r"AKIA[A-Z0-9]{16}"),  # AWS
    ("SIA", r"ASIA[A-Z0-9]{16}"),
    ("sk-", r"(?<!-)(?<!_)sk-(?=[\w-]*\d)[\w-]{20,}"),  # OpenAI, Anthropic
    ("_live_", r"[rsp]k_live_\w{10,}"),  # Stripe
    ("_test_", r"[rsp]k_test_\w{16,}"),
    ("AIza", r"AIza[\w-]{30,}"),  # Google
    ("ya29.", r"ya29\.[\w-]{20,}"),
    ("GOCSPX-", r"GOCSPX-[\w-]{20,}"),
    ("wandb_v1_", r"wandb_v1_\w{16,}"),
    ("nvapi-", r"nvapi-[\w-]{20,}"),
    ("gsk_", r"gsk_[A-Za-z0-9]{20,}"),  # Groq
    ("r8_", r"r8_[A-Za-z0-9]{20,}"),  # Replicate
    ("pypi-", r"pypi-AgE[\w-]{20,}"),
    ("npm_", r"npm_[A-Za-z0-9]{30,}"),
    ("dckr_pat_", r"dckr_pat_[\w-]{16,}"),
    ("dop_v1_", r"dop_v1_[0-9a-f]{32,}"),  # DigitalOcean
    ("SG.", r"(?<!-)(?<!_)SG\.[\w-]{16,}\.[\w-]{16,}"),  # SendGrid
    ("eyJ", r"(?<!-)(?<!_)eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?"),  # a JSON web token
    ("hooks.slack.com/", r"(?<=hooks\.slack\.com/)[\w/-]{8,}"),
    ("/webhooks/", r"(?<=/webhooks/)\d+/[\w-]{8,}"),  # Discord
    ("webhook.office.com/", r"(?<=webhook\.office\.com/)[\w/@-]{8,}"),
    (":AA", r"(?:bot)?\d{8,10}:AA[\w-]{30,}"),  # Telegram, whose URLs have "bot" before it
    ("local-", r"local-[0-9a-f]{40}(?![0-9a-f])"),  # a W&B server of one's own
    ("dapi", r"dapi[0-9a-f]{32}"),  # Databricks
    ("hvs.", r"hvs\.[\w-]{20,}"),  # Vault
    ("shp", r"shp(?:at|ca|pa|ss)_[0-9a-f]{32}"),  # Shopify
    ("AGE-SECRET-KEY-1", r"AGE-SECRET-KEY-1[A-Z0-9]{40,}"),
    ("PRIVATE KEY", r"(?<=PRIVATE KEY-----)(?:[A-Za-z0-9+/=\s\\,]|[:-](?!----)){16,}"),
    ("PRIVATE KEY", r"(?<=PRIVATE KEY BLOCK-----)(?:[A-Za-z0-9+/=\s\\,]|[:-](?!----)){16,}"),
)
_FORMS = tuple((marker, re.compile(r"(?<![A-Za-z0-9])" + form)) for marker, form in _KEYS)

_USER = re.compile(r"(?<=://)[^\s/?#'\"<>`\\]+(?=@)")
_PARAMETER = re.compile(
    r"[?&](?:amp;)?[\w.-]{0,30}(?:token|key|secret|passw(?:or)?d|pwd|sig|signature|auth|code|credential)="
    r"(?!=)([\w%.~+/:=-]{4,})",
    re.IGNORECASE,
)
_PASSWORDS = ("password", "passwd", "passphrase", "secret", "pwd")
_OTHERS = ("token", "key", "auth", "authorization", "credential", "credentials", "signature", "cookie", "session",
           "webhook", "dsn", "bearer", "pat")  # fmt: skip
_NAMES = (*_PASSWORDS, *_OTHERS)
_SCHEMES = ("basic", "bearer", "token", "apikey")
_QUOTE = r"(?:\\{0,3}[\"']|&(?:quot|#x27|#39);)"
_LOGIN = re.compile(rf"(?<!\S)(?:-u|--user)[ =]{_QUOTE}?[\w.@-]{{1,40}}:(?P<password>[^\s'\"&\\]{{4,}})")  # of curl
_VALUE = (
    r"(?:(?P<quote>[\"'])(?P<quoted>[^\"'\n]{8,200}?)(?:\\{1,3})?(?P=quote)"
    rf"|{_QUOTE}?(?P<bare>[^\s\"'`,;<>(){{}}\[\]\\&]{{8,}}))"
)
# After a name: an ending and a quote, then ``=`` or ``:``, then the value. An option's value may follow a space.
_END = rf"(?:[_-]?(?:id|value|key|\d{{1,3}}))?{_QUOTE}?"
_ASSIGNED = re.compile(
    rf"{_END}\s{{0,3}}(?:[:=]|=>)\s{{0,3}}(?:\\{{1,3}}(?=[\"']))?(?:b(?=[\"']))?{_VALUE}", re.IGNORECASE
)
_OPTION = re.compile(rf"{_END},?\s{{1,3}}{_VALUE}", re.IGNORECASE)
_BEFORE_OPTION = re.compile(r"--[\w-]{0,30}$")
_CREDENTIALS = re.compile(r"\s{1,3}(?P<bare>[\w+/=.~:-]{8,})")
_BEFORE_SCHEME = re.compile(r"authorization\\{0,3}[\"']?\s{0,3}[:=,]\s{0,3}\\{0,3}[\"']?$")


def known_forms(text: str) -> Iterator[Span]:
    """Yield the places of keys of a known form, and of users and passwords in URLs."""
    for marker, form in _FORMS:
        if marker in text:
            yield from (match.span() for match in form.finditer(text) if not is_name(match[0]))
    if "-u" in text:
        yield from (match.span("password") for match in _LOGIN.finditer(text) if _is_value(match[1], password=True))
    if "://" in text:
        yield from (match.span() for match in _USER.finditer(text) if _is_login(match[0]))
        yield from (match.span(1) for match in _PARAMETER.finditer(text) if not is_plain(match[1]))


def assigned(text: str, is_setting: Callable[[str], bool]) -> Iterator[Span]:
    """Yield the places of values that the text assigns to a secret's name: ``password=…``, ``"api_key": "…"``.

    A value must have a digit or a sign under a password's name, and look generated under another. Values for which
    ``is_setting`` is true do not count.
    """
    lower = text.replace("\u0130", "I").lower()  # the one letter that is two characters in lower case
    for name in _NAMES:
        if name not in lower:
            continue
        end = 0
        for place in _places(name, lower):
            if place < end:  # within the last value: each is read once, so that the time is in proportion to the text
                continue
            match = _ASSIGNED.match(text, place)
            if match is None and _BEFORE_OPTION.search(text, max(0, place - len(name) - 32), place - len(name)):
                match = _OPTION.match(text, place)
            if match is None:
                continue
            end = match.end()
            group = "quoted" if match["quoted"] else "bare"
            if _is_value(match[group], password=name in _PASSWORDS) and not is_setting(match[group]):
                yield match.span(group)
    for scheme in _SCHEMES:
        if scheme not in lower:
            continue
        for place in _places(scheme, lower):
            match, start = _CREDENTIALS.match(text, place), place - len(scheme)
            named = _BEFORE_SCHEME.search(lower, max(0, start - 30), start)
            if match and (named or is_random(match["bare"])) and not is_setting(match["bare"]):
                yield match.span("bare")


def _places(word: str, text: str) -> Iterator[int]:
    """Yield where ``word`` ends in ``text``."""
    place = text.find(word)
    while place >= 0:
        place += len(word)
        yield place
        place = text.find(word, place)


def _is_login(user: str) -> bool:
    """Return whether what precedes ``@`` in a URL is more than a user's name."""
    return ":" in user or len(user) >= 20 or (len(user) >= 8 and not is_plain(user) and not is_name(user))


def _is_value(value: str, *, password: bool) -> bool:
    if value.startswith(("$", "%(", "{{", "***", "/", "~/", "./")) or "://" in value:
        return False
    if not password:
        return is_random(value)
    return not is_plain(value) and not value.isalpha() and bool(re.search(r"[^A-Za-z_.\s-]", value))
