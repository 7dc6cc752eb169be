"""Metric math: sums, differences, products and quotients of metrics, period by period.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
"""

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

Series = Mapping[Any, float]  # values by the time of their period
_OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


class ExpressionError(Exception):
    """An expression that the laptop cloud does not know; the message says why."""


def evaluate(expression: str, series: Mapping[str, Series]) -> dict[Any, float]:
    """Return an expression's values: for the periods in which each metric has one, and no division is by zero.

    Args:
        expression: such as ``errors / requests``.
        series: by the id of each metric.

    Raises:
        ExpressionError: it has something else than ids, numbers, ``+ - * /`` and parentheses, or an unknown id.
    """
    try:
        tree = ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError):
        raise ExpressionError(f"{expression!r} cannot be read") from None
    result = _value(tree, series)
    if isinstance(result, float):
        raise ExpressionError(f"{expression!r} names no metric")
    return dict(result)


def _value(node: ast.expr, series: Mapping[str, Series]) -> Series | float:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return float(number)
        case ast.Name(id=name) if name in series:
            return series[name]
        case ast.Name(id=name):
            raise ExpressionError(f"no metric has the id {name!r}")
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _combined(_OPERATORS[type(op)], _value(left, series), _value(right, series))
    raise ExpressionError(
        f"the laptop cloud's metric math has ids, numbers, + - * / and parentheses, not {ast.unparse(node)!r}"
    )


def _combined(combine: Callable[[float, float], float], left: Series | float, right: Series | float) -> Series | float:
    """Return two series combined period by period; a number stands for a series of itself."""
    if isinstance(left, float) and isinstance(right, float):
        return combine(left, right) if right or combine is not operator.truediv else math.nan
    times = [set(each) for each in (left, right) if not isinstance(each, float)]
    pairs = {
        time: tuple(each if isinstance(each, float) else each[time] for each in (left, right))
        for time in sorted(set.intersection(*times))
    }
    return {time: combine(*pair) for time, pair in pairs.items() if pair[1] or combine is not operator.truediv}
