"""Read the values that a Python file assigns, without running it."""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
_TESTS: Mapping[type, Callable[..., Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: lambda left, right: type(left) is type(right) and left == right,
    ast.IsNot: lambda left, right: type(left) is not type(right) or left != right,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
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
_LONGEST = 1000  # turns of a loop
_MOST_TURNS = 5 * _LONGEST  # of all
_PATTERN = re.compile(r"([^{}]|\{\d?\})*")  # of str.format, without widths: {:>999999999} is a gigabyte


@dataclass(frozen=True)
class Call:
    """A call that is not computed: ``tune.choice([1, 2])``; ``name`` is its last part.

    Attributes:
        when: the calls on whose result it depends whether this one is made, each with the results for which it is.
    """

    name: str
    arguments: tuple[Any, ...] = ()
    named: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""
    line: int = 0
    when: tuple[tuple[Call, tuple[Any, ...]], ...] = ()


When = list[tuple[Call, tuple[Any, ...]]]
"""Calls, each with the results for which something is done."""


@dataclass(frozen=True)
class Unknown:
    """An expression that only running the file would evaluate."""

    text: str


class PythonValues:
    """The variables of a file and the calls in it, in the order of the source.

    Args:
        text: the file's source. Raises SyntaxError if it is not Python.
        results: returns the possible results of a call; none where they are unknown or too many. The branches that
            depend on such a call, and the turns of a loop over the range that it ends, are followed for each.
    """

    def __init__(self, text: str, results: Callable[[Call], Sequence[Any]] = lambda call: ()) -> None:
        self._results = results
        self._when: When = []
        self._assumed: list[tuple[Call, Any]] = []
        self._function, self._assigned_in = "", dict[str, str]()
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
            if isinstance(node, ast.If):
                self._branch(node)
                continue
            turns = self._turns_of(node.iter) if isinstance(node, ast.For) else None
            if isinstance(node, ast.For) and turns is not None and len(turns) <= _MOST_TURNS - self._turns:
                self._turns += len(turns)
                for item, when in turns:
                    self._assign(node.target, item)
                    with self._only(when):
                        self._run_all(node.body)
                self._run_all(node.orelse)
                continue
            if isinstance(node, ast.For):
                self._assign(node.target, Unknown(ast.unparse(node.iter)))
            outer = self._function
            self._function = node.name if isinstance(node, ast.FunctionDef) else outer
            for name in ("body", "orelse", "finalbody"):
                self._run_all(getattr(node, name, None) or [])
            self._function = outer

    def _branch(self, node: ast.If) -> None:
        """Read both branches of an ``if``, each for the results of the calls that its test depends on."""
        is_all = isinstance(node.test, ast.BoolOp) and isinstance(node.test.op, ast.And)
        parts = node.test.values if isinstance(node.test, ast.BoolOp) and is_all else [node.test]
        when = [condition for part in parts for condition in self._conditions(part, True)]
        otherwise = [] if is_all else self._conditions(node.test, False)
        before = dict(self.variables)
        with self._only(when):
            self._run_all(node.body)
        taken = self.variables
        if when:
            self.variables = before
        with self._only(otherwise):
            self._run_all(node.orelse)
        if when:
            self._join(taken)

    def _join(self, taken: Mapping[str, Any]) -> None:
        """Forget the values of variables that one branch has set otherwise than the other."""
        for name, value in taken.items():
            if self.variables.setdefault(name, value) is not value:
                self.variables[name] = Unknown(name)

    def _conditions(self, test: ast.expr, holds: bool) -> When:
        """Return the call that a test depends on, with the results for which it holds or does not, if it is one."""
        found = [call for call in self._calls_tested(test) if self._results(call)]
        if len(set(map(id, found))) != 1:
            return []
        possible = [
            result for result in self._results(found[0]) if self._truth(test, found[0], result) in (holds, None)
        ]
        return [(found[0], tuple(possible))]

    def _calls_tested(self, test: ast.expr) -> Iterator[Call]:
        """Yield the calls whose results a test reads, of those that the same function has made."""
        for node in ast.walk(test):
            value = self.value(node) if isinstance(node, ast.Name | ast.Subscript) else None
            root = node.value if isinstance(node, ast.Subscript) else node
            is_own = isinstance(root, ast.Name) and self._assigned_in.get(root.id) == self._function
            if isinstance(value, Call) and is_own:
                yield value

    def _truth(self, test: ast.expr, call: Call, result: Any) -> bool | None:
        """Return whether a test holds if a call has a result; None if only running the file would tell."""
        if isinstance(test, ast.BoolOp):
            parts = [self._truth(part, call, result) for part in test.values]
            decides = isinstance(test.op, ast.Or)
            return decides if decides in parts else None if None in parts else not decides
        if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            inner = self._truth(test.operand, call, result)
            return None if inner is None else not inner
        nodes = [test.left, *test.comparators] if isinstance(test, ast.Compare) else [test]
        values = [self._supposed(node, call, result) for node in nodes]
        if any(isinstance(value, Call | Unknown) for value in values):
            return None
        if not isinstance(test, ast.Compare):
            return bool(values[0])
        try:
            pairs = zip(test.ops, values, values[1:], strict=False)
            return all(_TESTS[type(sign)](left, right) for sign, left, right in pairs)
        except TypeError:
            return None

    def _supposed(self, node: ast.expr, call: Call, result: Any) -> Any:
        """Return the value of an expression if a call has a result."""
        self._assumed.append((call, result))
        try:
            return self.value(node)
        finally:
            self._assumed.pop()

    @contextmanager
    def _only(self, when: When) -> Iterator[None]:
        """Let what is read be done for some results alone."""
        before, self._when = self._when, [*self._when, *when]
        try:
            yield
        finally:
            self._when = before

    def _turns_of(self, node: ast.expr, local: Mapping[str, Any] | None = None) -> list[tuple[Any, When]] | None:
        """Return the items of a list or range, each with what it depends on; None if they are unknown.

        A range may depend on the result of a call.
        """
        items = self.value(node, local)
        if isinstance(items, list | range):
            return [(item, []) for item in items] if len(items) <= _LONGEST else None
        if not (isinstance(items, Call) and items.name == "range" and isinstance(node, ast.Call)):
            return None
        inline = [each for each in items.arguments if isinstance(each, Call)] if len(node.args) == 1 else []
        found = inline or [call for argument in node.args for call in self._calls_tested(argument)]
        if len(set(map(id, found))) != 1:
            return None
        ranges: dict[Any, range] = {}
        for result in self._results(found[0]):
            made = range(result) if inline and type(result) is int else self._supposed(node, found[0], result)
            if not isinstance(made, range):
                return None
            ranges[result] = made
        turns = dict.fromkeys(item for each in ranges.values() for item in each)
        if not ranges or len(turns) > _LONGEST:
            return None
        return [(item, [(found[0], tuple(result for result in ranges if item in ranges[result]))]) for item in turns]

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
            for argument in node.args.args:
                if isinstance(self.variables.get(argument.arg), str | int | float):  # of another function
                    self.variables[argument.arg] = Unknown(argument.arg)
            for argument, default in zip(reversed(node.args.args), reversed(node.args.defaults), strict=False):
                self.variables.setdefault(argument.arg, self.value(default))
        heads = [getattr(node, name) for name in ("test", "iter") if hasattr(node, name)]
        compound = hasattr(node, "body")  # its statements come on their own
        for part in heads if compound else [node]:
            self.calls += self._calls_in(part)

    def _calls_in(self, node: ast.AST, local: Mapping[str, Any] | None = None) -> Iterator[Call]:
        """Yield the calls in a statement; those of a comprehension once for each item, where these are known."""
        if isinstance(node, ast.ListComp | ast.GeneratorExp):
            for made in node.generators:
                yield from self._calls_in(made.iter, local)
            for names, when in self._turns_in(node, local or {}):
                with self._only(when):
                    yield from self._calls_in(node.elt, names)
            return
        call = self.value(node, local) if isinstance(node, ast.Call) else None
        if isinstance(call, Call):
            yield call
        for inner in ast.iter_child_nodes(node):
            yield from self._calls_in(inner, local)

    def _turns_in(
        self, node: ast.ListComp | ast.GeneratorExp, local: Mapping[str, Any]
    ) -> list[tuple[Mapping[str, Any], When]]:
        """Return the variables of each turn of a comprehension; one turn of unknown ones if the turns are unknown."""
        first = node.generators[0]
        turns = self._turns_of(first.iter, local) if len(node.generators) == 1 and not first.ifs else None
        if turns is not None and isinstance(first.target, ast.Name):
            return [({**local, first.target.id: item}, when) for item, when in turns]
        targets = [each for made in node.generators for each in ast.walk(made.target) if isinstance(each, ast.Name)]
        return [({**local, **{each.id: Unknown(each.id) for each in targets}}, [])]

    def _assign(self, target: ast.expr, value: Any) -> None:
        if isinstance(target, ast.Name):
            self.variables[target.id], self.lines[target.id] = value, target.lineno
            self._assigned_in[target.id] = self._function
        elif isinstance(target, ast.Tuple) and isinstance(value, list) and len(value) == len(target.elts):
            for each, item in zip(target.elts, value, strict=True):
                self._assign(each, item)
        elif isinstance(target, ast.Tuple):
            for each in target.elts:
                self._assign(each, Unknown(ast.unparse(each)))
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

    def value(self, node: ast.expr, local: Mapping[str, Any] | None = None) -> Any:
        """Return the value of an expression; a `Call` or `Unknown` if only running it would tell.

        ``local`` has the variables of a comprehension.
        """
        try:
            return self._value(node, local or {})
        except (TypeError, ValueError, ArithmeticError, KeyError, IndexError, RecursionError):
            return Unknown(ast.unparse(node))

    def _value(self, node: ast.expr, local: Mapping[str, Any]) -> Any:
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            return local[node.id] if node.id in local else self._known(self.variables.get(node.id, Unknown(node.id)))
        if isinstance(node, ast.List | ast.Tuple | ast.Set):
            return [self._value(item, local) for item in node.elts]
        if isinstance(node, ast.Dict):
            return self._dict(node, local)
        if isinstance(node, ast.BinOp | ast.UnaryOp):
            return self._computed(node, local)
        if isinstance(node, ast.ListComp | ast.GeneratorExp):
            turns = self._turns_in(node, local)
            if not any(isinstance(value, Unknown) for names, _ in turns for value in names.values()):
                return [self._turn(node.elt, names, when) for names, when in turns]
        if isinstance(node, ast.Subscript):
            return self._known(self._value(node.value, local)[self._value(node.slice, local)])
        if isinstance(node, ast.Call):
            return self._call(node, local)
        if isinstance(node, ast.JoinedStr):
            return self._formatted(node, local)
        return Unknown(ast.unparse(node))

    def _known(self, value: Any) -> Any:
        """Return a value, or the result that is supposed for it."""
        return next((results for call, results in self._assumed if call is value), value)

    def _turn(self, node: ast.expr, local: Mapping[str, Any], when: When) -> Any:
        with self._only(when):
            return self._value(node, local)

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
            lists, times = [v for v in values if isinstance(v, list)], [v for v in values if type(v) is int]
            is_short = len(lists) == len(times) == 1 and len(lists[0]) * times[0] <= _LONGEST
            return lists[0] * times[0] if is_short else Unknown(ast.unparse(node))
        return _OPERATORS[type(node.op)](*values)

    def _call(self, node: ast.Call, local: Mapping[str, Any]) -> Any:
        name = ast.unparse(node.func)
        arguments = [self.value(argument, local) for argument in node.args]
        named = {keyword.arg: self.value(keyword.value, local) for keyword in node.keywords if keyword.arg}
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
        return Call(short, tuple(arguments), named, ast.unparse(node), node.lineno, tuple(self._when))


def _mappings(value: Any) -> Iterator[dict[Any, Any]]:
    """Yield a mapping and every mapping in it."""
    if isinstance(value, dict):
        yield value
        for each in value.values():
            yield from _mappings(each)
