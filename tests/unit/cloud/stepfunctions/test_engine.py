"""Limits of expressions: nothing that an expression does may hold up or end the laptop cloud."""

import asyncio
import sys
import threading
import time
from typing import Any

import pytest

from cloud.stepfunctions import engine, expressions
from cloud.stepfunctions.engine import EngineError
from cloud.stepfunctions.expressions import ExpressionError

DEPTH = "Stack overflow error: Check for non-terminating recursive function. Consider rewriting as tail-recursive"
TIME = "Expression evaluation timeout: Check for infinite loop"
MEMORY = "Expression evaluation memory limit exceeded: Check for excessive memory usage"
NOT_TAIL_RECURSIVE = "($f := function($x){{ $x <= 0 ? 0 : 1 + $f($x - 1) }}; $f({}))"
DOUBLING = "($f := function($s, $n){{ $n = 0 ? $s : $f($s & $s, $n - 1) }}; $length($f('x', {})))"


def value_of(expression: str, data: Any = None) -> Any:
    return expressions.evaluate(expression, {}, {"input": data})


def failure_of(expression: str, data: Any = None) -> tuple[str, str]:
    with pytest.raises(ExpressionError) as caught:
        value_of(expression, data)
    return caught.value.kind, caught.value.message


@pytest.mark.parametrize(
    ("accepted", "refused"),
    [
        ("1" + "+1" * 99, "1" + "+1" * 100),
        ("(" * 99 + "1" + ")" * 99, "(" * 100 + "1" + ")" * 100),
        ("[" * 99 + "1" + "]" * 99, "[" * 100 + "1" + "]" * 100),
        ("1" + "~>$string" * 99, "1" + "~>$string" * 100),
        (NOT_TAIL_RECURSIVE.format(31), NOT_TAIL_RECURSIVE.format(32)),
    ],
    ids=["terms", "parentheses", "brackets", "chain", "recursion"],
)
def test_expressions_may_be_as_deep_as_on_aws(accepted: str, refused: str) -> None:
    """Seen on AWS: https://github.com/floci-io/floci/issues/2737 has these limits."""
    value_of(accepted)
    assert failure_of(refused) == ("limit", DEPTH)


def test_width_is_no_depth() -> None:
    """JSONata evaluates the members of an object at the same time."""
    members = ", ".join(f"'n{index}': {{'a': $states.input, 'b': [1, 2, $sum([1, 2])]}}" for index in range(300))
    assert value_of(f"$count($keys({{{members}}}))", 1) == 300
    items = [{"a": index, "b": [index]} for index in range(500)]
    assert len(value_of("$states.input.{'a': a, 'b': $sum(b), 'c': [a, b]}", items)) == 500
    assert value_of("$sum([1..1000].{'a': $, 'b': 2}.(a + b))") == 502500


@pytest.mark.parametrize(
    ("accepted", "value", "refused"),
    [
        ("[1..873782] ~> $count()", 873782, "[1..873783] ~> $count()"),
        (DOUBLING.format(22), 2**22, DOUBLING.format(23)),
        ("$count($range(1, 360145, 1))", 360145, "$range(1, 360146, 1)"),
    ],
)
def test_values_may_be_as_large_as_on_aws(accepted: str, value: int, refused: str) -> None:
    """Seen on AWS: the same issue and pull request 2783 have these limits."""
    assert value_of(accepted) == value
    assert failure_of(refused) == ("limit", MEMORY)


@pytest.mark.parametrize(
    "expression",
    [
        "$length($pad('x', 900000000))",
        "$count([1..9999999])",
        "($f := function($l){ $f($append($l, $l)) }; $f([1..1000]))",
        "$count($map([1..800000], function($x){ [1..1000] }))",
    ],
)
def test_an_expression_that_explodes_is_stopped(expression: str) -> None:
    kind, message = failure_of(expression)
    assert (kind, message in (MEMORY, TIME)) == ("limit", True)
    assert value_of("1 + 1") == 2


def test_an_endless_expression_is_stopped_after_a_second() -> None:
    """The second is AWS's, from the developer guide's page on JSONata."""
    start = time.monotonic()
    assert failure_of("($f := function($x){ $f($x + 1) }; $f(1))") == ("limit", TIME)
    assert time.monotonic() - start > 0.9


def test_an_endless_regular_expression_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_MAX_SECONDS", 1.0)
    assert failure_of("$match($states.input, /^(a+)+$/)", "a" * 40 + "b") == ("limit", TIME)
    assert value_of("$states.input + 1", 1) == 2


def test_an_expression_that_is_too_deep_for_the_parser_is_refused() -> None:
    assert failure_of("(" * 50_000 + "1" + ")" * 50_000) == ("limit", DEPTH)
    assert value_of("1 + 1") == 2


def test_data_that_is_no_json_is_an_error_inside() -> None:
    assert failure_of("$states.input", float("nan"))[0] == "internal"
    assert value_of("1 + 1") == 2


def test_a_compiler_that_is_interrupted_is_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    used = engine.Engine()
    monkeypatch.setattr(used, "_texts", lambda _: asyncio.wait_for(asyncio.sleep(9), 0.01))
    facts = used.compile("1")
    assert (facts.code, facts.problem, used.is_usable) == (engine.LIMIT, "time", False)
    used.close()


def test_an_endless_expression_holds_up_no_other_thread() -> None:
    endless = threading.Thread(target=failure_of, args=("($f := function($x){ $f($x + 1) }; $f(1))",))
    value_of("$states.input * 2", 1)
    endless.start()
    value = value_of("$states.input * 2", 2)
    assert (value, endless.is_alive()) == (4, True)
    endless.join()


def test_threads_do_not_mix_up_their_values() -> None:
    wrong: list[Any] = []

    def work(number: int) -> None:
        for index in range(30):
            value = value_of("$states.input.a & '-' & $hash($states.input.b, 'MD5')", {"a": number, "b": str(index)})
            if not value.startswith(f"{number}-") or len(value.partition("-")[2]) != 32:
                wrong.append(value)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_an_engine_is_renewed_before_it_holds_too_many_expressions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_MAX_EXPRESSIONS", 3)
    used = engine.Engine()
    used.compile("1")
    used.compile("1")
    used.compile("2")
    assert used.is_usable
    used.compile("3")
    assert not used.is_usable
    used.close()


def test_a_machine_without_the_engine_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "py_mini_racer", None)
    with pytest.raises(
        EngineError, match="need the JavaScript engine of the package mini-racer, which does not load here"
    ):
        engine.Engine()
