"""Lambda's changes: what of a failure reaches the state machine, and the memory that an account may give."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from ministack.core import lambda_runtime
from ministack.services import lambda_svc
from ministack.services.cloudformation import provisioners

from cloud.core import containers, quotas
from cloud.lambdas import hooks
from cloud.lambdas.errors import exit_reason
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


@pytest.fixture
def named(monkeypatch):
    """Install the names of errors over a function whose process runs a program, or that fails with a body."""

    def execute(program, body):
        if program:
            process = subprocess.Popen([sys.executable, "-c", program], stdin=-1, stdout=-1, text=True)
            process.stdout.readline()
            lambda_runtime._signal(process)
            process.wait()
            process.stdin.close()
            process.stdout.close()
        return {"body": body, "error": True, "log": ""}

    monkeypatch.setattr(lambda_runtime, "_signal", lambda_runtime._signal)
    monkeypatch.setattr(lambda_svc, "_execute_function", execute)
    hooks.name_function_errors()
    return lambda program, **body: lambda_svc._execute_function(program, body)["body"]


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import os; os._exit(127)", "Runtime exited with error: exit status 127"),
        ("import sys; sys.exit(1)", "Runtime exited with error: exit status 1"),
        ("import os; os._exit(0)", "Runtime exited without providing a reason"),
        ("import os; os.kill(os.getpid(), 9)", "Runtime exited with error: signal: killed"),
        ("import os; os.kill(os.getpid(), 11)", "Runtime exited with error: signal: segmentation fault"),
    ],
)
def test_a_runtime_that_exits_is_told_with_its_status(named, program, reason):
    """LocalStack's recordings of AWS's Lambda have the first, the third and the order of the members."""
    body = named(program, errorMessage="Worker process died", errorType="Runtime.HandlerError")
    assert list(body) == ["errorType", "errorMessage"]
    assert body["errorType"] == "Runtime.ExitError"
    request, _, told = body["errorMessage"].partition(" Error: ")
    assert (request.startswith("RequestId: "), told) == (True, reason)


def test_a_function_that_takes_too_long_is_told_with_its_request(named):
    body = named("", errorMessage="Task timed out after 1.00 seconds", errorType="Sandbox.Timedout")
    assert list(body) == ["errorType", "errorMessage"]
    assert body["errorMessage"].startswith("RequestId: ")
    assert body["errorMessage"].endswith(" Error: Task timed out after 1.00 seconds")


def test_an_exception_keeps_what_the_runtime_tells_of_it(named):
    program = "print(1, flush=True); input()"  # This worker lives on and waits for its next event.
    body = named(program, errorMessage="no", errorType="Runtime.HandlerError")
    assert list(body) == ["errorMessage", "errorType", "requestId", "stackTrace"]


def test_an_unknown_status_is_no_reason():
    assert exit_reason(None) == "Runtime exited without providing a reason"


def test_a_function_may_be_the_first_process_of_a_cloud(tmp_path: Path) -> None:
    """Whether containers can be made is tried out by a process, too, and no start may wait for itself."""
    containers.available.cache_clear()
    started: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        module = hooks._ContainedProcesses(tmp_path, tmp_path)
        started.append(module.Popen(["true"], cwd=str(tmp_path)))

    thread = threading.Thread(target=start, daemon=True)
    thread.start()
    thread.join(60)
    assert [each.wait(60) for each in started] == [0]
