"""What the prediction function asks, the endpoint or the model's function, and how it follows a change."""

import base64
import importlib
import json
import logging
import time
from types import SimpleNamespace

import botocore.session
import pytest
from botocore.awsrequest import AWSResponse

from classify import hosting as hosting_module
from classify import invoke
from classify.hosting import Hosting, Pointer, PointerError
from classify.invoke import AbsentModelError, FailedAttemptError, Question
from classify.model_function import FunctionModel
from classify.signed import SignedClient
from classify.view import View
from classify.wrappings import MAX_BYTES
from shared.problems import ProblemError
from tests.prediction_function import ENVIRONMENT
from tests.unit.functions.test_classify import (  # noqa: F401  (fixtures)
    PHOTO,
    PREDICTION,
    app,
    call,
    closed,
    get,
    logged,
    rest_event,
    routes,
    timed_out,
    unreachable,
    url_event,
)
from tests.unit.functions.test_classify_shrinking import LARGE

QUESTION = Question(PHOTO, "image/jpeg", "request-1")
BREEDS = Question(b'{"describe": "breeds"}', "application/json", "request-1")
_MEGABYTE = 1024 * 1024


class Lambda:
    """Answers one request after the other with what is given, and keeps the requests. The last answer stays."""

    def __init__(self, *answers):
        self._answers, self.requests = list(answers), []

    def post(self, target, body, _):
        self.requests.append((target, json.loads(body)))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def response(status, document, **headers):
    content = json.dumps(document)
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return SimpleNamespace(status_code=status, headers=headers, content=content.encode(), text=content)


def answered(body, status=200):
    return response(200, {"status": status, "body": body})


def refused(status, words):
    return answered({"error": {"code": "X", "message": words}}, status)


def crashed():
    return response(200, {"errorType": "Model.KeyError"}, x_amz_function_error="Unhandled")


@pytest.fixture
def ask(monkeypatch):
    """Return a function that asks the model's function with these answers, without the pauses."""
    monkeypatch.setattr(invoke.time, "sleep", lambda _: None)

    def ask(*answers, question=QUESTION, seconds=26):
        client = Lambda(*answers)
        ask.requests = client.requests
        return invoke.ask(FunctionModel(client, "dogs-model"), question, time.monotonic() + seconds)

    return ask


def test_photo_reaches_the_alias_of_the_function_and_the_answer_is_written_as_the_server_writes_it(ask):
    """The server writes JSON without spaces and without escapes, as Starlette's JSONResponse does."""
    body = {"breed": "Épagneul", "probability": 0.1 + 0.2, "is_dog": True, "top": []}
    assert ask(answered(body)) == '{"breed":"Épagneul","probability":0.30000000000000004,"is_dog":true,"top":[]}'
    ((target, event),) = ask.requests
    assert target == "/2015-03-31/functions/dogs-model/invocations?Qualifier=live"
    assert event == {"photo": base64.b64encode(PHOTO).decode(), "correlation_id": "request-1"}


def test_question_for_the_breeds_is_an_event_of_its_own(ask):
    assert ask(answered({"breeds": ["Beagle"]}), question=BREEDS) == '{"breeds":["Beagle"]}'
    assert ask.requests[0][1] == {"describe": "breeds", "correlation_id": "request-1"}


def test_largest_photo_of_the_api_fits_into_an_event(ask):
    class Client(Lambda):
        def post(self, target, body, _):
            assert len(body) <= 6 * _MEGABYTE
            return super().post(target, body, _)

    client = Client(answered({}))
    longest = Question(bytes(MAX_BYTES), "image/jpeg", "x" * 256)
    assert invoke.ask(FunctionModel(client, "dogs-model"), longest, 0) == "{}"


@pytest.mark.parametrize(
    ("permanent", "status", "words"),
    [
        (refused(400, "cut off"), 400, "cut off"),
        (refused(413, "too many pixels"), 413, "too many pixels"),
        (answered({}, 415), 415, "the model refused this photo"),
        (response(404, {"Message": "Function not found"}), 503, "no model is serving yet"),
        (response(403, {"Message": "not authorized"}), 502, "cannot be called"),
        (response(400, {"Message": "Could not parse request body"}), 502, "cannot be called"),
    ],
)
def test_permanent_failure_is_not_retried(ask, permanent, status, words):
    with pytest.raises(ProblemError, match=words) as caught:
        ask(permanent, answered({}))
    assert (caught.value.status, len(ask.requests)) == (status, 1)


TEMPORARY = [response(status, {"Message": "x"}) for status in (409, 429, 500, 502, 503)]
TEMPORARY += [refused(503, "too little time"), crashed(), timed_out(), closed(), unreachable()]


@pytest.mark.parametrize("temporary", TEMPORARY)
def test_temporary_failure_is_retried(ask, temporary):
    assert ask(temporary, answered(PREDICTION)) == json.dumps(PREDICTION, separators=(",", ":"))


@pytest.mark.parametrize(
    ("answers", "status", "words", "calls"),
    [
        ([crashed()], 502, "the model failed on this photo", 3),
        ([closed()], 503, "did not answer in time", 3),
        ([timed_out()], 504, "within 12 seconds, twice", 2),
        ([crashed(), timed_out(), closed(), answered({})], 503, "did not answer in time", 3),
    ],
)
def test_photo_that_fails_the_model_again_and_again_is_given_up(ask, answers, status, words, calls):
    with pytest.raises(ProblemError, match=words) as caught:
        ask(*answers)
    assert (caught.value.status, len(ask.requests)) == (status, calls)


@pytest.mark.parametrize("throttled", [response(429, {"Reason": "x"}), refused(503, "busy")])
def test_throttled_function_is_asked_until_the_time_is_over(monkeypatch, throttled):
    """Two attempts of 13 seconds fit into 26; each pause here takes 5 seconds of the clock."""
    now = [0.0]
    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=lambda _: now.__setitem__(0, now[0] + 5))
    monkeypatch.setattr(invoke, "time", clock)
    client = Lambda(throttled)
    with pytest.raises(ProblemError, match="overloaded") as caught:
        invoke.ask(FunctionModel(client, "dogs-model"), QUESTION, 26)
    assert len(client.requests) == 4  # at 0, 5 and 10 seconds another one fits, at 15 none does
    assert caught.value.response("request-1").headers["Retry-After"] == "5"


class Fake:
    """A model that answers with its name, or raises what is given."""

    read_seconds = 1

    def __init__(self, name):
        self.name, self.error, self.calls = name, None, 0

    def ask(self, _):
        self.calls += 1
        if self.error:
            raise self.error
        return self.name


class Followed:
    """A ``Hosting`` of two fakes with a pointer and a clock of the test."""

    def __init__(self, monkeypatch, first="instances"):
        self.now, self.pointer, self.num_reads, self.made = 1_000_000.0, first, 0, []
        self.models = {name: Fake(name) for name in ("instances", "function")}
        monkeypatch.setattr(invoke.time, "sleep", lambda _: None)
        clock = SimpleNamespace(time=lambda: self.now, monotonic=time.monotonic)
        monkeypatch.setattr(hosting_module, "time", clock)
        makers = {name: lambda name=name: self._make(name) for name in self.models}
        self.hosting = Hosting(first, makers, self._read)

    def _make(self, name):
        self.made.append(name)
        return self.models[name]

    def _read(self):
        self.num_reads += 1
        if isinstance(self.pointer, Exception):
            raise self.pointer
        return self.pointer

    def ask(self, seconds_later=0.0):
        self.now += seconds_later
        return self.hosting.ask(QUESTION, 26)


@pytest.fixture(params=["instances", "function"])
def followed(request, monkeypatch):
    """What serves first and what comes after it."""
    followed = Followed(monkeypatch, request.param)
    followed.first = request.param
    followed.other = {"instances": "function", "function": "instances"}[request.param]
    return followed


def test_what_the_stack_names_is_asked_and_the_other_one_is_not_even_made(followed):
    assert [followed.ask(seconds) for seconds in (0, 30, 29)] == 3 * [followed.first]
    assert (followed.num_reads, followed.made) == (0, [followed.first])


def test_change_is_followed_when_the_instance_is_a_minute_old_and_then_once_a_minute(followed):
    followed.pointer = followed.other
    assert [followed.ask(seconds) for seconds in (59, 1)] == [followed.first, followed.other]
    followed.pointer = followed.first
    assert [followed.ask(seconds) for seconds in (59, 1, 1)] == [followed.other, followed.first, followed.first]
    assert followed.num_reads == 2


def test_absent_model_is_followed_within_the_request(followed):
    followed.models[followed.first].error = AbsentModelError()
    followed.pointer = followed.other
    assert [followed.ask(), followed.ask()] == 2 * [followed.other]
    assert (followed.num_reads, followed.models[followed.first].calls) == (1, 1)


def test_model_that_becomes_absent_between_two_attempts_is_followed_too(followed):
    class Dying(Fake):
        def ask(self, question):
            self.error = (
                AbsentModelError() if self.calls else FailedAttemptError("x", ProblemError(503, "x"), is_failure=0)
            )
            return super().ask(question)

    followed.models[followed.first] = Dying(followed.first)
    followed.pointer = followed.other
    assert followed.ask() == followed.other


@pytest.mark.parametrize("pointer", ["none", "", "somewhere"])
def test_pointer_that_names_nothing_leaves_what_answers(followed, pointer):
    """As in a stack of an earlier release, whose endpoint serves and whose pointer is none until the next run."""
    followed.pointer = pointer
    assert followed.ask(60) == followed.first
    followed.models[followed.first].error = AbsentModelError()
    assert [followed.ask(seconds) for seconds in (2, 60)] == 2 * [followed.other]
    assert followed.num_reads == 3


@pytest.mark.parametrize("error", [PointerError("403"), timed_out(), unreachable()])
def test_pointer_that_cannot_be_read_leaves_what_is_asked(followed, error):
    """A role of one's own may lack the rights on pointer and function."""
    followed.pointer = error
    assert followed.ask(60) == followed.first
    followed.models[followed.first].error = AbsentModelError()
    with pytest.raises(ProblemError, match="no model is serving yet") as caught:
        followed.ask(2)
    assert (caught.value.status, followed.num_reads, followed.made) == (503, 2, [followed.first])


def test_absent_model_that_the_pointer_names_is_told(followed):
    followed.models[followed.first].error = AbsentModelError()
    with pytest.raises(ProblemError, match="no model is serving yet") as caught:
        followed.ask()
    assert (caught.value.status, followed.num_reads, followed.made) == (503, 1, [followed.first])


def test_two_absent_models_are_each_asked_once_a_request(followed):
    for model in followed.models.values():
        model.error = AbsentModelError()
    followed.pointer = followed.other
    with pytest.raises(ProblemError, match="no model is serving yet"):
        followed.ask()
    assert [model.calls for model in followed.models.values()] == [1, 1]
    followed.models[followed.first].error = None
    followed.pointer = "none"
    assert followed.ask(2) == followed.first  # The next run is found within the request, too.


def test_callers_of_an_absent_model_read_the_pointer_once_a_second_at_most(followed):
    followed.models[followed.first].error = AbsentModelError()
    for seconds in (0, 0.5, 0.4, 0.1, 0.3):
        with pytest.raises(ProblemError, match="no model is serving yet"):
            followed.ask(seconds)
    assert followed.num_reads == 2
    followed.pointer = followed.other
    assert followed.ask(1) == followed.other


@pytest.mark.parametrize("first", ["instances", "function"])
@pytest.mark.parametrize("problem", [ProblemError(400, "cut off"), ProblemError(502, "failed")])
def test_other_failures_do_not_read_the_pointer(monkeypatch, first, problem):
    followed = Followed(monkeypatch, first)
    followed.models[first].error = problem
    with pytest.raises(ProblemError) as caught:
        followed.ask()
    assert (caught.value, followed.num_reads) == (problem, 0)


@pytest.fixture
def session(monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    return botocore.session.Session()


class Sent:
    """Keeps what is sent by the clients that it is given, and answers with a document."""

    def __init__(self, answer, status=200):
        self.requests, self._content, self._status = [], json.dumps(answer).encode(), status

    def send(self, request, **_):
        self.requests.append(request)
        sent = AWSResponse(request.url, self._status, {}, None)
        sent._content = self._content
        return sent


def test_signed_requests_are_those_that_botocores_own_clients_send(session, monkeypatch):
    sent = Sent({"status": 200, "body": {}, "Parameter": {"Value": "function"}})
    monkeypatch.setattr("classify.signed.URLLib3Session", lambda **_: sent)
    payload = json.dumps({"photo": base64.b64encode(PHOTO).decode(), "correlation_id": "request-1"})
    for service in ("lambda", "ssm"):
        client = session.create_client(service)
        client.meta.events.register("before-send", sent.send)
        if service == "lambda":
            client.invoke(FunctionName="dogs-model", Qualifier="live", Payload=payload)
        else:
            client.get_parameter(Name="/dogs/hosting")
    FunctionModel.of(session, "dogs-model").ask(QUESTION)
    assert Pointer(session, "/dogs/hosting").read() == "function"
    (*theirs,), (*ours,) = sent.requests[:2], sent.requests[2:]
    for their, our in zip(theirs, ours, strict=True):
        assert (our.method, our.url) == (their.method, their.url)
        assert json.loads(our.body) == json.loads(their.body)
        assert our.headers.get("X-Amz-Security-Token") == "token"
        service = "lambda" if "lambda" in our.url else "ssm"
        scope = "/".join(["", "us-east-1", service, "aws4_request"])
        assert scope in our.headers["Authorization"].split(",")[0]
        assert scope in their.headers["Authorization"].decode().split(",")[0]
    for name in ("X-Amz-Target", "Content-Type"):
        assert ours[1].headers[name] == theirs[1].headers[name].decode()


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({}, "https://lambda.us-east-1.amazonaws.com/x"),
        ({"AWS_DEFAULT_REGION": "cn-north-1"}, "https://lambda.cn-north-1.amazonaws.com.cn/x"),
        ({"AWS_ENDPOINT_URL": "http://localhost:4566/"}, "http://localhost:4566/x"),
        ({"AWS_ENDPOINT_URL": "http://a", "AWS_ENDPOINT_URL_LAMBDA": "http://b"}, "http://b/x"),
    ],
)
def test_signed_request_goes_where_the_sdks_variables_say(session, monkeypatch, variables, url):
    sent = Sent({})
    monkeypatch.setattr("classify.signed.URLLib3Session", lambda **_: sent)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("_X_AMZN_TRACE_ID", "Root=1-2-3")
    SignedClient(session, "lambda", 1, 2).post("/x", b"{}", {})
    (request,) = sent.requests
    assert (request.url, request.headers["X-Amzn-Trace-Id"]) == (url, "Root=1-2-3")


def test_pointer_that_is_refused_is_an_error_with_the_reason(session, monkeypatch):
    monkeypatch.setattr("classify.signed.URLLib3Session", lambda **_: Sent({"__type": "ParameterNotFound"}, 400))
    with pytest.raises(PointerError, match=r"answered 400 .*ParameterNotFound"):
        Pointer(session, "/dogs/hosting").read()


@pytest.fixture
def function(app, routes, monkeypatch):  # noqa: F811
    """Return a function that has the prediction function ask the model's function with these answers."""

    def serve(*answers):
        client = Lambda(*answers)
        models = {"function": lambda: FunctionModel(client, "dogs-model")}
        monkeypatch.setattr(routes, "hosting", Hosting("function", models, lambda: "function"))
        return client

    return serve


@pytest.mark.parametrize("event", [rest_event, url_event])
def test_api_answers_by_the_function_as_by_the_endpoint_and_logs_which_one(app, function, caplog, event):  # noqa: F811
    caplog.set_level(logging.INFO, "kennel")
    function(answered(PREDICTION), refused(400, "cut off"))
    assert call(app, event=event)[:2] == (200, PREDICTION)
    assert call(app, event=event)[1]["detail"] == "cut off"
    call(app, b"words", event=event)
    lines = logged(app, caplog)[1]
    assert [line.get("hosting") for line in lines] == ["function", "function", None]
    assert [line["status"] for line in lines] == [200, 400, 415]


def test_function_gets_photos_as_they_came(app, routes, function, monkeypatch):  # noqa: F811
    """Of what goes to a function nothing is paid by its bytes."""
    monkeypatch.setitem(routes.model, "uses", View())
    client = function(answered({**PREDICTION, "shortest_side": 256}))
    for _ in range(2):
        assert call(app, LARGE)[0] == 200
    assert [base64.b64decode(event["photo"]) for _, event in client.requests] == [LARGE, LARGE]
    assert routes.model["uses"].shortest_side == 256


@pytest.mark.parametrize("event", [rest_event, url_event])
def test_breeds_and_health_are_asked_of_the_function(app, function, event):  # noqa: F811
    function(answered({"breeds": ["Beagle"]}))
    assert get(app, "/breeds", event=event)[:2] == (200, '{"breeds":["Beagle"]}')
    assert get(app, "/health", event=event)[:2] == (200, '{"status": "serving"}')


def test_health_of_an_absent_function_is_a_503(app, function):  # noqa: F811
    function(response(404, {"Message": "Function not found"}))
    status, body, _ = get(app, "/health")
    assert (status, json.loads(body)["detail"]) == (503, "no model is serving yet; try again later")


@pytest.mark.parametrize(
    ("setting", "first"), [("instances", "instances"), ("auto", "instances"), ("function", "function")]
)
def test_stack_says_what_is_asked_first(app, routes, session, monkeypatch, setting, first):  # noqa: F811
    monkeypatch.setenv("HOSTING", setting)
    settings = importlib.import_module("classify.settings").ClassifySettings.from_environment()
    assert hosting_module.hosting_of(settings, session).serving == first
