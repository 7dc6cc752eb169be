"""What a run's requests to the model's function cost, and what goes on costing when a function serves."""

from unittest import mock

import pytest

from prices import per_million
from prices.per_million import Standing
from receipt import burn, history, meter, model_function
from receipt.burn import Stored
from receipt.meter import Functions
from tests.unit.functions.executions import Execution, at
from tests.unit.functions.model_functions import NAME, Lambda
from tests.unit.functions.test_receipt import known_prices  # noqa: F401 (its prices are for these tests, too)

RUN = {"id": "r", "function": {"name": NAME, "memory_mb": 1769, "architecture": "arm64"}}
KNOWN = Functions({"classify": 1024}, 512, "x86_64")
SMOKE = {"num_requests": 20, "bytes_in": 400_000, "bytes_out": 12_000, "latency_ms": 100.0, "gb_seconds": 7.5}
MEASURED = {"num_requests": 400, "bytes_in": 8_000_000, "bytes_out": 240_000, "gb_seconds": 90.0, "memory_mb": 1024}
THROUGH_API = {"through_api": True, "report_uri": "s3://b/r"}


def tried():
    """An execution in which the function was tried and measured."""
    execution = Execution()
    execution.function("SmokeFunction", "smoke", 10, 20, SMOKE, {"function_name": NAME, "qualifier": "$LATEST"})
    execution.function("MeasureFunction", "measure", 20, 200, MEASURED, {"function": RUN["function"]})
    return execution


def publish(execution, begin):
    execution.task("PublishModelVersion", "aws-sdk:lambda:publishVersion", {"FunctionName": NAME}, begin, begin + 1)


def metered(execution, **options):
    past = history.read(execution.events)
    of_function = [*model_function.requests(past, RUN)]
    of_function += model_function.kept_ready(past, RUN, at(1000), options.get("gone"))
    others = list(meter.requests(past, KNOWN, lambda *each: model_function.is_asked(past, *each)))
    return of_function, others


def test_requests_to_the_function_cost_what_lambda_told_and_no_bytes():
    of_function, others = metered(tried())
    assert [(each.state, each.item, each.quantity, each.how) for each in of_function] == [
        ("SmokeFunction", "lambda/request", 20, "measured"),
        ("SmokeFunction", "lambda/gb-second-arm", 7.5, "measured"),
        ("MeasureFunction", "lambda/request", 400, "measured"),
        ("MeasureFunction", "lambda/gb-second-arm", 90.0, "measured"),
    ]
    assert others == []


def test_requests_through_the_api_take_the_functions_time_with_the_memory_that_was_measured():
    execution = tried()
    publish(execution, 200)
    execution.function("SmokeThroughApi", "smoke", 210, 220, {**SMOKE, "gb_seconds": 0.0}, THROUGH_API)
    of_function, others = metered(execution)
    assert [(each.item, each.how) for each in of_function[4:]] == [
        ("lambda/request", "measured"),
        ("lambda/gb-second-arm", "estimated"),
    ]
    assert of_function[5].quantity == pytest.approx(20 * 0.1 * 1024 / 1024)
    assert [each.item for each in others] == ["api-gateway/rest-request", "lambda/request", "lambda/gb-second"]


def test_requests_to_an_endpoint_stay_what_they_were():
    """With ``auto`` both are tried; where nothing was published, the endpoint serves."""
    execution = tried()
    execution.function("Smoke", "smoke", 300, 310, {**SMOKE, "gb_seconds": 0.0}, {"endpoint_name": "dogs-r-s"})
    execution.function("SmokeThroughApi", "smoke", 310, 320, {**SMOKE, "gb_seconds": 0.0}, THROUGH_API)
    of_function, others = metered(execution)
    assert {each.state for each in of_function} == {"SmokeFunction", "MeasureFunction"}
    assert [each.state for each in others if each.item == "invoke/in"] == ["Smoke", "SmokeThroughApi"]


def keep_ready(execution, begin, count=3):
    asked = {"FunctionName": NAME, "Qualifier": "live", "ProvisionedConcurrentExecutions": count}
    execution.task("ProvisionConcurrency", "aws-sdk:lambda:putProvisionedConcurrencyConfig", asked, begin, begin)


def test_what_is_kept_ready_counts_until_the_end_of_the_run():
    execution = tried()
    keep_ready(execution, 200)
    line = metered(execution)[0][-1]
    assert (line.item, line.how) == ("lambda/provisioned-gb-second-arm", "derived")
    assert line.quantity == pytest.approx(3 * 1024 / 1024 * 800)  # from 200 s to now, 1,000 s


def test_what_is_kept_ready_counts_until_it_is_taken_back():
    execution = tried()
    keep_ready(execution, 200)
    execution.stop(300)
    assert metered(execution, gone=at(350))[0][-1].quantity == pytest.approx(3 * 150)
    deleted = tried()
    keep_ready(deleted, 200)
    deleted.task("DeleteOldFunction", "aws-sdk:lambda:deleteFunction", {"FunctionName": NAME}, 240, 250)
    assert metered(deleted)[0][-1].quantity == pytest.approx(3 * 50)


def test_run_without_a_function_has_nothing_of_it():
    execution = Execution()
    execution.function("Smoke", "smoke", 1, 2, {**SMOKE, "gb_seconds": 0.0}, {"endpoint_name": "dogs-r-s"})
    past = history.read(execution.events)
    assert [*model_function.requests(past, {}), *model_function.kept_ready(past, {}, at(9), None)] == []


def test_function_that_serves_costs_nothing_by_the_month_but_what_is_kept_ready():
    idle = {line.what: line.dollars_per_month for line in burn.monthly(Standing("", 0), Stored())}
    assert set(idle) == {"the key of the stack", f"{per_million.STACK_ALARMS} alarms"}
    ready = burn.monthly(Standing("", 0, ready_functions=2, ready_megabytes=1536), Stored())
    [line] = [each for each in ready if "kept ready" in each.what]
    assert line.what == "2 environments of the model's function that are kept ready"
    alarms = per_million.STACK_ALARMS + per_million.WARM_ALARMS
    assert f"{alarms} alarms" in [each.what for each in ready]


def test_what_is_kept_ready_is_asked_of_lambda():
    assert burn.ready(Lambda(), NAME) == burn.Ready()
    told = {"MemorySize": 1024, "Architectures": ["arm64"]}
    lambdas = mock.Mock(
        get_provisioned_concurrency_config=lambda **_: {"RequestedProvisionedConcurrentExecutions": 2},
        get_function_configuration=lambda **_: told,
    )
    assert burn.ready(lambdas, NAME) == burn.Ready(2, 1024, "arm64")
