"""The measurement of a function whose times are known."""

import importlib
import json

import pytest

from measure import function as measured
from measure.function import MeasuredFunction
from shared.errors import MeasurementError
from shared.scaling import FunctionMeasurePlan
from tests.unit.functions.buckets import Bucket
from tests.unit.functions.test_measure import Registry
from tests.unit.functions.timed_functions import CLIENT_ERROR, Clock, TimedFunction

CONFIG = {
    "MemorySize": 1769,
    "Environment": {"Variables": {"KENNEL_ARTIFACT": "s3://b/model.tar.gz"}},
    "LoggingConfig": {"LogFormat": "JSON", "SystemLogLevel": "WARN", "LogGroup": "/aws/lambda/kennel-model"},
}


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(measured, "time", clock)
    return clock


def measure(function, max_p99_ms=250, deadline=260):
    tested = MeasuredFunction(function, function, "kennel-model", [b"a", b"b"])
    return tested, measured.measure(tested, "run-1", 1769, max_p99_ms, deadline)


def test_each_size_has_ten_cold_starts_and_its_warm_requests(clock):
    """30 ms and 2 s of a core: with 1,024 MB it has 0.579 of one, which takes 51.8 and 3,455 ms."""
    function = TimedFunction(clock)
    tested, found = measure(function)
    assert [size.memory_mb for size in found.sizes] == [1769, 1024, 3008]
    assert (found.run, found.left_out) == ("run-1", [])
    one, small, large = found.sizes
    assert one.cold_ms == [2034.0] * 10
    assert one.init_ms == [2000.0] * 10
    assert (one.cold_billed_ms, one.billed_ms, one.hop_ms) == (2030, 30, 4)
    assert (one.warm_p50_ms, one.warm_p99_ms, one.is_told) == (34, 34, True)
    assert small.cold_ms == pytest.approx([3510.8] * 10, abs=0.1)
    assert small.warm_p50_ms == pytest.approx(55.8, abs=0.1)
    assert small.billed_ms == 52
    assert large.model_dump(exclude={"memory_mb"}) == one.model_dump(exclude={"memory_mb"})
    assert {qualifier for _, qualifier in function.asked} == {"$LATEST"}
    num_requests = 3 * (10 + 5 + 200)
    sent = tested.sent()
    assert (sent["num_requests"], sent["bytes_in"]) == (num_requests, num_requests)
    assert sent["bytes_out"] == num_requests * len('{"class": "a"}')
    of_a_core = (10 * 2030 + 205 * 30) / 1e3
    of_the_small = (10 * 3507 + 205 * 52) / 1e3
    expected = of_a_core * (1769 + 3008) / 1024 + of_the_small
    assert sent["gb_seconds"] == pytest.approx(expected, abs=0.01)


def test_function_is_left_with_the_chosen_memory_and_its_own_configuration(clock):
    function = TimedFunction(clock)
    function.config["Environment"]["Variables"]["KENNEL_COLD_START"] = "7"  # of a measurement that was stopped
    tested, _ = measure(function)
    levels = {update["LoggingConfig"]["SystemLogLevel"] for update in function.updates}
    starts = [update["Environment"]["Variables"]["KENNEL_COLD_START"] for update in function.updates]
    assert (levels, len(starts), len(set(starts))) == ({"INFO"}, 30, 30)
    assert all(update["LoggingConfig"]["LogGroup"] == "/aws/lambda/kennel-model" for update in function.updates)
    tested.leave_with(1024)
    assert function.updates[-1] == CONFIG | {"MemorySize": 1024}
    assert clock.now >= 30 * 2 + 2  # It waits for the end of each update.


def test_without_time_sizes_are_left_out_instead_of_cold_starts(clock):
    """A size takes 10 × (2.2 + 2) s and 7 s, the smaller one 1.7 times as much."""
    _, found = measure(TimedFunction(clock), deadline=110)
    assert [size.memory_mb for size in found.sizes] == [1769, 3008]
    assert found.left_out == ["1,024 MB: there was no time for it"]
    assert [len(size.cold_ms) for size in found.sizes] == [10, 10]


def test_slow_updates_leave_the_first_size_with_fewer_cold_starts(clock):
    _, found = measure(TimedFunction(clock, update_seconds=60), deadline=250)
    assert [len(size.cold_ms) for size in found.sizes] == [5]
    assert found.left_out[0] == "1,769 MB: there was time for 5 of 10 cold starts"
    assert len(found.left_out) == 3


def test_larger_sizes_come_first_when_one_core_is_too_slow(clock):
    _, found = measure(TimedFunction(clock), max_p99_ms=20)
    assert [size.memory_mb for size in found.sizes] == [1769, 3008, 1024]


def test_environment_that_lambda_started_before_the_request_is_no_cold_start(clock):
    function = TimedFunction(clock)
    function.proactive = 3
    _, found = measure(function)
    assert found.sizes[0].cold_ms == [2034.0] * 10
    assert len(function.updates) == 33
    function.proactive = 18
    with pytest.raises(MeasurementError, match=r"only 2 met a cold start.*start the run again"):
        measure(function)


def test_what_lambda_does_not_tell_is_what_the_caller_saw(clock):
    function = TimedFunction(clock)
    function.is_silent = True
    tested, found = measure(function)
    one = found.sizes[0]
    assert (one.is_told, one.init_ms, one.hop_ms) == (False, [], 0)
    assert (one.cold_billed_ms, one.billed_ms) == (2034, 34)
    assert tested.sent()["gb_seconds"] > 0


def test_refused_request_is_sent_again_and_does_not_count(clock):
    function = TimedFunction(clock)
    function.refusals = [("ServiceException", 500), ("TooManyRequestsException", 429)]
    _, found = measure(function)
    assert found.sizes[0].cold_ms == [2034.0] * 10
    function.refusals = [("TooManyRequestsException", 429)] * 100
    with pytest.raises(MeasurementError, match=r"refused 20 requests in a row.*TooManyRequests.*more concurrency"):
        measure(function)
    function.refusals = [("AccessDeniedException", 403)]
    with pytest.raises(CLIENT_ERROR, match="AccessDenied"):
        measure(function)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"errorType": "Model.BucketError", "errorMessage": "403"}, "status 500: Model.BucketError: 403; read its log"),
        ({"status": 503, "body": {"error": {"code": "Overloaded", "message": "too slow"}}}, "status 503: too slow"),
    ],
)
def test_wrong_answers_say_what_was_answered(clock, answer, words):
    function = TimedFunction(clock)
    function.answer = answer
    with pytest.raises(MeasurementError, match=words):
        measure(function)


def test_update_that_fails_is_told(clock):
    function = TimedFunction(clock)
    function.last_status = "Failed"
    function.config["LastUpdateStatusReason"] = "the role is gone"
    with pytest.raises(MeasurementError, match="kennel-model could not be given 1,769 MB: the role is gone"):
        measure(function)


class WritableBucket(Bucket):
    def put_object(self, *, Key, Body, **_):
        self.files[Key] = Body


@pytest.fixture
def app(clock, monkeypatch):
    """The function measure with a bucket that has a report, and a registry that knows nothing."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("MODEL_PACKAGE_GROUP", "kennel")
    app = importlib.import_module("measure.app")
    report = {"challenger": {"digest": "d", "latency_ms": 9.0, "photos_per_s": 100.0}}
    files = {"evaluation.json": json.dumps(report).encode(), "golden/golden.json": b'[{"photo": "00.jpg"}]'}
    files["golden/00.jpg"] = b"a"
    function = TimedFunction(clock)
    monkeypatch.setattr(app, "s3", WritableBucket({f"runs/r/report/{key}": body for key, body in files.items()}))
    monkeypatch.setattr(app, "sagemaker", Registry())
    monkeypatch.setattr(app, "functions", function)
    monkeypatch.setattr(app, "asked_once", function)
    return app


def plan(**function):
    asked = {"name": "kennel-model", "memory_mb": 1769, "reserved": 0, "provisioned": 0, "max_p99_ms": 250}
    fields = {"run": "run-1", "report_uri": "s3://b/runs/r/report", "report_sha256": "", "image": "image:1"}
    return FunctionMeasurePlan(
        function=asked | function, instance_type="ml.c7i.large", requests_per_day=1000, min_instances=0, **fields
    )


def test_account_or_reservation_limits_how_many_go_on_at_once(app):
    assert app.measure_function(plan(), deadline=260).concurrency_limit == 900
    assert app.measure_function(plan(reserved=7), deadline=260).concurrency_limit == 7


def test_measurement_that_the_registry_knows_is_reused_and_the_memory_set(app, monkeypatch):
    """With one core a request takes 30 ms, with 0.58 of one 52 ms: 53,070 or 53,248 MB-milliseconds."""
    first = app.measure_function(plan(), deadline=260)
    assert (first.memory_mb, first.reused, first.num_requests) == (1769, False, 3 * 215)
    monkeypatch.setattr(app, "sagemaker", Registry({"function_measurement": first.measurement_sha256}))
    app.functions.config["MemorySize"] = 3008
    again = app.measure_function(plan(), deadline=260)
    assert (again.reused, again.num_requests, again.gb_seconds) == (True, 0, 0)
    assert again.sizes == first.sizes
    assert app.functions.config["MemorySize"] == 1769
    with pytest.raises(MeasurementError, match="max_p99_ms is 20; raise it"):  # The limit is this run's own.
        app.measure_function(plan(max_p99_ms=20), deadline=260)


def test_measurement_that_lacks_a_size_is_not_reused(app, clock, monkeypatch):
    first = app.measure_function(plan(), deadline=clock.now + 60)
    assert len(first.left_out) == 2
    monkeypatch.setattr(app, "sagemaker", Registry({"function_measurement": first.measurement_sha256}))
    second = app.measure_function(plan(), deadline=clock.now + 260)
    assert (second.reused, second.left_out, len(second.sizes)) == (False, [], 3)
