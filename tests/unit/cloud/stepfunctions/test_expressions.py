"""JSONata in Step Functions. The values are those of the reference implementation in Node.js, unless said otherwise."""

from typing import Any

import pytest

from cloud.stepfunctions import expressions
from cloud.stepfunctions.expressions import ExpressionError

INPUT = {
    "nothing": None,
    "list": [1, None, "a", 2.5],
    "people": [{"name": "Ann", "age": 30}, {"name": "Bob", "age": 40}, {"name": "Cid", "age": 30}],
}


def value_of(expression: str, data: Any = INPUT, **variables: Any) -> Any:
    return expressions.evaluate(expression, variables, {"input": data})


def failure_of(expression: str, data: Any = INPUT) -> ExpressionError:
    with pytest.raises(ExpressionError) as caught:
        value_of(expression, data)
    return caught.value


def same(value: Any, expected: Any) -> bool:
    """Whether two values have the same JSON: 1 is neither 1.0 nor true."""
    return repr(value) == repr(expected)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        # null is a value, not the absence of one.
        ("$count($states.input.nothing)", 1),
        ("[null, 1, null]", [None, 1, None]),
        ("null in [1, null]", True),
        ("$exists($states.input.nothing)", True),
        ("$type($states.input.nothing)", "null"),
        ("$append(null, 1)", [None, 1]),
        ("$states.input.list[$ = null]", None),
        ("$distinct([null, null, 1])", [None, 1]),
        ("$lookup($states.input, 'nothing')", None),
        ("$merge([{'a': 1}, {'a': null}])", {"a": None}),
        ("null = $states.input.missing", False),
        ("null & 'x'", "nullx"),
        ("$filter([null, 1], function($x){$x = null})", None),
        # Numbers: their remainders, digits and texts.
        ("5.5 % 2", 1.5),
        ("-5.5 % 2", -1.5),
        ("0.1 + 0.2", 0.30000000000000004),
        ("$string(0.1 + 0.2)", "0.3"),
        ("$string(1/3)", "0.333333333333333"),
        ("$string(12345678901234567)", "12345678901234600"),
        ("$string(1e20)", "100000000000000000000"),
        ("$string(1e21)", "1e+21"),
        ("$string(1e-7)", "1e-7"),
        ("9007199254740993", 9007199254740992),
        ("6 / 3", 2),
        ("$number('0x1F')", 31),
        ("$number('0b11')", 3),
        ("$number('1e3')", 1000),
        ("$round(2.5)", 2),
        ("$round(-2.5)", -2),
        ("$round(2.675, 2)", 2.68),
        ("$round(12345, -2)", 12300),
        ("$formatNumber(12345.6, '#,##0.00')", "12,345.60"),
        ("$formatNumber(2.5, '0')", "2"),
        ("$formatNumber(0.125, '0.00')", "0.12"),
        ("$formatNumber(1234.5678, '00.000e0')", "12.346e2"),
        ("$sum([0.1, 0.2, 0.3])", 0.6000000000000001),
        # Equality and order
        ("true = 1", False),
        ("'1' = 1", False),
        ("[1] = 1", False),
        ("{'a': [1]} = {'a': [1]}", True),
        ("$states.input.people^(age, >name).name", ["Cid", "Ann", "Bob"]),
        # Regular expressions: classes are ASCII, groups do not appear in $split.
        (r"$match('naïve 12', /\w+/).match", ["na", "ve", "12"]),
        ("$match('ab', /(?<first>a)/).groups", ["a"]),
        (r"$split('a1b2c', /(\d)/)", ["a", "b", "c"]),
        (r"$replace('John Smith', /(\w+)\s(\w+)/, '$2, $1')", "Smith, John"),
        ("$replace('abc', /b/, '$0$0')", "abbc"),
        ("$replace('abc', /b/, '$$')", "a$c"),
        ("$replace('abc', /b/, '$9x')", "axc"),
        ("$replace('abc', 'b', '$0')", "a$0c"),
        ("$match('aXbX', /x/i).index", [1, 3]),
        # One or many
        ("$states.input.people[age > 35].name", "Bob"),
        ("$states.input.people[age > 35].name[]", ["Bob"]),
        ("[$states.input.people[age > 35].name]", ["Bob"]),
        ("$distinct([1, 1])", [1]),
        ("$map([5], function($x){$x + 1})", 6),
        ("$filter([1, 2], function($x){$x > 1})", 2),
        ("$map([1, 2], function($x){[$x]})", [[1], [2]]),
        ("$keys({'a': 1})", "a"),
        ("$split('a', ',')", ["a"]),
        ("$states.input.people{name: age}", {"Ann": 30, "Bob": 40, "Cid": 30}),
        # Text and time
        ("$uppercase('straße')", "STRASSE"),
        ("$substring('a𝄞b', 1, 1)", "𝄞"),
        ("$base64encode('abc')", "YWJj"),
        ("$base64decode('YWJj')", "abc"),
        ("$encodeUrlComponent('ä b')", "%C3%A4%20b"),
        ("$fromMillis(1795860000000)", "2026-11-28T10:00:00.000Z"),
        ("$toMillis('2026-11-28T10:00:00.000Z')", 1795860000000),
        ("$formatInteger(12, 'w')", "twelve"),
        ("$now() = $now() and $millis() = $millis()", True),
    ],
)
def test_an_expression_has_the_value_of_the_reference(expression: str, expected: Any) -> None:
    assert same(value_of(expression), expected)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("'a' + 1", 'T2001: The left side of the "+" operator must evaluate to a number'),
        ("1 < 'a'", 'T2009: The values 1 and "a" either side of operator "<" must be of the same data type'),
        ("null < 1", 'T2010: The expressions either side of operator "<" must evaluate to numeric or string values'),
        (
            "$sort([true, false])",
            "D3070: The single argument form of the sort function can only be applied to an array",
        ),
        ("$number('+5')", 'D3030: Unable to cast value to a number: "+5"'),
        ("$number(' 5')", 'D3030: Unable to cast value to a number: " 5"'),
        ("$number('1_000')", 'D3030: Unable to cast value to a number: "1_000"'),
        ("$number('NaN')", 'D3030: Unable to cast value to a number: "NaN"'),
        ("$sqrt(-1)", "D3060: The sqrt function cannot be applied to a negative number: -1"),
        ("$abs('x')", 'T0410: Argument 1 of function "abs" does not match function signature'),
        ("$replace('abc', /x*/, '-')", "D1004: Regular expression matches zero length string"),
        ("$error('too many')", "D3137: too many"),
        ("$assert(1 = 2, 'unequal')", "D3141: unequal"),
        # Seen on AWS: https://github.com/floci-io/floci/issues/2737. The reference fails in its own code.
        ("$formatNumber(1, 'x')", "D3086: The sub-picture must not contain a passive character that is preceded by"),
        # Recorded on AWS: LocalStack's test_math_random_seeded; AWS has no $eval either.
        ("$randomSeeded(3)", "T1006: Attempted to invoke a non-function"),
        ("$eval('1+1')", "T1006: Attempted to invoke a non-function"),
    ],
)
def test_an_error_has_the_code_and_the_words_of_the_reference(expression: str, message: str) -> None:
    failure = failure_of(expression)
    assert (failure.kind, failure.message[: len(message)]) == ("threw", message)


def test_a_cause_names_the_expression_and_the_field() -> None:
    """The words are those of LocalStack's recordings; of limits, those of https://github.com/floci-io/floci/issues/2737."""
    begin = "The JSONata expression '{}' specified for the field 'Output/x' "
    for expression, end in (
        ("$doesNotExist", "returned nothing (undefined)."),
        ("$states.input.missing", "returned nothing (undefined)."),
        ("$nothing(1)", "threw an error during evaluation. T1006: Attempted to invoke a non-function"),
        ("$fn := function($x){$x}", "returned an unsupported result type."),
        (
            "[1..873783]",
            "threw an error during evaluation: Expression evaluation memory limit exceeded: Check for excessive memory"
            " usage",
        ),
    ):
        assert failure_of(expression).cause("Output/x") == begin.format(expression) + end
    internal = failure_of("$base64decode('!!!')").cause("Output/x")
    assert internal.startswith(begin.format("$base64decode('!!!')") + "threw an internal error during evaluation. ")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("string", "'string' for value: \"string\""),
        ({"foo": "bar"}, '\'object\' for value: {"foo":"bar"}'),
        (1, "'number' for value: 1"),
        (None, "'null' for value: null"),
        (True, "'boolean' for value: true"),
    ],
)
def test_a_value_of_a_wrong_type_is_named_with_its_type(value: Any, words: str) -> None:
    """LocalStack's recordings of a Map's Items have these words."""
    assert expressions.type_cause("$ItemsVar", "Items", "array", value) == (
        "The JSONata expression '$ItemsVar' specified for the field 'Items' returned an unexpected result type."
        f" Expected 'array', but was {words}"
    )


@pytest.mark.parametrize(
    "expression",
    [
        "function($x){$x}",
        "$sum",
        "[$sum]",
        "{'f': function(){1}}",
        "/a/",
        "$substring('abc', ?, 1)",
        "[1/0, $sum]",
        "0/0",
        "[{'a': [0/0, 1]}]",
        "$parseInteger('abc', '0')",
    ],
)
def test_what_is_no_json_is_no_result(expression: str) -> None:
    assert failure_of(expression).kind == "unsupported"


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1/0", "Infinity"),
        ("-1/0", "-Infinity"),
        ("[1/0]", ["Infinity"]),
        ("{'k': 1e308 * 10}", {"k": "Infinity"}),
        ("[{'a': [1/0, 1, 'x', null]}]", [{"a": ["Infinity", 1, "x", None]}]),
        ("[1/0, $states.input]", ["Infinity", 2**62 + 1]),
    ],
)
def test_infinity_is_text(expression: str, value: Any) -> None:
    """Seen on AWS: https://github.com/floci-io/floci/issues/2737, with pull request 2783."""
    assert expressions.evaluate(expression, {}, {"input": 2**62 + 1}) == value


def test_what_came_after_the_version_of_aws_is_no_expression() -> None:
    assert expressions.problems("$a ?: 1") == [
        'INVALID_JSONATA_EXPRESSION: The symbol ":" cannot be used as a unary operator'
    ]
    assert expressions.problems("$a ?? 1") == [
        'INVALID_JSONATA_EXPRESSION: The symbol "?" cannot be used as a unary operator'
    ]
    assert failure_of("$states.input ?? 1").message.startswith("S0211: ")


# --- the functions of Step Functions --------------------------------------------------------------------
# "Seen" are the values of https://github.com/floci-io/floci/pull/2676, "recorded" those of LocalStack's snapshots.


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("$range(0, 9, 3)", [0, 3, 6, 9]),  # recorded, as are the next two
        ("$range(0, 10, 3)", [0, 3, 6, 9]),
        ("$range(1, 9, 9)", 1),
        ("$range(3, 3, 1)", 3),  # seen
        ("$range(3, 3, 1)[]", [3]),
        ("[$range(3, 3, 1)]", [3]),
        ("$range(10, 0, -5)", [10, 5, 0]),
        ("$range(-1.7, 2, 1)", [-1, 0, 1, 2]),  # seen
        ("$count($range(1, 360145, 1))", 360145),  # seen
        ("$partition([0], 3)", [[0]]),  # recorded, as is the next
        ("$partition([0, 1, 2, 3], 3)", [[0, 1, 2], [3]]),
        ("$partition([1, 2, 3, 4, 5], 2.9)", [[1, 2], [3, 4], [5]]),  # seen
        ("$partition([1, 2, 3])", [[1, 2, 3]]),  # seen
        ("$hash('Hello', 'MD5')", "8b1a9953c4611296a827abf8c47804d7"),  # md5sum and its like give these
        ("$hash('input', 'SHA-1')", "140f86aae51ab9e1cda9b4254fe98a74eb54c1a1"),
        ("$hash('ñ', 'MD5')", "94e9342ecbb1458b6043ecd3bfcbc192"),
        ("$length($hash('Hello', 'SHA-256'))", 64),
        ("$substring($hash('Hello', 'SHA-384'), 0, 8)", "3519fe5a"),
        ("$substring($hash('Hello', 'SHA-512'), 0, 8)", "3615f80c"),
        ("$map(['a', 'b'], function($x){$substring($hash($x, 'SHA-1'), 0, 6)})", ["86f7e4", "e9d71f"]),
        ("$random(42)", 0.7275636800328681),  # seen, as are the next two
        ("$random(0)", 0.730967787376657),
        ("$random(0.9)", 0.730967787376657),
        ("$random() = $random()", False),
        ("$parse('-0')", 0),  # recorded, as are the next two
        ("$parse('[1, 2, \"HelloWorld\"]')", [1, 2, "HelloWorld"]),
        ('$parse(\'{"Arg1": 1, "Arg2": []}\')', {"Arg1": 1, "Arg2": []}),
        ("$exists($parse('null'))", True),  # seen
        ("$map(['{\"a\":1}', '{\"a\":2}'], $parse).a", [1, 2]),  # seen
        ("$match($uuid(), /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/).index", 0),
        ("$uuid() = $uuid()", False),
    ],
)
def test_the_functions_of_step_functions(expression: str, expected: Any) -> None:
    assert same(value_of(expression), expected)


@pytest.mark.parametrize(
    "expression",
    [
        *("$range(1, 5)", "$range(1, 5, 0)", "$range(5, 1, 1)", "$range(1, 5, -1)"),
        *("$partition([], 2)", "$partition([1], 0)", "$partition([1], -0.5)", "$partition($states.input.missing, 2)"),
        *("$hash('a')", "$parse()", "$parse($states.input.missing)"),
    ],
)
def test_some_arguments_give_nothing(expression: str) -> None:
    assert failure_of(expression).kind == "undefined"  # seen


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("$range(1)", 'T0410: Argument 2 of function "range" does not match function signature'),
        ("$range(1, 5, 1, 1)", 'T0410: Argument 4 of function "range" does not match function signature'),
        ("$partition(null, 2)", 'T0412: Argument 1 of function "partition" must be an array of undefined'),
        ("$partition([1], -1)", "D3137: Second argument must be zero or greater"),
        ("$hash(42, 'MD5')", 'T0410: Argument 1 of function "hash" does not match function signature'),
        ("$hash('a', 5)", 'T0410: Argument 2 of function "hash" does not match function signature'),
        ("$hash('a', 'md5')", "D3137: Hash algorithm 'md5' must be one of SHA-1, SHA-384, SHA-256, SHA-512, MD5"),
        ("$random('x')", 'T0410: Argument 1 of function "random" does not match function signature'),
        ("$random(1, 2)", 'T0410: Argument 2 of function "random" does not match function signature'),
        ("$uuid(1)", 'T0410: Argument 1 of function "uuid" does not match function signature'),
        ("$parse(null)", 'T0410: Argument 1 of function "parse" does not match function signature'),
        *((f"$parse('{text}')", "D3137: Invalid JSON") for text in ("", " ", "nope", "[1] [2]", "1e400")),
        ('$parse(\'{"a":1,"a":2}\')', "D3137: Invalid JSON"),
    ],
)
def test_wrong_arguments_are_errors(expression: str, message: str) -> None:
    assert failure_of(expression).message == message  # seen


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("$pad('a', 2.5, '-')", "a-"),
        ("$pad('a', -2.5, '-')", "-a"),
        ("$round(2.5555, 1.5)", 2.6),
        ("$split('a b c', / /, 1.5)", ["a"]),
        ("$replace('aaa', 'a', 'b', 1.5)", "baa"),
        ("$match('aa', /a/, 1.5).index", 0),
        ("$substring('hello', 1.7, 2.5)", "el"),
        ("$formatBase(10, 2.7)", "1010"),
        ("($twice := $pad(?, 2, '-'); $twice('a'))", "a-"),
        ("$map([1.5, 2.25], $round)", [2, 2.2]),
        ("['a', 'b'].$pad(2)", ["a ", "b "]),
    ],
)
def test_arguments_that_must_be_whole_are_rounded(expression: str, expected: Any) -> None:
    """The developer guide says so of JSONata's own functions; the reference rounds some of them only."""
    assert same(value_of(expression), expected)


# --- data ---------------------------------------------------------------------------------------------


def test_variables_and_states_are_bound() -> None:
    states = {"input": {"a": 1}, "context": {"Execution": {"Name": "x"}}}
    assert expressions.evaluate("$v & $states.context.Execution.Name", {"v": "a"}, states) == "ax"
    assert same(expressions.evaluate("$states", {}, states), states)
    assert same(expressions.evaluate("$states.*", {}, states), [{"a": 1}, {"Execution": {"Name": "x"}}])
    assert expressions.evaluate("$exists($states.result)", {}, states) is False
    assert expressions.evaluate("$exists($states.result)", {}, {**states, "result": None}) is True
    assert expressions.evaluate("$none", {"none": None}, states) is None
    assert expressions.evaluate("($v := 2; $v)", {"v": "a"}, states) == 2  # An expression's own variables hide others.


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("$states.input.a.b", 1),
        ("$states.input.a.b + $states.input.a.c", 3),
        ("$states.input.a", {"b": 1, "c": 2}),
        ("$states.input.list.b", [5, 6]),
        ("$states.input.list[1].b", 6),
        ("$states.input.list[b = $states.input.six].b", 6),
        ("$states.(input.six)", 6),
        ("$states.input.list.b.%.%.six", [6, 6]),
        ("$states.input.a ~> |$|{'d': 3}|", {"b": 1, "c": 2, "d": 3}),
        ("($s := $states; $s.input.six)", 6),
        ("$lookup($states, 'input').six", 6),
        ("$states['input' in ['input']].input.six", 6),
        ("$states.input.a{'x': b}", {"x": 1}),
        ("$states.input.**.c", 2),
        ("$map([1], function($x){$states.input.six})", 6),
        ('$states."input".six', 6),
        ("$states.input.list#$i.{'i': $i, 'six': $states.input.six}", [{"i": 0, "six": 6}, {"i": 1, "six": 6}]),
    ],
)
def test_an_expression_gets_all_that_it_reads(expression: str, expected: Any) -> None:
    """Only the parts of the data that an expression reads are handed over; none may be missing."""
    data = {"a": {"b": 1, "c": 2}, "list": [{"b": 5}, {"b": 6}], "six": 6}
    assert same(value_of(expression, data), expected)


def test_numbers_keep_what_json_gave_them() -> None:
    """Seen on AWS: 1.0 becomes 1, whole numbers are exact below 2^63 and floating from there on."""
    data = {"a": 1.0, "b": 9223372036854775807, "c": [-1234567890123456789], "d": 1.5, "e": "1234567890123456"}
    assert same(value_of("$states.input", data), {**data, "a": 1})
    assert same(value_of("$states.input.b", data), 9223372036854775807)
    assert same(value_of("$states.input", 9223372036854775808), 9.223372036854776e18)
    assert same(value_of("$states.input", [2**53 + 1, 2**53 + 2, 2**53]), [2**53, 2**53 + 2, 2**53])
    assert same(value_of("2 * $states.input.b / 4", data), 4611686018427387904)
    assert same(value_of("1e20"), 1e20)
    assert same(value_of("-0"), 0)


def test_text_comes_through_as_it_is() -> None:
    text = "quote ' \" back \\ slash \n line \u2028 null \0 ñ 𝄞 \ud800 ${x} {% %}"
    assert value_of("$states.input.t", {"t": text}) == text
    assert value_of('{"it\'s": $states.input.t}', {"t": text}) == {"it's": text}


# --- definitions ------------------------------------------------------------------------------------------
# Seen on AWS: https://github.com/floci-io/floci/pull/2699 and its issues 2670 and 2745.


@pytest.mark.parametrize(
    "expression",
    [
        *("phone", "phone[0].number", "-phone", "phone ? 1 : 2", "phone & 'x'", "$sum(phone)", "phone(1)", "(phone)"),
        *("phone ~> $string()", "[1..phone]", "[phone].other", "{phone: 1}", "($x := phone; $x)", "phone.**.deeper"),
        *("$map($states.input.a, function($y){ phone })", "$count(phone[inner])"),
    ],
)
def test_a_name_at_the_top_is_refused(expression: str) -> None:
    message = "UNSUPPORTED_JSONATA_EXPRESSION: Reference to 'phone' at the top level is not supported."
    assert expressions.problems(expression) == [message]


@pytest.mark.parametrize(
    "expression",
    [
        *("$states.input.phone", "$states.input.items[phone > 3]", "$states.input.a^(phone)", "$phone", "**.phone"),
        *("$states.input.a{'k': phone}", "$states.input.a.(phone)", "$states.input ~> |phone|{'b': 1}|", "'phone'"),
        *(
            "{'k': 1}.phone",
            "$states.input.a[$ > 1]",
            "function($x){ $x.phone }",
            "$now()",
            "$states.input.errorOutput",
        ),
    ],
)
def test_a_name_below_the_top_is_accepted(expression: str) -> None:
    assert expressions.problems(expression, ("result", "errorOutput")) == []


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("$", "UNSUPPORTED_JSONATA_EXPRESSION: Reference to '$' at the top level is not supported."),
        ("$$.a", "UNSUPPORTED_JSONATA_EXPRESSION: Reference to '$$' is not supported."),
        ("$states.errorOutput.Cause", "UNSUPPORTED_JSONATA_EXPRESSION: Field '$states.errorOutput' does not exist."),
        ("a[1,2)", 'INVALID_JSONATA_EXPRESSION: Expected "]", got ","'),
        ('"unterminated', "INVALID_JSONATA_EXPRESSION: String literal must be terminated by a matching quote"),
        ("1 +", "INVALID_JSONATA_EXPRESSION: Unexpected end of expression"),
        ("$match('a', /abc", "INVALID_JSONATA_EXPRESSION: No terminating / in regular expression"),
        ("", "INVALID_JSONATA_EXPRESSION: Unexpected end of expression"),
    ],
)
def test_what_aws_refuses_in_a_definition_is_told_in_its_words(expression: str, problem: str) -> None:
    assert expressions.problems(expression, ("errorOutput",)) == [problem]


def test_each_name_at_the_top_is_told_once() -> None:
    names = [problem.split("'")[1] for problem in expressions.problems("bbb + aaa + bbb")]
    assert names == ["bbb", "aaa"]
