"""Find the metrics that a LightningModule logs, by reading its source."""

from __future__ import annotations

import ast
import functools
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from types import FunctionType
from typing import Any

_LIBRARIES = ("builtins", "abc", "lightning", "pytorch_lightning", "torch", "typing")
_HARMLESS = ("super", "isinstance", "getattr", "setattr", "hasattr", "type", "id", "repr", "str", "print", "len")
_DEPTH = 3  # nested calls of functions that get the module as an argument


class _Undecidable(Exception):
    """Only running the module would tell which names it logs."""


@functools.cache
def logged_names(cls: type) -> tuple[str, ...] | None:
    """Return the names that ``self.log`` and ``self.log_dict`` are called with in ``cls`` and its parents.

    ``*`` stands for the variable parts of an f-string: ``f"{stage}_loss"`` gives ``*_loss``. Functions that get the
    module as an argument are followed. Returns None if the source is absent or does not determine every name.
    """
    if "configure_callbacks" in vars(cls):
        return None
    names: dict[str, None] = {}
    replaced: set[str] = set()  # methods of a parent that never run
    try:
        for owner in cls.__mro__:
            if owner.__module__.split(".")[0] not in _LIBRARIES:
                names.update(dict.fromkeys(_in_class(owner, replaced)))
    except (_Undecidable, OSError, TypeError, SyntaxError):
        return None
    return tuple(names)


def is_logged(metric: str, names: Sequence[str]) -> bool:
    """Return whether one of ``names`` matches ``metric``, with or without Lightning's ``_epoch``, ``_step`` suffix."""
    stem = re.sub(r"/dataloader_idx_\d+$", "", metric)
    candidates = {metric, stem, re.sub(r"_(epoch|step)$", "", stem)}
    patterns = [".*".join(map(re.escape, name.split("*"))) for name in names]
    return any(re.fullmatch(pattern, candidate) for pattern in patterns for candidate in candidates)


def _in_class(cls: type, replaced: set[str]) -> Iterator[str]:
    """Yield the names logged in the class's methods; add those methods to ``replaced`` that do not call a parent's."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    namespace = getattr(inspect.getmodule(cls), "__dict__", {})
    for node in ast.iter_child_nodes(tree.body[0]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.args.args and node.name not in replaced:
            if not any(isinstance(inner, ast.Name) and inner.id == "super" for inner in ast.walk(node)):
                replaced.add(node.name)
            yield from _in_function(node, node.args.args[0].arg, namespace, _DEPTH)


def _in_function(function: ast.AST, module: str, namespace: dict[str, Any], depth: int) -> Iterator[str]:
    """Yield the names logged in ``function``, in which the LightningModule is called ``module``."""
    calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
    methods = {id(call.func) for call in calls}
    for node in ast.walk(function):
        if _is_log(node, module) and id(node) not in methods:
            raise _Undecidable  # `log = self.log`: called under another name
        if isinstance(node, ast.Assign) and _is_module(node.value, module):
            raise _Undecidable
    for call in calls:
        if _is_log(call.func, module):
            yield from _names(call)
        elif _may_log(call.func):
            raise _Undecidable
        yield from _in_callee(call, module, namespace, depth)


def _is_module(node: ast.AST, module: str) -> bool:
    return isinstance(node, ast.Name) and node.id == module


def _is_log(node: ast.AST, module: str) -> bool:
    return isinstance(node, ast.Attribute) and node.attr in ("log", "log_dict") and _is_module(node.value, module)


def _may_log(node: ast.AST) -> bool:
    """Return whether this may be the module under another name: ``self.trainer.lightning_module.log``."""
    if not (isinstance(node, ast.Attribute) and node.attr in ("log", "log_dict")):
        return False
    return re.search(r"trainer|module", ast.unparse(node.value)) is not None


def _in_callee(call: ast.Call, module: str, namespace: dict[str, Any], depth: int) -> Iterator[str]:
    """Yield the names logged by a function that the module is passed to."""
    argument: int | str | None = next((i for i, item in enumerate(call.args) if _is_module(item, module)), None)
    if argument is None:
        argument = next((keyword.arg for keyword in call.keywords if _is_module(keyword.value, module)), None)
    if argument is None or (isinstance(call.func, ast.Name) and call.func.id in _HARMLESS):
        return
    function = _resolve(call.func, namespace)
    if not isinstance(function, FunctionType) or depth == 0:
        raise _Undecidable
    parameters = list(inspect.signature(function).parameters)
    tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    parameter = parameters[argument] if isinstance(argument, int) else argument
    yield from _in_function(tree, parameter, function.__globals__, depth - 1)


def _resolve(node: ast.AST, namespace: dict[str, Any]) -> Callable[..., Any] | None:
    if isinstance(node, ast.Name):
        return namespace.get(node.id)
    if isinstance(node, ast.Attribute):
        return getattr(_resolve(node.value, namespace), node.attr, None)
    return None


def _names(call: ast.Call) -> Iterator[str]:
    """Yield the names in one call of ``log`` or ``log_dict``."""
    parameter = "name" if getattr(call.func, "attr", "") == "log" else "dictionary"
    value = call.args[0] if call.args else next((k.value for k in call.keywords if k.arg == parameter), None)
    if parameter == "name":
        yield _text(value)
    elif isinstance(value, ast.Dict):
        yield from map(_text, value.keys)
    elif isinstance(value, ast.DictComp):
        yield _text(value.key)
    else:
        raise _Undecidable


def _text(node: ast.AST | None) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) if isinstance(part, ast.Constant) else "*" for part in node.values)
    raise _Undecidable
