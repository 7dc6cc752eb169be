"""What is printed after a run about dollars."""

import json

import pytest

import prices
from local import dollars, receipts, run
from local.console import console

TRIALS = [
    {"rate": 60.0, "p50_ms": 9.0, "within_limits": True},
    {"rate": 100.0, "p50_ms": 30.0, "within_limits": True},
    {"rate": 120.0, "p50_ms": None, "within_limits": False},
]


def output(instance_type="ml.c7i.large", max_instances=2):
    return {
        "run": {"endpoint": {"instance_type": instance_type, "min_instances": 1, "max_instances": max_instances}},
        "endpoint": {"scaling": {"measurement": {"knee_per_second": 100.0, "trials": TRIALS}}},
    }


@pytest.fixture(autouse=True)
def _home(monkeypatch):
    monkeypatch.setenv("AWS_REGION", prices.HOME_REGION)


def lines(table):
    out = console()
    with out.capture() as capture:
        out.print(table)
    return [line.split() for line in capture.get().splitlines()]


def test_table_has_three_sizes_and_two_doors():
    """Half of 100 requests/s: an instance at $0.11 an hour answers a million for $0.61; the REST API adds $3.50."""
    head, *rows = lines(dollars.table(output()))
    assert [row[:2] for row in rows] == [["20", "KB"], ["100", "KB"], ["500", "KB"]]
    for row in rows:
        rest, url, instances = (float(cell.strip("$")) for cell in row[2:])
        assert instances == pytest.approx(prices.known("hosting/ml.c7i.large") / 0.18, abs=0.005)
        assert rest > url + 3.5 > instances + 3.5
    assert head[0] == "photos"


def test_few_requests_a_day_cost_more_and_too_many_are_left_out():
    """10,000 a day pay an instance for 24 hours, a hundredth of what a million would."""
    words = dollars.by_day(output())
    first = float(words.partition("$")[2].split()[0])
    assert first == pytest.approx(
        100 * 24 * prices.known("hosting/ml.c7i.large"), rel=0.06
    )  # with its volume and the rest
    assert "at 1,000,000 photos a day" in words
    slow = output(max_instances=1)
    slow["endpoint"]["scaling"]["measurement"]["knee_per_second"] = 5.0
    assert "at 100,000 photos a day" in dollars.by_day(slow)
    assert "1,000,000" not in dollars.by_day(slow)
    slow["endpoint"]["scaling"]["measurement"]["knee_per_second"] = 0.1
    assert dollars.by_day(slow).endswith(": its instances cannot answer 10,000 photos a day")


def running(url, rest, p99_ms=20.0, **fields):
    by_door = {"function_url": url, "rest_api": rest}
    told = {"dollars_per_month": by_door, "p50_ms": 12.4, "p99_ms": p99_ms, "estimated": False, "reason": ""}
    return told | fields


ROWS = [
    {
        "requests_per_day": 1000.0,
        "function": running(0.05, 0.16),
        "instances": running(81.0, 81.1, p99_ms=None, estimated=True, reason="nobody has measured instances"),
    },
    {
        "requests_per_day": 10_000_000.0,
        "function": running(None, None, reason="3,000 requests at once"),
        "instances": running(800.5, 1900.0, estimated=True, reason="nobody has measured instances"),
    },
]


def test_hostings_stand_beside_each_other_with_what_is_estimated():
    _, head, few, many = lines(dollars.by_hosting(ROWS))
    assert head[:3] == ["requests", "a", "day"]
    assert few == [*("1,000", "$0.05", "$0.16", "12", "/", "20", "ms"), *("~$81.00", "~$81.10", "~12", "/", "–", "ms")]
    assert many[:4] == ["10,000,000", "–", "–", "12"]
    assert many[-6:] == ["~$800.50", "~$1,900.00", "~12", "/", "20", "ms"]
    assert dollars.reasons(ROWS) == ["function: 3,000 requests at once", "instances: nobody has measured instances"]


def size(memory_mb, p50_ms, price):
    times = {"cold_ms": [900.0, 1100.0, 5000.0], "warm_p50_ms": p50_ms, "warm_p99_ms": 2 * p50_ms}
    return {"memory_mb": memory_mb, **times, "dollars_per_million": price}


FUNCTION = {
    "name": "dogs-model",
    "version": "4",
    "measurement": {
        "memory_mb": 1769,
        "sizes": [size(1769, 20.0, 0.8), size(3008, 15.0, None)],
        "left_out": ["1,024 MB: there was no time for it"],
        "concurrency_limit": 10,
        "table": ROWS,
    },
}


@pytest.mark.parametrize("choice", [None, {"reason": "The function is cheaper.", "table": ROWS[:1]}])
def test_run_that_deployed_a_function_tells_its_sizes_and_both_hostings(choice, capsys):
    run._print_hosting({"endpoint": None, "function": FUNCTION, "choice": choice})
    said = capsys.readouterr().out
    assert "version 4 of the function dogs-model answers" in said
    chosen, other = (line.split() for line in said.splitlines() if " MB " in line and "left out" not in line)
    assert chosen == ["✓", "1,769", "MB", "1,100", "ms", "20.0", "ms", "40.0", "ms", "$0.80"]
    assert other[-3:] == ["price", "not", "known"]
    assert "left out: 1,024 MB: there was no time for it" in said
    # Ten at once, each for 20 ms.
    assert "on 10 requests at once, which is about 500 requests/s" in said
    assert ("The function is cheaper." in said) == (choice is not None)
    assert ("10,000,000" in said) == (choice is None)
    assert "The function stays until teardown is started" in said


@pytest.mark.parametrize("choice", [None, {"reason": "Instances are cheaper.", "table": ROWS}])
def test_run_that_deployed_instances_tells_the_other_hosting_only_if_it_chose(choice, capsys):
    capacity = [{"instances": 1, "requests_per_second": 70.0, "dollars_per_hour": 0.107}]
    promoted = output()
    promoted["endpoint"]["scaling"]["capacity"] = capacity
    run._print_hosting(promoted | {"choice": choice} | {"endpoint": promoted["endpoint"] | {"lease_hours": 5}})
    said = capsys.readouterr().out
    assert "The endpoint is deleted in 5 hours" in said
    assert "1 instance  70 requests/s" in said
    assert ("requests a day" in said) == (choice is not None)


def test_an_unknown_price_is_said():
    assert lines(dollars.table(output("ml.unknown")))[1][2:5] == ["price", "not", "known"]
    assert "price not known" in dollars.by_day(output("ml.unknown"))


@pytest.mark.parametrize(
    ("amount", "unit", "words"),
    [
        (1, "request", "1 request"),
        (12_345, "transition", "12,345 transitions"),
        (0.27777, "hour", "0.2778 hours"),
        (1_234.5678, "GB-second", "1,235 GB-second"),
        (0, "hour", "0 hours"),
    ],
)
def test_quantities_are_told_in_plain_numbers(amount, unit, words):
    assert receipts.quantity({"quantity": amount, "unit": unit}) == words


class Teardowns:
    """The executions of teardown, newest first: (the run that they are about, status, output)."""

    def __init__(self, *executions):
        self.executions = executions

    def client(self, _service):
        return self

    def list_executions(self, stateMachineArn, maxResults):
        assert stateMachineArn == "arn:teardown"
        return {"executions": [{"executionArn": str(number)} for number in range(len(self.executions))][:maxResults]}

    def describe_execution(self, executionArn):
        about, status, output = self.executions[int(executionArn)]
        event = {"detail": {"executionArn": about}} if about else {"lease": True}
        return {"status": status, "input": json.dumps(event)} | ({"output": json.dumps(output)} if output else {})


WRITTEN = {"receipt": {"lines": [], "dollars": 0.5}}


@pytest.mark.parametrize(
    ("executions", "receipt"),
    [
        (
            [("", "SUCCEEDED", {}), ("arn:other", "SUCCEEDED", {}), ("arn:run", "SUCCEEDED", WRITTEN)],
            WRITTEN["receipt"],
        ),
        ([("arn:run", "SUCCEEDED", {"receipt": {"text": "There is no receipt: Broken"}})], {}),
        ([("arn:run", "FAILED", None)], {}),
        ([("arn:run", "RUNNING", None)], {}),
        ([("arn:other", "SUCCEEDED", WRITTEN)], {}),
    ],
)
def test_receipt_of_a_stopped_run_is_that_of_its_own_teardown(executions, receipt):
    assert receipts.of_stopped(Teardowns(*executions), "arn:teardown", "arn:run", seconds=0.2) == receipt
