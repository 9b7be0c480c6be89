"""The rooms of the package: who may import whom, and what the front door must not load."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.support.rooms import ALLOWED, room

PACKAGE = Path(__file__).resolve().parent.parent / "orchestrator"


# Libraries beyond the standard one that a room may import, wherever in its files.
TORCH = {"torch", "torchvision", "torchmetrics", "lightning", "numpy"}
LIBRARIES: dict[str, set[str]] = {
    "codec": {"numpy", "torch"},
    "space": {"pydantic", "optuna"},
    "spec": {"optuna", "pydantic", "pydantic_core", "ruamel", "yaml"},
    "object_storage": {"boto3", "obstore"},
    "policies": {"numpy", "optuna", "pydantic", "scipy", "typing_extensions"},
    "models": TORCH,
    "data": TORCH | {"PIL", "sklearn"},
    "training": TORCH | {"PIL", "jsonargparse", "wandb"},
    "compat_ray": {"ray"},
    "engine": {"numpy", "ray", "torch"},
    "xla": TORCH | {"ray", "torch_xla"},
    "cluster": {"jsonschema", "pydantic", "ray", "ruamel"},
    "results": {"IPython", "matplotlib", "numpy", "optuna", "pandas", "plotly", "pyarrow", "rich", "sklearn"},
    "notify": {"pydantic"},
    "sweep": {"optuna"},  # for annotations
    "tracking": {"mlflow", "pydantic", "trackio", "wandb"},
    "optuna_studies": {"optuna"},
    "watch": {"rich", "textual"},
    "page": {"starlette", "uvicorn"},
    "bundle": TORCH | {"PIL", "onnxruntime", "safetensors"},
    "export": TORCH | {"cycler", "matplotlib", "safetensors", "wandb"},
    "cli": {"pandas", "pydantic", "rich", "typer", "typing_extensions"},
}

RAY_ALONE = {
    *(
        f"orchestrator.engine.tune{part}"
        for part in (
            "",
            ".cluster_probe",
            ".loss_diagnosis",
            ".node_monitor",
            ".ray_lifecycle",
            ".placement",
            ".tune_adapters",
            ".worker",
        )
    ),
    "orchestrator.compat_ray",
    "orchestrator.xla.ray_slices",
    "orchestrator.cluster.ray_client",
}
LIGHT = [
    "sweep",
    "errors",
    "seeds",
    "secrets",
    "safe_text",
    "durable_files",
    "object_storage",
    "rundir",
    "space",
    "spec",
    "journal",
    "state",
    "page.server",
    "cli",
]
HEAVY = ["torch", "torchvision", "lightning", "pytorch_lightning", "ray", "optuna", "pandas", "wandb", "jsonargparse"]


def dotted(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {dotted(file): file for file in sorted(PACKAGE.rglob("*.py"))}


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imported(file: Path, *, types: bool = True) -> Iterator[str]:
    """Dotted names that a file imports anywhere, in functions too, and where ``types`` for annotations alone."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    passed = {id(part) for node in tree.body if not types and is_for_types(node) for part in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in passed:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, f"{file}:{node.lineno}: write the import in full"
            assert node.level == 0, f"{file}:{node.lineno}: write the import in full"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield submodule if submodule in FILES else node.module


IMPORTS = {module: set(imported(file)) for module, file in FILES.items()}


def test_every_module_is_in_a_known_room() -> None:
    assert {room(module) for module in FILES} <= set(ALLOWED)


def test_a_room_imports_only_rooms_below_it() -> None:
    wrong = [
        f"{module} imports {name}"
        for module, names in IMPORTS.items()
        for name in sorted(names)
        if name.split(".")[0] == "orchestrator" and room(name) not in ALLOWED[room(module)] | {room(module)}
    ]
    assert not wrong, "\n".join(wrong)


def test_no_module_imports_itself_in_a_circle() -> None:
    graph = {module: set(FILES).intersection(imported(file, types=False)) for module, file in FILES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as cycle:
        pytest.fail(" -> ".join(cycle.args[1]))


def test_a_room_uses_only_its_own_libraries() -> None:
    wrong = [
        f"{module} imports {name}"
        for module, names in IMPORTS.items()
        for name in sorted({name.split(".")[0] for name in names} - sys.stdlib_module_names - {"orchestrator"})
        if name not in LIBRARIES.get(room(module), set())
    ]
    assert not wrong, "\n".join(wrong)


def test_ray_is_imported_where_trials_are_placed_alone() -> None:
    users = {module for module, names in IMPORTS.items() if any(name.split(".")[0] == "ray" for name in names)}
    assert users <= RAY_ALONE


def test_the_front_door_loads_nothing_heavy() -> None:
    modules = ", ".join(f"orchestrator.{name}" for name in LIGHT)
    code = f"import sys, orchestrator, {modules}; print(*[name for name in {HEAVY} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.split() == []
