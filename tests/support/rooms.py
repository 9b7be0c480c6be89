"""The rooms of the package: which room may import which."""

from __future__ import annotations

GROUND = {
    "errors",
    "extras",
    "registry",
    "progress",
    "seeds",
    "version",
    "codec",
    "secrets",
    "safe_text",
    "durable_files",
    "object_storage",
    "rundir",
    "trust",
}


LADDER = ["space", "spec", "journal", "state", "policies"]


CORE = GROUND | set(LADDER)


# Room -> the rooms it may import; a room may always import itself.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "registry": {"errors"},
    "extras": {"errors"},
    "progress": set(),
    "seeds": set(),
    "codec": {"errors"},
    "version": set(),
    "compat_ray": set(),
    "secrets": set(),
    "safe_text": {"secrets", "codec"},
    "durable_files": {"errors"},
    "object_storage": {"errors", "extras"},
    "rundir": {"errors", "durable_files", "object_storage"},
    "trust": {"errors", "secrets"},
    **{room: GROUND | set(LADDER[:height]) for height, room in enumerate(LADDER)},
    "models": {"errors", "seeds"},
    "data": {"errors", "seeds"},
    "training": GROUND | {"space", "spec"},
    "engine": CORE | {"training", "compat_ray"},
    "testing": CORE | {"training", "engine"},
    "xla": CORE | {"training", "engine", "compat_ray"},
    "plan": CORE | {"training", "engine"},
    "results": CORE | {"plan"},
    "notify": CORE,
    "tracking": CORE | {"training", "results"},
    "optuna_studies": CORE | {"results"},
    "sweep": CORE
    | {"training", "engine", "xla", "plan", "results", "notify", "tracking", "bundle", "export"}
    | {"optuna_studies"},
    "watch": CORE | {"plan", "results", "sweep"},
    "page": CORE | {"plan", "results", "watch"},
    "cluster": CORE | {"training", "engine", "xla", "sweep", "compat_ray"},
    "bundle": {"errors", "extras", "durable_files", "secrets", "seeds", "version", "trust", "training"},
    "export": CORE | {"results", "bundle", "training"},
    "cli": CORE
    | {"training", "engine", "xla", "sweep", "cluster", "results", "bundle", "export", "plan", "watch"}
    | {"optuna_studies", "page"},
    "__main__": {"cli"},
    "__init__": CORE | {"sweep", "results", "plan", "bundle", "export", "training"},
}


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"
