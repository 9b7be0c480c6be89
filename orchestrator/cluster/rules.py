"""Rules for cluster files beyond Ray's schema, common to all providers.

Each rule is a function from the file to its problems. Ray's behavior without them was measured on Ray 2.60.
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
from orchestrator.cluster.ray_start_parser import Start, normalize_home, syntax_error
from orchestrator.errors import Problem, UsageError
from orchestrator.object_storage import is_url
from orchestrator.secrets import secret_in
from orchestrator.space import KeyProblem

HEALTH = {"period_ms": 1000, "timeout_ms": 1000, "failure_threshold": 4}
"""Ray's health checks: a silent host is declared dead after some 8 s; Ray's default is 65 s."""
MAX_DETECTION_MS = 20_000
_LOOPBACK = ("", "127.0.0.1", "localhost", "::1")
_VERSION = r"(\d[\w.+!]*\w|\d)"
_PACKAGE_VERSION = re.compile(
    rf"sweep[-_]orchestrator(?:\[[^\]]*\])?['\")]*(?:\s*==\s*['\"]?|-|\s+){_VERSION}", re.IGNORECASE
)
_PACKAGE_PINNED = re.compile(r"sweep[-_]orchestrator(?:\[[^\]]*\])?\s*==", re.IGNORECASE)
_RAY_PINNED = re.compile(r"\bray(?:\[[^\]]*\])?\s*==|(?:^|\s)(?:-c|--constraints?)[\s=]", re.IGNORECASE)


def rule_problems(file: ClusterFile) -> Iterator[Problem]:
    """Yield every violation in a file that satisfies Ray's schema."""
    syntax_errors = list(_syntax_errors(file))
    yield from syntax_errors
    if syntax_errors:
        return
    for rule in (_starts, _tokens, _dashboard, _health, _version, _runs, _secrets, _keys):
        yield from rule(file)
    supported = registry.names("cluster_providers")
    if file.kind not in supported:
        hint = f"use one of {', '.join(supported)}"
        yield Problem(f"the provider {file.kind!r} is not supported", hint, ("provider", "type"))
    else:
        yield from provider_class(file.kind).problems(file)


def open_items(file: ClusterFile) -> Iterator[Problem]:
    """Yield what must be done before `sweep cluster up`: placeholders of the template, and the token."""
    yield from unfilled(file)
    token = file.token
    if token is not None and not token.exists():
        yield KeyProblem(f"there is no token in {token} yet", "sweep cluster token", _mount(file, "head"))


def _syntax_errors(file: ClusterFile) -> Iterator[Problem]:
    for key in (f"{role}_start_ray_commands" for role in ROLES):
        for index, command in enumerate(file.commands(key)):
            if reason := syntax_error(command):
                yield Problem(f"a shell cannot parse this: {reason}", "close its quotes", (key, index))


def _starts(file: ClusterFile) -> Iterator[Problem]:
    for role in ROLES:
        key = f"{role}_start_ray_commands"
        starts = file.starts[role]
        if len(starts) != 1:
            fault = "has no `ray start`" if key in file.data else "is missing, and Ray's default opens the dashboard"
            fault = "has more than one `ray start`" if starts else fault
            yield Problem(f"`{key}` {fault}", "sweep cluster init aws writes a file that has one", (key,))
            continue
        yield from _start_problems(role, key, starts[0])


def _start_problems(role: str, key: str, start: Start) -> Iterator[Problem]:
    path = (key, start.index)
    if "--block" in start.options:
        yield Problem("`ray start --block` does not return, and `ray up` waits for it", "remove --block", path)
    if role == "head":
        if "--head" not in start.options:
            yield Problem("the head's `ray start` has no --head", "ray start --head --port=6379", path)
        if "--autoscaling-config" not in start.options:
            hint = "--autoscaling-config=~/ray_bootstrap_config.yaml, which `ray up` puts there"
            yield Problem("the head starts no workers without --autoscaling-config", hint, path)
    elif "$RAY_HEAD_IP" not in start.options.get("--address", ""):
        yield Problem("a worker must join the head", "ray start --address=$RAY_HEAD_IP:6379", path)


def _tokens(file: ClusterFile) -> Iterator[Problem]:
    """Require a token: without one, anyone who reaches the head can run code on every node."""
    for role in ROLES:
        start = file.start(role)
        if start is None:
            continue
        path = (f"{role}_start_ray_commands", start.index)
        mode = start.environment.get("RAY_AUTH_MODE")
        if mode != "token":
            setting = f"is {mode}" if mode else "is not exported"
            hint = "export RAY_AUTH_MODE=token before `ray start`; it must be set on every node"
            yield Problem(f"the {role} requires no token: RAY_AUTH_MODE {setting}", hint, path)
        elif (remote := file.token_path(role)) not in file.mounts:
            yield Problem(f"the {role} reads its token from {remote}, but no file mount puts it there",
                          f"file_mounts: {{{remote}: ~/.sweep/token}}, after `sweep cluster token`", path)  # fmt: skip
    if file.token_path("head") != file.token_path("worker") and file.token_path("worker") in file.mounts:
        local = {role: file.mounts.get(file.token_path(role)) for role in ROLES}
        if local["head"] and local["head"] != local["worker"]:
            yield Problem("head and workers have different tokens", "mount one file for both", ("file_mounts",))
    if file.token is not None:
        yield from _check_mode(file.token, "the token", _mount(file, "head"))


def _mount(file: ClusterFile, role: str) -> tuple[str, ...]:
    """Return the path, in the file, to the entry of ``file_mounts`` for the token."""
    path = file.token_path(role)
    key = next((remote for remote in file.section("file_mounts") if normalize_home(remote) == path), TOKEN_PATH)
    return ("file_mounts", key)


def _check_mode(path: Path, what: str, position: tuple[str, ...]) -> Iterator[Problem]:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return  # no file (yet)
    if mode & 0o077:
        yield Problem(f"{what}, {path}, can be read by others (mode {mode:04o})", f"chmod 600 {path}", position)


def _keys(file: ClusterFile) -> Iterator[Problem]:
    """Check the mode of the ssh key: ssh refuses one that others can read, in the middle of `ray up`."""
    key = file.section("auth").get("ssh_private_key")
    if isinstance(key, str):
        yield from _check_mode(file.local_path(key), "the ssh key", ("auth", "ssh_private_key"))


def _dashboard(file: ClusterFile) -> Iterator[Problem]:
    start = file.start("head")
    if start is None:
        return
    path = ("head_start_ray_commands", start.index)
    host = start.options.get("--dashboard-host", "")
    if host not in _LOOPBACK:
        hint = "remove --dashboard-host; `ray dashboard` and `ssh -L 8265:localhost:8265` reach the dashboard"
        yield Problem(f"the dashboard would listen on {host}", hint, path)
    if start.options.get("--include-dashboard", "").lower() == "false":
        yield Problem("without the dashboard nothing can be submitted", "remove --include-dashboard=false", path)


def _health(file: ClusterFile) -> Iterator[Problem]:
    start = file.start("head")
    if start is None:
        return
    path = ("head_start_ray_commands", start.index)
    values = {name: start.environment.get(f"RAY_health_check_{name}") for name in HEALTH}
    missing = [f"RAY_health_check_{name}={HEALTH[name]}" for name, value in values.items() if value is None]
    if missing:
        yield Problem("a silent host would be declared dead only after 65 s",
                      f"export {' '.join(missing)} before the head's `ray start`", path)  # fmt: skip
        return
    numbers = {name: int(value) for name, value in values.items() if value and value.isdecimal()}
    if len(numbers) < len(values):
        yield Problem("RAY_health_check_* must be integers", f"e.g. {_exports()}", path)
        return
    after = numbers["period_ms"] * numbers["failure_threshold"] + numbers["timeout_ms"]
    if after > MAX_DETECTION_MS:
        hint = f"at most {MAX_DETECTION_MS / 1000:g} s: {_exports()}"
        yield Problem(f"a silent host would be declared dead only after {after / 1000:g} s", hint, path)


def _exports() -> str:
    return " ".join(f"RAY_health_check_{name}={value}" for name, value in HEALTH.items())


def _version(file: ClusterFile) -> Iterator[Problem]:
    """Require this machine's version of this project on every node: one node writes the journal, another reads it."""
    local = installed()
    for role in ROLES:
        versions = dict(_installed_versions(file, role))
        if not versions:
            hint = f"`pip install '{DISTRIBUTION}=={local}'`, or a checkout under file_mounts and its `make install`"
            yield Problem(f"nothing installs this project on the {role}", hint, ("setup_commands",))
        for path, remote in versions.items():
            if remote != local:
                yield Problem(f"the {role} would run {DISTRIBUTION} {remote}, but this machine has {local}",
                              "use one version everywhere", path)  # fmt: skip
        for path, command in file.setup(role):
            if _PACKAGE_PINNED.search(command) and "pip" in command and not _RAY_PINNED.search(command):
                hint = "pin it in the same command: 'ray[default,tune,train]==VERSION', or -c constraints.txt"
                yield Problem("nodes set up on different days would have different versions of Ray", hint, path)


def _installed_versions(file: ClusterFile, role: str) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield each version of this project that the setup of a role installs, with the command's path in the file."""
    for path, command in file.setup(role):
        if match := _PACKAGE_VERSION.search(command):
            yield path, match[1]
        for remote, local in file.mounts.items():
            installs = re.search(r"\bmake install\b|\bpip install\b|\bpip sync\b", command)
            if installs and _mentions(command, remote) and (declared := _checkout_version(file.local_path(local))):
                yield path, declared


def _mentions(command: str, path: str) -> bool:
    return path in command or path.replace("~", "$HOME", 1) in command


def _checkout_version(folder: Path) -> str:
    """Return the version of this project's checkout in ``folder``; empty if there is none."""
    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    except (OSError, ValueError, KeyError):
        return ""
    return str(project.get("version", "")) if project.get("name") == DISTRIBUTION else ""


def _runs(file: ClusterFile) -> Iterator[Problem]:
    """Require a folder of runs that head and workers share, and that outlives them."""
    start = file.start("head")
    if start is None:
        return
    path, runs = ("head_start_ray_commands", start.index), file.runs
    if not runs:
        hint = "export SWEEP_RUNS=/mnt/sweeps before the head's `ray start`"
        yield Problem("the folder of runs is not set", hint, path)
    elif "://" in runs:
        yield from _bucket(runs, path)
    elif not runs.startswith("/") or re.match(r"/(?:tmp|root|home|var/tmp|dev)(?:/|$)", runs):
        yield Problem(f"SWEEP_RUNS={runs} is not on a file system that every node mounts",
                      "an absolute path such as /mnt/sweeps, mounted by setup_commands", path)  # fmt: skip
    else:
        for role in ROLES:
            if not any(re.search(r"\bmount", command) and _below(runs, command) for _, command in file.setup(role)):
                hint = f"`sudo mount -t nfs4 SERVER:/ {runs}`, or `mountpoint -q {runs}`"
                message = f"no setup command of the {role} mounts {runs}, or checks that it is mounted"
                yield Problem(message, hint, ("setup_commands",))


def _bucket(runs: str, path: tuple[str | int, ...]) -> Iterator[Problem]:
    try:
        is_url(runs)
    except UsageError as error:
        yield Problem(error.message, error.hint, path)


def _below(path: str, command: str) -> bool:
    """Return whether a command contains the path, or a folder above it."""
    folders = [str(parent) for parent in (Path(path), *Path(path).parents) if str(parent) != "/"]
    return any(re.search(rf"(?<![\w.-]){re.escape(part)}(?![\w/-])", command) for part in folders)


def _secrets(file: ClusterFile) -> Iterator[Problem]:
    """Refuse secrets: Ray copies the file to the head, and process lists of nodes show its commands."""
    for path, text in file.texts():
        if re.search(r"\bRAY_AUTH_TOKEN=\S", text):
            yield Problem("the token itself is in the file", "export RAY_AUTH_TOKEN_PATH, and mount the file", path)
        if source := secret_in(text):
            yield Problem(f"the secret of {source} is in the file", "keep it in the environment", path)
