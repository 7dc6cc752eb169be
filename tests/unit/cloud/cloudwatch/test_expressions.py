"""Metric math, with series worked out by hand."""

import re

import pytest

from cloud.cloudwatch.expressions import ExpressionError, evaluate

SERIES = {"requests": {0: 30.0, 60: 12.0, 120: 5.0}, "shares": {0: 10.0, 60: 12.0, 180: 4.0}, "none": {}}


@pytest.mark.parametrize(
    ("expression", "values"),
    [
        ("requests / shares", {0: 3.0, 60: 1.0}),  # periods in which both have a value
        ("100 * (requests - shares) / requests", {0: pytest.approx(200 / 3), 60: 0.0}),
        ("requests + 2 * 3", {0: 36.0, 60: 18.0, 120: 11.0}),
        ("requests / none", {}),
        (
            "1 / (requests - 12)",
            {0: pytest.approx(1 / 18), 120: pytest.approx(-1 / 7)},
        ),  # nothing where it divides by 0
    ],
)
def test_expression_is_evaluated_period_by_period(expression, values):
    assert evaluate(expression, SERIES) == values


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("SUM(METRICS())", "not 'SUM(METRICS())'"),
        ("requests / other", "no metric has the id 'other'"),
        ("requests /", "cannot be read"),
        ("requests ** 9", "not 'requests ** 9'"),
        ("__import__('os')", "not"),
        ("1 + 1", "names no metric"),
        ("(" * 3000, "cannot be read"),
    ],
)
def test_other_expressions_are_refused_in_words(expression, words):
    with pytest.raises(ExpressionError, match=re.escape(words)):
        evaluate(expression, SERIES)
