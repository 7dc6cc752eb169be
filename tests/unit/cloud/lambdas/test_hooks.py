"""Lambda's changes: what of a failure reaches the state machine, and the memory that an account may give."""

import json

import pytest
from ministack.services import lambda_svc
from ministack.services.cloudformation import provisioners

from cloud.core import quotas
from cloud.lambdas.hooks import check_functions, exception_name, stack_of

TOO_LARGE = "'MemorySize' value failed to satisfy constraint: Member must have value less than or equal to 3008"


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


@pytest.fixture
def made(monkeypatch):
    """Install the checks over functions that only note what they are asked; return what they were asked."""
    calls = []

    def note(*arguments, **_):
        calls.append(arguments)
        return 201, {}, b"{}"

    for name in ("_create_function", "_update_config"):
        monkeypatch.setattr(lambda_svc, name, note)
    monkeypatch.setitem(provisioners._RESOURCE_HANDLERS, "AWS::Lambda::Function", {"create": note, "update": note})
    check_functions(lambda role: role == "trusting")
    return calls


def test_api_refuses_a_function_above_the_quota(made):
    for answer in (
        lambda_svc._create_function({"FunctionName": "f", "MemorySize": 3009}),
        lambda_svc._update_config("f", {"MemorySize": 3538}),
    ):
        assert answer[0] == 400
        assert json.loads(answer[2])["message"] == TOO_LARGE
    assert made == []
    assert lambda_svc._create_function({"FunctionName": "f", "MemorySize": 3008})[0] == 201
    assert lambda_svc._update_config("f", {"Timeout": 3})[0] == 201


def test_template_with_a_function_above_the_quota_is_refused(made):
    handlers = provisioners._RESOURCE_HANDLERS["AWS::Lambda::Function"]
    with pytest.raises(ValueError, match=TOO_LARGE):
        handlers["create"]("Measure", {"MemorySize": 3538}, "stack")
    with pytest.raises(ValueError, match=TOO_LARGE):
        handlers["update"]("measure", {"MemorySize": 512}, {"MemorySize": "3538"}, "stack")
    assert made == []
    handlers["create"]("Measure", {"MemorySize": "3008"}, "stack")
    handlers["create"]("Gate", {}, "stack")
    assert len(made) == 2


def test_raised_quota_allows_more_memory(made, monkeypatch):
    monkeypatch.setattr(quotas, "_QUOTAS", {quotas.FUNCTION_MEMORY: 10240})
    assert lambda_svc._create_function({"MemorySize": 10240})[0] == 201
    assert lambda_svc._create_function({"MemorySize": 10241})[0] == 400
    assert lambda_svc._create_function({"MemorySize": 64})[0] == 400


def test_function_is_refused_if_lambda_cannot_assume_its_role(made):
    refusal = "The role defined for the function cannot be assumed by Lambda."
    for answer in (
        lambda_svc._create_function({"FunctionName": "f", "Role": "untrusting"}),
        lambda_svc._update_config("f", {"Role": "untrusting"}),
    ):
        assert json.loads(answer[2])["message"] == refusal
    handlers = provisioners._RESOURCE_HANDLERS["AWS::Lambda::Function"]
    with pytest.raises(ValueError, match=refusal):
        handlers["create"]("Gate", {"Role": "untrusting"}, "stack")
    assert made == []
    assert lambda_svc._create_function({"FunctionName": "f", "Role": "trusting"})[0] == 201
    handlers["update"]("gate", {}, {"Role": "trusting"}, "stack")
    assert len(made) == 2


def test_the_stack_has_the_frames_of_the_function_where_aws_has_its_files():
    """The runtime's own frame and the marks below a line are not told; the form of a frame is AWS's."""
    log = (
        "said\nTraceback (most recent call last):\n"
        '  File "/tmp/ministack-lambda-f-x/_worker.py", line 128, in run\n'
        "    result = handler_fn(event, context)\n             ^^^^^^^^^^^^^^^^^^^^^^^^^^\n"
        '  File "/tmp/ministack-lambda-f-x/code/app.py", line 4, in handler\n    helper.f(e)\n'
        '  File "/tmp/ministack-lambda-f-x/code/lib/helper.py", line 3, in f\n    raise Bad("a")\nhelper.Bad: a\n'
    )
    assert stack_of(log) == [
        '  File "/var/task/app.py", line 4, in handler\n    helper.f(e)\n',
        '  File "/var/task/lib/helper.py", line 3, in f\n    raise Bad("a")\n',
    ]
    assert stack_of("no traceback") == []
