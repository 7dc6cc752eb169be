"""What is printed after a run about dollars."""

import json

import pytest

import prices
from local import dollars, receipts
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
