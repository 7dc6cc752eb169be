"""The error name with which a function's failure reaches the state machine."""

import pytest

from cloud.lambdas.hooks import exception_name


@pytest.mark.parametrize(
    ("trace", "message", "name"),
    [
        ('Traceback ...:\n  File "a.py", line 1, in f\nshared.errors.RequestError: a: b', "a: b", "RequestError"),
        ("log line\nTraceback (most recent call last):\n  ...\nKeyError: 'x'\n", "'x'", "KeyError"),
        ("Traceback (most recent call last):\n  ...\nValueError\n", "", "ValueError"),
        ("A: first\n\nDuring handling ...:\n\nTraceback ...\nb.C: line one\nline two", "line one\nline two", "C"),
        ("the worker died", "the worker died", "Runtime.HandlerError"),
    ],
)  # fmt: skip
def test_exception_name_is_the_class_at_the_end(trace, message, name):
    assert exception_name(trace, message) == name
