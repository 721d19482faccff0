"""CloudWatch metric math, as far as alarms use it."""

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

from moto.cloudwatch.exceptions import ValidationError

ARITHMETIC: Final[Mapping[type[ast.operator], Callable[[float, float], float]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
COMPARISONS: Final[Mapping[type[ast.cmpop], Callable[[float, float], bool]]] = {
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
FUNCTIONS: Final = ("ABS", "FILL", "IF", "MAX", "MIN", "SUM")

Lookup = Callable[[str], float | None]
"""The value of a metric, by its id, at one moment; None where there is none."""


class Formula:
    """An expression such as `100 * errors / requests` or `IF(requests > 10, errors, 0)`.

    Raises ValidationError for what it is not: + - * /, comparisons, ABS, FILL with a number, IF, and MAX, MIN or SUM of
    a list such as `[a, b]`. What is computed of a missing value is missing, but for FILL.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        try:
            self._tree = ast.parse(text, mode="eval").body
        except (SyntaxError, ValueError):
            raise ValidationError(f"Error in expression {text!r}: it cannot be read") from None
        self._check(self._tree)

    @property
    def names(self) -> set[str]:
        """The ids it is computed of."""
        functions = {id(node.func) for node in ast.walk(self._tree) if isinstance(node, ast.Call)}
        return {node.id for node in ast.walk(self._tree) if isinstance(node, ast.Name) and id(node) not in functions}

    def value(self, lookup: Lookup) -> float | None:
        """What it comes to; None where that is not known, as after a division by zero."""
        return self._value(self._tree, lookup)

    def _check(self, node: ast.expr) -> None:
        parts: list[ast.expr] = []
        match node:
            case ast.Name() | ast.Constant(value=int() | float()):
                pass
            case ast.UnaryOp(op=ast.USub(), operand=inner):
                parts = [inner]
            case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC:
                parts = [left, right]
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in COMPARISONS:
                parts = [left, right]
            case ast.Call(func=ast.Name(id="IF"), args=[_, _, _], keywords=[]):
                parts = node.args
            case ast.Call(func=ast.Name(id="FILL"), args=[inner, ast.Constant(value=int() | float())], keywords=[]):
                parts = [inner]
            case ast.Call(func=ast.Name(id="ABS"), args=[inner], keywords=[]):
                parts = [inner]
            case ast.Call(func=ast.Name(id="MAX" | "MIN" | "SUM"), args=[ast.List(elts=[_, *_] as parts)], keywords=[]):
                pass
            case _:
                raise ValidationError(
                    f"Error in expression {self._text!r}: the rehearsal does not compute {ast.unparse(node)!r}; "
                    f"it knows + - * /, comparisons and {', '.join(FUNCTIONS)}"
                )
        for part in parts:
            self._check(part)

    def _value(self, node: ast.expr, lookup: Lookup) -> float | None:
        match node:
            case ast.Name(id=name):
                return lookup(name)
            case ast.Constant(value=int() | float() as number):
                return float(number)
            case ast.UnaryOp(operand=inner):
                return _of([self._value(inner, lookup)], lambda value: -value)
            case ast.BinOp(left=left, op=op, right=right):
                return _of([self._value(left, lookup), self._value(right, lookup)], ARITHMETIC[type(op)])
            case ast.Compare(left=left, ops=[compared], comparators=[right]):
                compare = COMPARISONS[type(compared)]
                values = [self._value(left, lookup), self._value(right, lookup)]
                return _of(values, lambda a, b: float(compare(a, b)))
            case ast.Call(func=ast.Name(id=name), args=arguments):
                return self._call(name, arguments, lookup)
        raise AssertionError(f"{ast.dump(node)} was checked")

    def _call(self, name: str, arguments: list[ast.expr], lookup: Lookup) -> float | None:
        first = arguments[0]
        if isinstance(first, ast.List):
            known = [value for each in first.elts if (value := self._value(each, lookup)) is not None]
            combine: Mapping[str, Callable[[list[float]], float]] = {"MAX": max, "MIN": min, "SUM": sum}
            return combine[name](known) if known else None
        value = self._value(first, lookup)
        if name == "FILL":
            return self._value(arguments[1], lookup) if value is None else value
        if name == "ABS" or value is None:
            return _of([value], abs)
        return self._value(arguments[1 if value else 2], lookup)


def _of(values: list[float | None], compute: Callable[..., Any]) -> float | None:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    try:
        return float(compute(*known))
    except ZeroDivisionError:
        return None
