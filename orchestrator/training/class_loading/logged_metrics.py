"""Which metrics a LightningModule logs, as far as its source tells."""

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
_DEPTH = 3  # functions that are handed the module, and hand it on


class _Unknown(Exception):
    """A name that only running the module would tell."""


@functools.cache
def logged(cls: type) -> tuple[str, ...] | None:
    """The names that ``self.log`` and ``self.log_dict`` are called with in ``cls`` and its parents.

    ``*`` stands for what an f-string puts in: ``f"{stage}_loss"`` gives ``*_loss``. Functions that are handed the
    module are followed. None where a name cannot be read off the source, or the source is not there.
    """
    if "configure_callbacks" in vars(cls):
        return None
    names: dict[str, None] = {}
    try:
        for owner in cls.__mro__:
            if owner.__module__.split(".")[0] not in _LIBRARIES:
                names.update(dict.fromkeys(_in_class(owner)))
    except (_Unknown, OSError, TypeError, SyntaxError):
        return None
    return tuple(names)


def is_logged(metric: str, names: Sequence[str]) -> bool:
    """Whether one of ``names`` covers ``metric``, or the metric whose epoch or step value it is."""
    stem = re.sub(r"/dataloader_idx_\d+$", "", metric)
    candidates = {metric, stem, re.sub(r"_(epoch|step)$", "", stem)}
    patterns = [".*".join(map(re.escape, name.split("*"))) for name in names]
    return any(re.fullmatch(pattern, candidate) for pattern in patterns for candidate in candidates)


def _in_class(cls: type) -> Iterator[str]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    namespace = getattr(inspect.getmodule(cls), "__dict__", {})
    for node in ast.iter_child_nodes(tree.body[0]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.args.args:
            yield from _in_function(node, node.args.args[0].arg, namespace, _DEPTH)


def _in_function(function: ast.AST, module: str, namespace: dict[str, Any], depth: int) -> Iterator[str]:
    """The names logged in ``function``, in which the LightningModule is called ``module``."""
    calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
    methods = {id(call.func) for call in calls}
    for node in ast.walk(function):
        if _is_log(node, module) and id(node) not in methods:
            raise _Unknown  # `log = self.log`: called under another name
        if isinstance(node, ast.Assign) and _is_module(node.value, module):
            raise _Unknown
    for call in calls:
        if _is_log(call.func, module):
            yield from _names(call)
        elif _may_log(call.func):
            raise _Unknown
        yield from _handed_on(call, module, namespace, depth)


def _is_module(node: ast.AST, module: str) -> bool:
    return isinstance(node, ast.Name) and node.id == module


def _is_log(node: ast.AST, module: str) -> bool:
    return isinstance(node, ast.Attribute) and node.attr in ("log", "log_dict") and _is_module(node.value, module)


def _may_log(node: ast.AST) -> bool:
    """Whether this reaches the module by another way: ``self.trainer.lightning_module.log``."""
    if not (isinstance(node, ast.Attribute) and node.attr in ("log", "log_dict")):
        return False
    return re.search(r"trainer|module", ast.unparse(node.value)) is not None


def _handed_on(call: ast.Call, module: str, namespace: dict[str, Any], depth: int) -> Iterator[str]:
    """The names logged by a function that the module is passed to."""
    place: int | str | None = next((i for i, item in enumerate(call.args) if _is_module(item, module)), None)
    if place is None:
        place = next((word.arg for word in call.keywords if _is_module(word.value, module)), None)
    if place is None or (isinstance(call.func, ast.Name) and call.func.id in _HARMLESS):
        return
    function = _resolved(call.func, namespace)
    if not isinstance(function, FunctionType) or depth == 0:
        raise _Unknown
    names = list(inspect.signature(function).parameters)
    tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    yield from _in_function(tree, names[place] if isinstance(place, int) else place, function.__globals__, depth - 1)


def _resolved(node: ast.AST, namespace: dict[str, Any]) -> Callable[..., Any] | None:
    if isinstance(node, ast.Name):
        return namespace.get(node.id)
    if isinstance(node, ast.Attribute):
        return getattr(_resolved(node.value, namespace), node.attr, None)
    return None


def _names(call: ast.Call) -> Iterator[str]:
    """The names in one call of ``log`` or ``log_dict``."""
    word = "name" if getattr(call.func, "attr", "") == "log" else "dictionary"
    given = call.args[0] if call.args else next((k.value for k in call.keywords if k.arg == word), None)
    if word == "name":
        yield _text(given)
    elif isinstance(given, ast.Dict):
        yield from map(_text, given.keys)
    elif isinstance(given, ast.DictComp):
        yield _text(given.key)
    else:
        raise _Unknown


def _text(node: ast.AST | None) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) if isinstance(part, ast.Constant) else "*" for part in node.values)
    raise _Unknown
