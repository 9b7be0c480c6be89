"""What a cluster file must hold beyond Ray's schema, whoever provides the machines.

Each rule is a function from the file to its problems. What Ray does without them was measured on Ray 2.60.
"""

from __future__ import annotations

import re
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path

from orchestrator import registry
from orchestrator.cluster.cluster_file import DISTRIBUTION, ROLES, TOKEN_PATH, ClusterFile, installed
from orchestrator.cluster.provider import provider_class, unfilled
from orchestrator.cluster.ray_start_parser import Start, at_home, unreadable
from orchestrator.errors import Problem, UsageError
from orchestrator.object_storage import is_url
from orchestrator.secrets import secret_in
from orchestrator.space import KeyProblem

HEALTH = {"period_ms": 1000, "timeout_ms": 1000, "failure_threshold": 4}
"""What is asked of Ray's health checks: a host that falls silent is given up after some 8 s; 65 s are Ray's default."""
LIMIT_MS = 20_000
_LOOPBACK = ("", "127.0.0.1", "localhost", "::1")
_VERSION = r"(\d[\w.+!]*\w|\d)"
_NAMED = re.compile(rf"sweep[-_]orchestrator(?:\[[^\]]*\])?['\")]*(?:\s*==\s*['\"]?|-|\s+){_VERSION}", re.IGNORECASE)
_REQUIRED = re.compile(r"sweep[-_]orchestrator(?:\[[^\]]*\])?\s*==", re.IGNORECASE)
_RAY_PINNED = re.compile(r"\bray(?:\[[^\]]*\])?\s*==|(?:^|\s)(?:-c|--constraints?)[\s=]", re.IGNORECASE)


def broken(file: ClusterFile) -> Iterator[Problem]:
    """Everything wrong with a file that has Ray's shape."""
    unread = list(_unreadable(file))
    yield from unread
    if unread:
        return
    for rule in (_starts, _tokens, _dashboard, _health, _version, _runs, _secrets, _keys):
        yield from rule(file)
    supported = registry.names("cluster_providers")
    if file.kind not in supported:
        hint = f"one of {', '.join(supported)}"
        yield Problem(f"the provider {file.kind!r} is not supported", hint, ("provider", "type"))
    else:
        yield from provider_class(file.kind).problems(file)


def unfinished(file: ClusterFile) -> Iterator[Problem]:
    """What must be done before the file can be used: what its template left open, and the token."""
    yield from unfilled(file)
    token = file.token
    if token is not None and not token.exists():
        yield KeyProblem(f"there is no token in {token} yet", "sweep cluster token", _mount(file, "head"))


def _unreadable(file: ClusterFile) -> Iterator[Problem]:
    for key in (f"{role}_start_ray_commands" for role in ROLES):
        for index, command in enumerate(file.commands(key)):
            if said := unreadable(command):
                yield Problem(f"no shell could read this: {said}", "close its quotes", (key, index))


def _starts(file: ClusterFile) -> Iterator[Problem]:
    for role in ROLES:
        key = f"{role}_start_ray_commands"
        found = file.starts[role]
        if len(found) != 1:
            said = "has no `ray start`" if key in file.data else "is missing, and Ray's own opens the dashboard"
            said = "has more than one `ray start`" if found else said
            yield Problem(f"`{key}` {said}", "sweep cluster init aws writes a file that has one", (key,))
            continue
        yield from _started(role, key, found[0])


def _started(role: str, key: str, start: Start) -> Iterator[Problem]:
    path = (key, start.index)
    if "--block" in start.options:
        yield Problem("`ray start --block` never comes back, and `ray up` waits for it", "leave --block out", path)
    if role == "head":
        if "--head" not in start.options:
            yield Problem("the head's `ray start` has no --head", "ray start --head --port=6379", path)
        if "--autoscaling-config" not in start.options:
            hint = "--autoscaling-config=~/ray_bootstrap_config.yaml, which `ray up` puts there"
            yield Problem("the head starts no workers without --autoscaling-config", hint, path)
    elif "$RAY_HEAD_IP" not in start.options.get("--address", ""):
        yield Problem("a worker must join the head", "ray start --address=$RAY_HEAD_IP:6379", path)


def _tokens(file: ClusterFile) -> Iterator[Problem]:
    """Whoever reaches a head without a token runs code on every node."""
    for role in ROLES:
        start = file.start(role)
        if start is None:
            continue
        path = (f"{role}_start_ray_commands", start.index)
        mode = start.environment.get("RAY_AUTH_MODE")
        if mode != "token":
            said = f"is {mode}" if mode else "is not exported"
            hint = "export RAY_AUTH_MODE=token before `ray start`; it must be set on every node alike"
            yield Problem(f"the {role} takes no token: RAY_AUTH_MODE {said}", hint, path)
        elif file.token_path(role) not in file.mounts:
            there = file.token_path(role)
            yield Problem(f"the {role} reads its token from {there}, and nothing puts one there",
                          f"file_mounts: {{{there}: ~/.sweep/token}}, after `sweep cluster token`", path)  # fmt: skip
    if file.token_path("head") != file.token_path("worker") and file.token_path("worker") in file.mounts:
        here = {role: file.mounts.get(file.token_path(role)) for role in ROLES}
        if here["head"] and here["head"] != here["worker"]:
            yield Problem("head and workers have different tokens", "one file for both", ("file_mounts",))
    if file.token is not None:
        yield from _private(file.token, "the token", _mount(file, "head"))


def _mount(file: ClusterFile, role: str) -> tuple[str, ...]:
    """The path to the entry of ``file_mounts`` that brings the token."""
    wanted = file.token_path(role)
    key = next((there for there in file.section("file_mounts") if at_home(there) == wanted), TOKEN_PATH)
    return ("file_mounts", key)


def _private(path: Path, what: str, where: tuple[str, ...]) -> Iterator[Problem]:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return  # it is not here (yet)
    if mode & 0o077:
        yield Problem(f"{what}, {path}, can be read by others (mode {mode:04o})", f"chmod 600 {path}", where)


def _keys(file: ClusterFile) -> Iterator[Problem]:
    """Ssh refuses a key that others can read, in the middle of `ray up`."""
    key = file.section("auth").get("ssh_private_key")
    if isinstance(key, str):
        yield from _private(file.here(key), "the ssh key", ("auth", "ssh_private_key"))


def _dashboard(file: ClusterFile) -> Iterator[Problem]:
    start = file.start("head")
    if start is None:
        return
    path = ("head_start_ray_commands", start.index)
    host = start.options.get("--dashboard-host", "")
    if host not in _LOOPBACK:
        hint = "leave --dashboard-host out; `ray dashboard` and `ssh -L 8265:localhost:8265` lead there"
        yield Problem(f"the dashboard would listen on {host}", hint, path)
    if start.options.get("--include-dashboard", "").lower() == "false":
        yield Problem("without the dashboard nothing can be submitted", "leave --include-dashboard=false out", path)


def _health(file: ClusterFile) -> Iterator[Problem]:
    start = file.start("head")
    if start is None:
        return
    path = ("head_start_ray_commands", start.index)
    given = {name: start.environment.get(f"RAY_health_check_{name}") for name in HEALTH}
    missing = [f"RAY_health_check_{name}={HEALTH[name]}" for name, value in given.items() if value is None]
    if missing:
        yield Problem("a host that falls silent would be given up after 65 s only",
                      f"export {' '.join(missing)} before the head's `ray start`", path)  # fmt: skip
        return
    numbers = {name: int(value) for name, value in given.items() if value and value.isdecimal()}
    if len(numbers) < len(given):
        yield Problem("RAY_health_check_* must be whole numbers", f"e.g. {_exports(HEALTH)}", path)
        return
    after = numbers["period_ms"] * numbers["failure_threshold"] + numbers["timeout_ms"]
    if after > LIMIT_MS:
        hint = f"{LIMIT_MS / 1000:g} s at most: {_exports(HEALTH)}"
        yield Problem(f"a host that falls silent would be given up after {after / 1000:g} s only", hint, path)


def _exports(values: dict[str, int]) -> str:
    return " ".join(f"RAY_health_check_{name}={value}" for name, value in values.items())


def _version(file: ClusterFile) -> Iterator[Problem]:
    """Every node has this project in the version that is here: one writes the journal, another reads it."""
    here = installed()
    for role in ROLES:
        found = dict(_named(file, role))
        if not found:
            hint = f"`pip install '{DISTRIBUTION}=={here}'`, or a checkout under file_mounts and its `make install`"
            yield Problem(f"nothing installs this project on the {role}", hint, ("setup_commands",))
        for path, there in found.items():
            if there != here:
                yield Problem(f"the {role} would run {DISTRIBUTION} {there}, and this machine has {here}",
                              "one version everywhere", path)  # fmt: skip
        for path, command in file.setup(role):
            if _REQUIRED.search(command) and "pip" in command and not _RAY_PINNED.search(command):
                hint = "pin it in the same command: 'ray[default,tune,train]==VERSION', or -c constraints.txt"
                yield Problem("nodes set up on different days would have different versions of Ray", hint, path)


def _named(file: ClusterFile, role: str) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Where the setup of a role names a version of this project, and which."""
    for path, command in file.setup(role):
        if match := _NAMED.search(command):
            yield path, match[1]
        for there, here in file.mounts.items():
            if _mentions(command, there) and re.search(r"\bmake install\b|\bpip install\b|\bpip sync\b", command):
                declared = _declared(file.here(here))
                if declared:
                    yield path, declared


def _mentions(command: str, path: str) -> bool:
    return path in command or path.replace("~", "$HOME", 1) in command


def _declared(folder: Path) -> str:
    """The version of the checkout in ``folder``; empty where that is another project's, or none."""
    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    except (OSError, ValueError, KeyError):
        return ""
    return str(project.get("version", "")) if project.get("name") == DISTRIBUTION else ""


def _runs(file: ClusterFile) -> Iterator[Problem]:
    """Head and workers write into one folder of runs, which outlives them."""
    start = file.start("head")
    if start is None:
        return
    path, runs = ("head_start_ray_commands", start.index), file.runs
    if not runs:
        hint = "export SWEEP_RUNS=/mnt/sweeps before the head's `ray start`"
        yield Problem("no folder for the runs is named", hint, path)
    elif "://" in runs:
        yield from _bucket(runs, path)
    elif not runs.startswith("/") or re.match(r"/(?:tmp|root|home|var/tmp|dev)(?:/|$)", runs):
        yield Problem(f"SWEEP_RUNS={runs} is not on a file system that every node mounts",
                      "an absolute path such as /mnt/sweeps, mounted by setup_commands", path)  # fmt: skip
    else:
        for role in ROLES:
            if not any(re.search(r"\bmount", command) and _below(runs, command) for _, command in file.setup(role)):
                hint = f"`sudo mount -t nfs4 SERVER:/ {runs}`, or `mountpoint -q {runs}`"
                said = f"no setup command of the {role} mounts {runs}, or sees that it is mounted"
                yield Problem(said, hint, ("setup_commands",))


def _bucket(runs: str, path: tuple[str | int, ...]) -> Iterator[Problem]:
    try:
        is_url(runs)
    except UsageError as error:
        yield Problem(error.message, error.hint, path)


def _below(path: str, command: str) -> bool:
    """Whether a command names the path, or a folder above it."""
    above = [str(parent) for parent in (Path(path), *Path(path).parents) if str(parent) != "/"]
    return any(re.search(rf"(?<![\w.-]){re.escape(part)}(?![\w/-])", command) for part in above)


def _secrets(file: ClusterFile) -> Iterator[Problem]:
    """Ray copies the file to the head, and commands stand in every node's process list."""
    for path, text in file.texts():
        if re.search(r"\bRAY_AUTH_TOKEN=\S", text):
            yield Problem("the token itself stands in the file", "export RAY_AUTH_TOKEN_PATH, and mount the file", path)
        if source := secret_in(text):
            yield Problem(f"the secret of {source} stands in the file", "leave it in the environment", path)
