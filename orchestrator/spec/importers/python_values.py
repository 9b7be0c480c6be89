"""Read the values that a Python file assigns, without running it."""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

_OPERATORS: Mapping[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "log": math.log,
    "log10": math.log10,
    "exp": math.exp,
    "sqrt": math.sqrt,
    "float": float,
    "int": int,
    "list": list,
    "tuple": tuple,
    "str": str,
    "range": range,
    "dict": dict,
}
_LONGEST = 1000
_PATTERN = re.compile(r"([^{}]|\{\d?\})*")  # of str.format, without widths: {:>999999999} is a gigabyte


@dataclass(frozen=True)
class Call:
    """A call that is not computed: ``tune.choice([1, 2])``; ``name`` is its last part."""

    name: str
    arguments: tuple[Any, ...] = ()
    named: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""
    line: int = 0


@dataclass(frozen=True)
class Unknown:
    """An expression that only running the file would evaluate."""

    text: str


class PythonValues:
    """The variables of a file and the calls in it, in the order of the source.

    Args:
        text: the file's source. Raises SyntaxError if it is not Python.
    """

    def __init__(self, text: str) -> None:
        self.variables: dict[str, Any] = {}
        self.lines: dict[str, int] = {}
        self.calls: list[Call] = []
        self._unread: list[tuple[dict[Any, Any], str]] = []
        self._turns = 0  # of loops
        self._run_all(ast.parse(text).body)

    def unread(self, content: dict[str, Any]) -> list[str]:
        """Return the keys, in the words of the source, that were set in ``content`` and that only a run would tell."""
        held = list(_mappings(content))
        return [text for holder, text in self._unread if any(holder is each for each in held)]

    def _run_all(self, body: list[ast.stmt]) -> None:
        """Read every statement, those inside functions and blocks included; a loop over a list once for each item."""
        for node in body:
            self._run(node)
            items = self.value(node.iter) if isinstance(node, ast.For) else None
            if isinstance(node, ast.For) and isinstance(items, list | range) and len(items) <= _LONGEST - self._turns:
                self._turns += len(items)
                for item in items:
                    self._assign(node.target, item)
                    self._run_all(node.body)
                self._run_all(node.orelse)
                continue
            for name in ("body", "orelse", "finalbody"):
                self._run_all(getattr(node, name, None) or [])

    def _run(self, node: ast.stmt) -> None:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            value = self.value(node.value)
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                self._assign(target, value)
        elif isinstance(node, ast.AugAssign):
            combined = ast.BinOp(node.target, node.op, node.value)
            held, added = self.value(node.target), self.value(node.value)
            if isinstance(held, dict) and isinstance(added, dict):
                held.update(added)  # in place, as Python does
            else:
                self._assign(node.target, self.value(ast.copy_location(combined, node)))
        elif isinstance(node, ast.Delete):
            for target in node.targets:
                holder = self.value(target.value) if isinstance(target, ast.Subscript) else None
                if isinstance(target, ast.Subscript) and isinstance(holder, dict):
                    holder.pop(self.value(target.slice), None)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            self._update(node.value)
        if isinstance(node, ast.FunctionDef):
            for argument, default in zip(reversed(node.args.args), reversed(node.args.defaults), strict=False):
                self.variables.setdefault(argument.arg, self.value(default))
        compound = hasattr(node, "body")  # its statements come on their own
        if not compound:
            self.calls += self._calls_in(node)

    def _calls_in(self, node: ast.AST) -> Iterator[Call]:
        """Yield the calls in a statement; those of a list comprehension once for each item, where these are known."""
        made = self.value(node) if isinstance(node, ast.ListComp) else None
        if isinstance(made, list):
            yield from (each for each in made if isinstance(each, Call))
            return
        call = self.value(node) if isinstance(node, ast.Call) else None
        if isinstance(call, Call):
            yield call
        for inner in ast.iter_child_nodes(node):
            yield from self._calls_in(inner)

    def _assign(self, target: ast.expr, value: Any) -> None:
        if isinstance(target, ast.Name):
            self.variables[target.id], self.lines[target.id] = value, target.lineno
        elif isinstance(target, ast.Tuple) and isinstance(value, list) and len(value) == len(target.elts):
            for each, item in zip(target.elts, value, strict=True):
                self._assign(each, item)
        elif isinstance(target, ast.Subscript):
            holder, key = self.value(target.value), self.value(target.slice)
            if isinstance(holder, dict) and isinstance(key, str | int):
                holder[key] = value
            elif isinstance(holder, dict):
                self._unread.append((holder, ast.unparse(target)))

    def _update(self, call: ast.Call) -> None:
        """Follow ``parameters.update({…})``, ``.setdefault``, ``.pop`` and ``values.append(…)``."""
        if not isinstance(call.func, ast.Attribute):
            return
        holder = self.value(call.func.value)
        arguments = [self.value(argument) for argument in call.args]
        if call.func.attr == "update" and isinstance(holder, dict):
            holder.update({k: v for each in arguments if isinstance(each, dict) for k, v in each.items()})
            holder.update({keyword.arg: self.value(keyword.value) for keyword in call.keywords if keyword.arg})
        elif call.func.attr in ("setdefault", "pop") and isinstance(holder, dict) and arguments:
            if not isinstance(arguments[0], str | int):
                self._unread.append((holder, ast.unparse(call)))
            elif call.func.attr == "pop":
                holder.pop(arguments[0], None)
            else:
                holder.setdefault(*arguments[:2])
        elif call.func.attr == "append" and isinstance(holder, list) and arguments:
            holder.append(arguments[0])

    def value(self, node: ast.expr) -> Any:
        """Return the value of an expression; a `Call` or `Unknown` if only running it would tell."""
        try:
            return self._value(node, {})
        except (TypeError, ValueError, ArithmeticError, KeyError, IndexError, RecursionError):
            return Unknown(ast.unparse(node))

    def _value(self, node: ast.expr, local: Mapping[str, Any]) -> Any:
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            return local[node.id] if node.id in local else self.variables.get(node.id, Unknown(node.id))
        if isinstance(node, ast.List | ast.Tuple | ast.Set):
            return [self._value(item, local) for item in node.elts]
        if isinstance(node, ast.Dict):
            return self._dict(node, local)
        if isinstance(node, ast.BinOp | ast.UnaryOp):
            return self._computed(node, local)
        if isinstance(node, ast.ListComp) and len(node.generators) == 1 and not node.generators[0].ifs:
            source, target = self._value(node.generators[0].iter, local), node.generators[0].target
            if isinstance(source, list | range) and len(source) <= _LONGEST and isinstance(target, ast.Name):
                return [self._value(node.elt, {**local, target.id: item}) for item in source]
        if isinstance(node, ast.Subscript):
            return self._value(node.value, local)[self._value(node.slice, local)]
        if isinstance(node, ast.Call):
            return self._call(node, local)
        if isinstance(node, ast.JoinedStr):
            return self._formatted(node, local)
        return Unknown(ast.unparse(node))

    def _formatted(self, node: ast.JoinedStr, local: Mapping[str, Any]) -> Any:
        parts = []
        for part in node.values:
            value = self._value(part.value, local) if isinstance(part, ast.FormattedValue) else self._value(part, local)
            if isinstance(value, Call | Unknown) or getattr(part, "format_spec", None):
                return Unknown(ast.unparse(node))
            parts.append(str(value))
        return "".join(parts)

    def _dict(self, node: ast.Dict, local: Mapping[str, Any]) -> dict[Any, Any]:
        made: dict[Any, Any] = {}
        for key, item in zip(node.keys, node.values, strict=True):
            value = self._value(item, local)
            if key is None:
                made.update(
                    value if isinstance(value, dict) else {f"**{ast.unparse(item)}": Unknown(ast.unparse(item))}
                )
            else:
                name = self._value(key, local)
                made[name if isinstance(name, str | int | float) else ast.unparse(key)] = value
        return made

    def _computed(self, node: ast.BinOp | ast.UnaryOp, local: Mapping[str, Any]) -> Any:
        parts = [node.left, node.right] if isinstance(node, ast.BinOp) else [node.operand]
        values = [self._value(part, local) for part in parts]
        if isinstance(node.op, ast.BitOr) and all(isinstance(value, dict) for value in values):
            return {**values[0], **values[1]}
        if not all(isinstance(value, int | float | str | list) for value in values):
            return Unknown(ast.unparse(node))
        if isinstance(node.op, ast.Pow):
            base, power = values
            return base**power if abs(power) <= 64 and abs(base) <= 1e6 else Unknown(ast.unparse(node))
        if isinstance(node.op, ast.Mult) and any(isinstance(value, str | list) for value in values):
            return Unknown(ast.unparse(node))
        return _OPERATORS[type(node.op)](*values)

    def _call(self, node: ast.Call, local: Mapping[str, Any]) -> Any:
        name = ast.unparse(node.func)
        arguments = [self._value(argument, local) for argument in node.args]
        named = {keyword.arg: self._value(keyword.value, local) for keyword in node.keywords if keyword.arg}
        short = name.rpartition(".")[2]
        plain = all(isinstance(value, int | float | str | list | range) for value in arguments)
        if short == "format" and plain and isinstance(node.func, ast.Attribute):
            pattern = self._value(node.func.value, local)
            if isinstance(pattern, str) and _PATTERN.fullmatch(pattern) and not named:
                return pattern.format(*arguments)
        plain = plain or (name == "dict" and all(isinstance(value, dict) for value in arguments))
        in_library = name in _FUNCTIONS or name.partition(".")[0] in ("math", "np", "numpy")
        if short in _FUNCTIONS and in_library and plain and (short != "range" or len(range(*arguments)) <= _LONGEST):
            return _FUNCTIONS[short](*arguments, **named)
        return Call(short, tuple(arguments), named, ast.unparse(node), node.lineno)


def _mappings(value: Any) -> Iterator[dict[Any, Any]]:
    """Yield a mapping and every mapping in it."""
    if isinstance(value, dict):
        yield value
        for each in value.values():
            yield from _mappings(each)
